# SPDX-License-Identifier: Apache-2.0
"""Rename published weights part by part and account for every key on both sides."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from simdistill_ros.core.network.reference_keys import Rules, State, rename_keys

Status = Literal["used", "ignored", "missing", "shape", "unexplained"]
Reasons = Sequence[tuple[str, str]]  # (pattern of the whole key, why it may be left out)


class CoverageError(ValueError):
    """Published weights do not fit; the message holds the table of everything that is wrong."""


@dataclass(frozen=True)
class Part:
    """A part of the published weights and where it goes.

    Attributes:
        prefix: What its published keys begin with.
        targets: What its keys begin with here; a part may fill several.
        rules: How its inner keys are renamed.
        finish: Changes values once all keys of the part are renamed.
    """

    prefix: str
    targets: tuple[str, ...]
    rules: Rules
    finish: Callable[[State], State] | None = None


@dataclass(frozen=True)
class Row:
    """What became of one key."""

    key: str
    shape: tuple[int, ...]
    status: Status
    note: str


@dataclass(frozen=True)
class Coverage:
    """What became of every published key, and which of ours got no value."""

    rows: list[Row] = field(default_factory=list)

    def counts(self) -> dict[Status, int]:
        """Return how many keys have each status."""
        return dict(Counter(row.status for row in self.rows))

    def problems(self) -> list[Row]:
        """Return the rows that forbid the conversion."""
        return [row for row in self.rows if row.status in ("missing", "shape", "unexplained")]

    def table(self, rows: Sequence[Row] | None = None) -> str:
        """Return rows, by default all, as text; one line each."""
        shown = self.rows if rows is None else rows
        width = max((len(row.key) for row in shown), default=0)
        lines = [
            f"{row.status:<11} {row.key:<{width}} {row.shape!s:<20} {row.note}".rstrip()
            for row in shown
        ]
        counts = ", ".join(f"{count} {status}" for status, count in self.counts().items())
        return "\n".join([*lines, counts])


def convert(
    published: Mapping[str, Tensor],
    parts: Sequence[Part],
    expected: Mapping[str, Tensor],
    *,
    ignored: Reasons = (),
    may_miss: Reasons = (),
) -> tuple[State, Coverage]:
    """Return renamed weights and the account of all keys.

    Args:
        published: The published state dict.
        parts: Its parts; the first whose prefix fits takes a key, and parts with the same prefix
            try their rules one after the other.
        expected: The state dict to be filled, for names and shapes.
        ignored: Published keys that may stay unused, with reasons.
        may_miss: Our keys that may get no value, with reasons.

    Raises:
        CoverageError: If a key on either side is unexplained or has another shape.
    """
    taken: dict[Part, State] = {part: {} for part in parts}
    rows = []
    for key, value in published.items():
        rows.append(_taken(key, value, parts, taken, ignored))
    state: State = {}
    for part, renamed in taken.items():
        finished = part.finish(renamed) if part.finish else renamed
        state |= {target + key: value for target in part.targets for key, value in finished.items()}
    coverage = Coverage(rows + _compared(state, expected, may_miss))
    problems = coverage.problems()
    if problems:
        raise CoverageError(
            f"published weights: {len(problems)} keys do not fit:\n{coverage.table(problems)}"
        )
    return state, coverage


def _taken(
    key: str,
    value: Tensor,
    parts: Sequence[Part],
    taken: Mapping[Part, State],
    ignored: Reasons,
) -> Row:
    """Hand a key to its part and return what became of it."""
    shape = tuple(value.shape)
    for part in parts:
        if not key.startswith(part.prefix):
            continue
        try:
            renamed = rename_keys({key.removeprefix(part.prefix): value}, part.rules)
        except ValueError:
            continue
        if not renamed:
            return Row(key, shape, "ignored", "not used by the network")
        taken[part].update(renamed)
        ours = [target + name for target in part.targets for name in renamed]
        return Row(key, shape, "used", ", ".join(ours))
    reason = _reason(key, ignored)
    return Row(key, shape, "ignored" if reason else "unexplained", reason or "no rule knows it")


def _compared(state: State, expected: Mapping[str, Tensor], may_miss: Reasons) -> list[Row]:
    """Return rows for our keys without a value, with a wrong shape, or that do not exist."""
    rows = []
    for key, value in expected.items():
        shape = tuple(value.shape)
        if key not in state:
            reason = _reason(key, may_miss)
            status: Status = "ignored" if reason else "missing"
            rows.append(Row(key, shape, status, reason or "no published value"))
        elif state[key].shape != value.shape:
            rows.append(Row(key, shape, "shape", f"published {tuple(state[key].shape)}"))
    rows += [
        Row(key, tuple(value.shape), "unexplained", "has no place in the network")
        for key, value in state.items()
        if key not in expected
    ]
    return rows


def _reason(key: str, reasons: Reasons) -> str | None:
    return next((why for pattern, why in reasons if re.fullmatch(pattern, key)), None)
