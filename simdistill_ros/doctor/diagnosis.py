# SPDX-License-Identifier: Apache-2.0
"""Run all checks and leave out what another finding explains."""

from __future__ import annotations

from dataclasses import dataclass

from simdistill_ros.doctor.checks.registry import SECTIONS
from simdistill_ros.doctor.findings import Finding, Severity
from simdistill_ros.doctor.observations import Rig

FINE, FOUND = 0, 1  # exit statuses, as of every command


@dataclass(frozen=True)
class Diagnosis:
    """What was seen and what is wrong with it.

    Attributes:
        rig: What was seen.
        findings: What remains, worst first, in the order of the checks.
        consequences: What another finding explains.
    """

    rig: Rig
    findings: tuple[Finding, ...]
    consequences: tuple[Finding, ...]

    def count(self, severity: Severity) -> int:
        """Return the number of findings of a severity."""
        return sum(finding.severity is severity for finding in self.findings)

    def exit_status(self, *, strict: bool) -> int:
        """Return 1 with errors, or with warnings where they count, else 0."""
        counted = self.count(Severity.ERROR) + (self.count(Severity.WARNING) if strict else 0)
        return FOUND if counted else FINE


def diagnose(rig: Rig) -> Diagnosis:
    """Return the diagnosis of a rig."""
    every = [
        finding for checks in SECTIONS.values() for check in checks for finding in check.run(rig)
    ]
    consequences = [f for f in every if any(explains(other, f) for other in every)]
    kept = [finding for finding in every if finding not in consequences]
    kept.sort(key=lambda finding: -finding.severity)
    return Diagnosis(rig, tuple(kept), tuple(consequences))


def explains(cause: Finding, consequence: Finding) -> bool:
    """Tell whether one finding makes another one a mere consequence.

    It does where its kind is listed as an explanation and both are about a common subject; one
    without subjects is about all.
    """
    if cause.code not in consequence.kind.explained_by:
        return False
    if not cause.subjects or not consequence.subjects:
        return True
    return bool(set(cause.subjects) & set(consequence.subjects))
