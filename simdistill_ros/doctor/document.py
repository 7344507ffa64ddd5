# SPDX-License-Identifier: Apache-2.0
"""The report for programs: one JSON document."""

from __future__ import annotations

from typing import Any

from simdistill_ros import __version__
from simdistill_ros.doctor import tables
from simdistill_ros.doctor.diagnosis import Diagnosis
from simdistill_ros.doctor.findings import Finding, Severity
from simdistill_ros.doctor.rhythm import sets_of

SCHEMA_VERSION = 1


def document_of(diagnosis: Diagnosis, source: str) -> dict[str, Any]:
    """Return the diagnosis as values that JSON knows."""
    rig = diagnosis.rig
    sets = sets_of(rig)
    return {
        "schema_version": SCHEMA_VERSION,
        "simdistill_ros": __version__,
        "source": source,
        "live": rig.is_live,
        "duration_s": rig.duration_ns / 1e9,
        "errors": diagnosis.count(Severity.ERROR),
        "warnings": diagnosis.count(Severity.WARNING),
        "findings": [_finding(finding) for finding in diagnosis.findings],
        "consequences": [_finding(finding) for finding in diagnosis.consequences],
        "cameras": tables.camera_rows(rig),
        "sync": tables.sync_row(rig),
        "spreads_ms": [spread / 1e6 for spread in sets.spreads_ns] if sets else [],
        "coverage": tables.coverage_row(rig),
        "machine": tables.machine_row(rig),
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "code": finding.code,
        "severity": finding.severity.label,
        "subjects": list(finding.subjects),
        "text": finding.text,
        "meaning": finding.kind.meaning,
        "fix": finding.fix,
        "evidence": {name: _plain(value) for name, value in finding.evidence.items()},
    }


def _plain(value: object) -> object:
    """Return a number of a library as Python's own."""
    return value.item() if hasattr(value, "item") else value
