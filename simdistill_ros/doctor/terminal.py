# SPDX-License-Identifier: Apache-2.0
"""The report for people: findings first, then the numbers; colour only on a terminal."""

from __future__ import annotations

import textwrap
from itertools import groupby

from simdistill_ros.command_line.terminal import CYAN, RED, RESET, YELLOW
from simdistill_ros.doctor import tables
from simdistill_ros.doctor.diagnosis import Diagnosis
from simdistill_ros.doctor.findings import ALL, Finding, Severity

WIDTH = 100
_COLORS = {Severity.ERROR: RED, Severity.WARNING: YELLOW, Severity.INFO: CYAN}
_COLUMNS = (
    ("rate_hz", "Hz"),
    ("jitter_ms", "jitter ms"),
    ("latency_ms", "age ms"),
    ("lost", "lost"),
    ("size", "size"),
    ("view_deg", "view deg"),
    ("azimuth_deg", "azimuth deg"),
    ("height_m", "height m"),
)


def format_diagnosis(diagnosis: Diagnosis, source: str, *, color: bool) -> str:
    """Return the report.

    Args:
        diagnosis: What to report.
        source: What was looked at.
        color: With ANSI colours.
    """
    rig = diagnosis.rig
    lines = [f"doctor: {source}, {rig.duration_ns / 1e9:.1f} s, {len(rig.cameras)} cameras", ""]
    lines += _camera_table(diagnosis)
    for title, row in (
        ("sets", tables.sync_row(rig)),
        ("coverage", tables.coverage_row(rig)),
        ("machine", tables.machine_row(rig)),
    ):
        if row:
            numbers = ", ".join(f"{name} {value}" for name, value in row.items())
            lines += textwrap.wrap(f"{title}: {numbers}", WIDTH, subsequent_indent="  ")
    lines.append("")
    for _, group in groupby(diagnosis.findings, key=lambda finding: finding.code):
        lines += _findings(list(group), color)
    errors, warnings = diagnosis.count(Severity.ERROR), diagnosis.count(Severity.WARNING)
    verdict = f"{errors} errors, {warnings} warnings"
    if diagnosis.consequences:
        verdict += f"; {len(diagnosis.consequences)} consequences of these are left out"
    lines.append(verdict if errors or warnings else "nothing wrong was found")
    return "\n".join(lines)


def _findings(findings: list[Finding], color: bool) -> list[str]:
    """Return the lines of all findings of one kind."""
    kind = findings[0].kind
    label = f"{kind.severity.label.upper()} {kind.code}"
    if color:
        label = f"{_COLORS[kind.severity]}{label}{RESET}"
    lines = [label, *_wrapped(kind.meaning, "  ")]
    for finding in findings:
        lines += _wrapped(f"{', '.join(finding.subjects) or ALL}: {finding.text}", "  • ")
    if kind.severity is not Severity.INFO:
        for fix in dict.fromkeys(finding.fix for finding in findings):
            lines += _wrapped(fix, "  → ")
    return [*lines, ""]


def _wrapped(text: str, start: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=start, subsequent_indent=" " * len(start))


def _camera_table(diagnosis: Diagnosis) -> list[str]:
    rows = tables.camera_rows(diagnosis.rig)
    head = ["camera", *(title for _, title in _COLUMNS)]
    body = [[name, *(str(row.get(key, "-")) for key, _ in _COLUMNS)] for name, row in rows.items()]
    widths = [max(len(line[i]) for line in [head, *body]) for i in range(len(head))]
    return [
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in [head, *body]
    ]
