# SPDX-License-Identifier: Apache-2.0
"""Whether a node accounts for every image: received = matched + dropped by reason, each camera."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_COUNTS = re.compile(r"received (\d+), matched (\d+)(?:, dropped: (.*))?")
# Of the memory of a settled node, between the second quarter of a run and the last.
MOST_GROWTH = 0.05


@dataclass(frozen=True)
class CameraAccount:
    """What became of one camera's images.

    Attributes:
        received: By the synchroniser.
        matched: Handed out in sets.
        dropped: Reason -> number.
    """

    received: int
    matched: int
    dropped: Mapping[str, int]

    @property
    def unaccounted(self) -> int:
        """Images that neither were matched nor dropped for a reason."""
        return self.received - self.matched - sum(self.dropped.values())


def account_of(text: str) -> CameraAccount | None:
    """Return the account that the synchroniser's status gives of a camera, None if it is no such.

    The text looks like `received 10, matched 8, dropped: late 1, timeout 1`.
    """
    found = _COUNTS.fullmatch(text)
    if found is None:
        return None
    received, matched, drops = found.groups()
    reasons = [part.rsplit(" ", 1) for part in (drops or "").split(", ") if part]
    return CameraAccount(int(received), int(matched), {name: int(n) for name, n in reasons})


def growth(memory_mb: Sequence[float]) -> float:
    """Return by which share memory grew from the second quarter of its samples to the last."""
    quarter = len(memory_mb) // 4
    if quarter < 1:
        return 0.0
    before, after = sorted(memory_mb[quarter : 2 * quarter]), sorted(memory_mb[-quarter:])
    return after[len(after) // 2] / before[len(before) // 2] - 1.0


def problems(report: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with a soak run, a sentence each."""
    found = []
    for name, camera in report["cameras"].items():
        if camera["unaccounted"]:
            found.append(f"{name}: {camera['unaccounted']} images are not accounted for")
        if camera["received"] > camera["sent"]:
            found.append(f"{name}: received {camera['received']} of {camera['sent']} sent")
    handed, taken = report["sets"], report["snapshots"]
    if handed != taken:
        found.append(f"{handed} sets were handed out, {taken} taken or overtaken")
    if not report["published"]:
        found.append("no detection was published")
    if report["memory_growth"] > MOST_GROWTH:
        found.append(f"memory grew by {report['memory_growth']:.1%}")
    return found
