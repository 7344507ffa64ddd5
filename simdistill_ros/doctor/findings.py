# SPDX-License-Identifier: Apache-2.0
"""What doctor can find, and how it says so.

A `Kind` is a fault that has a name; a `Finding` is one that was found. A kind lists the kinds that
explain it: where one of them is found about the same camera, the consequence is not reported.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simdistill_ros.doctor.observations import Rig

ALL = "the rig"


class Severity(IntEnum):
    """How bad it is."""

    INFO = 0
    WARNING = 1  # works, but worse or later than it should
    ERROR = 2  # no detections, or wrong ones

    @property
    def label(self) -> str:
        """Lower-case name."""
        return self.name.lower()


@dataclass(frozen=True)
class Kind:
    """A fault with a name.

    Attributes:
        code: Short stable name.
        severity: How bad.
        meaning: What is wrong, for the list of findings.
        fix: What to do.
        explained_by: Codes whose presence makes this one a mere consequence.
    """

    code: str
    severity: Severity
    meaning: str
    fix: str
    explained_by: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finding:
    """One fault that was found.

    Attributes:
        kind: Which.
        subjects: Cameras, frames or topics it is about; empty: the whole rig.
        text: What was seen, a sentence.
        evidence: Numbers behind it.
        fix: What to do here.
    """

    kind: Kind
    subjects: tuple[str, ...]
    text: str
    evidence: dict[str, object] = field(default_factory=dict)
    fix: str = ""

    @property
    def code(self) -> str:
        """The kind's name."""
        return self.kind.code

    @property
    def severity(self) -> Severity:
        """The kind's severity."""
        return self.kind.severity


def found(
    kind: Kind, subjects: str | tuple[str, ...], text: str, fix: str = "", **evidence: object
) -> Finding:
    """Return a finding; without a fix of its own it has the kind's."""
    names = (subjects,) if isinstance(subjects, str) else subjects
    return Finding(kind, names, text, evidence, fix or kind.fix)


@dataclass(frozen=True)
class Check:
    """A pure function of what was seen, and the kinds it may find."""

    run: Callable[[Rig], list[Finding]]
    kinds: tuple[Kind, ...]
