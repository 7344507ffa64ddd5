# SPDX-License-Identifier: Apache-2.0
"""What a synchroniser did with every item it was given, and what it is waiting for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from simdistill_ros.core.stamp_places import Misplaced


@dataclass
class CameraCounters:
    """What became of one camera's items: received = matched + dropped + still queued.

    Attributes:
        received: All that were given to `add`.
        matched: Handed out in a set.
        zero_stamp: Dropped: the stamp was zero or negative.
        duplicate: Dropped: a second item of the same stamp, or of the same cycle.
        late: Dropped: its cycle, or a newer one, was already handed out or given up.
        unmatched: Dropped: another camera's item of its cycle was still missing when a newer cycle
            was complete.
        timeout: Dropped: another camera's item of its cycle did not arrive in time.
        overflow: Dropped: too many cycles were open.
        out_of_tolerance: Dropped: its cycle was complete, but spread too far in time.
        reset: Dropped: time jumped backward, or the caller reset.
        unplaced: Dropped: its camera had been away when the firing order was read.
    """

    received: int = 0
    matched: int = 0
    zero_stamp: int = 0
    duplicate: int = 0
    late: int = 0
    unmatched: int = 0
    timeout: int = 0
    overflow: int = 0
    out_of_tolerance: int = 0
    reset: int = 0
    unplaced: int = 0

    @property
    def drops(self) -> dict[str, int]:
        """Dropped items by reason; reasons that never happened included."""
        return {
            reason.name: getattr(self, reason.name)
            for reason in fields(self)
            if reason.name not in ("received", "matched")
        }

    @property
    def dropped(self) -> int:
        """All items that were dropped."""
        return sum(self.drops.values())


@dataclass
class SyncCounters:
    """Counters of a synchroniser.

    Attributes:
        cameras: Counters of each camera.
        sets: Sets handed out.
        partial_sets: Those of them that lack a camera's item of their cycle.
        incomplete_sets: Cycles given up because an item was missing.
        out_of_tolerance_sets: Complete cycles dropped because they spread too far in time.
        time_jumps: Backward jumps of time.
        absences: Per camera, cycles given up that it had no item of, nor one beside them.
    """

    cameras: dict[str, CameraCounters]
    sets: int = 0
    partial_sets: int = 0
    incomplete_sets: int = 0
    out_of_tolerance_sets: int = 0
    time_jumps: int = 0
    absences: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class MissingReport:
    """Why no set was handed out since the last one.

    Attributes:
        waiting_on: Cameras that the oldest pending cycle lacks; with nothing pending, those that
            the last cycle given up had lacked. Empty after a matched set.
        pending_ns: Age of the oldest pending item, zero if nothing is pending.
        silent_ns: Per camera, time since its last item; None if it never sent one.
        out_of_tolerance_ns: Spread of the last cycle that was complete but too wide, or None.
        misplaced: Cameras whose stamps stand apart from the others', and by how much.
        learning: True while the firing order is not known yet.
    """

    waiting_on: tuple[str, ...]
    pending_ns: int
    silent_ns: Mapping[str, int | None]
    out_of_tolerance_ns: int | None
    misplaced: Mapping[str, Misplaced]
    learning: bool
