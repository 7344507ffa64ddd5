# SPDX-License-Identifier: Apache-2.0
"""Run numbered cases and keep what came out: outcomes counted, findings with their traceback."""

from __future__ import annotations

import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

# Of the process' own time, so that a busy machine is no finding.
SLOW_S = 1.0
MOST_FINDINGS = 20


class WrongAnswerError(AssertionError):
    """Something was accepted that had to be refused, or came out wrong."""


def require(condition: bool, text: str) -> None:
    """Raise WrongAnswerError unless the condition holds."""
    if not condition:
        raise WrongAnswerError(text)


# A case: draws from the seed, runs what is tested, returns in a word what became of it.
Case = Callable[[Random], str]


@dataclass
class Tally:
    """What became of cases.

    Attributes:
        cases: How many ran.
        outcomes: `kind: outcome` -> number.
        findings: One a defect: the case's number and kind, and what happened.
        slowest_s: The longest that a case took, process time.
        seconds: All cases together, wall time.
    """

    cases: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    findings: list[dict[str, Any]] = field(default_factory=list)
    slowest_s: float = 0.0
    seconds: float = 0.0

    def add(self, other: Mapping[str, Any]) -> None:
        """Add what another process counted."""
        self.cases += other["cases"]
        self.outcomes.update(other["outcomes"])
        self.findings += other["findings"]
        self.slowest_s = max(self.slowest_s, other["slowest_s"])
        self.seconds += other["seconds"]


def run_cases(
    cases: Mapping[str, tuple[Case, float]],
    seed: int,
    numbers: Iterable[int],
    on_start: Callable[[int], object] = lambda number: None,
) -> Tally:
    """Run cases by number.

    Args:
        cases: Kind -> the case and its share of all.
        seed: Of all draws.
        numbers: Which cases.
        on_start: Called before each.
    """
    kinds, shares = list(cases), [share for _, share in cases.values()]
    tally, started_s = Tally(), time.monotonic()
    for number in numbers:
        on_start(number)
        draw = Random(f"{seed} {number}")
        kind = draw.choices(kinds, shares)[0]
        began_s = time.process_time()
        try:
            outcome = cases[kind][0](draw)
        except Exception as error:
            outcome = f"FINDING {type(error).__name__}"
            _keep(tally, number, kind, "".join(traceback.format_exception(error)[-4:]))
        took_s = time.process_time() - began_s
        tally.slowest_s = max(tally.slowest_s, took_s)
        if took_s > SLOW_S:
            _keep(tally, number, kind, f"took {took_s:.1f} s; allowed are {SLOW_S:g} s")
        tally.outcomes[f"{kind}: {outcome}"] += 1
        tally.cases += 1
    tally.seconds = time.monotonic() - started_s
    return tally


def _keep(tally: Tally, number: int, kind: str, what: str) -> None:
    if len(tally.findings) < MOST_FINDINGS:
        tally.findings.append({"case": number, "kind": kind, "what": what})
