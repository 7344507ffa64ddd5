# SPDX-License-Identifier: Apache-2.0
"""Joins items to cycles by a known firing order, and hands out the cycles or gives them up.

An arriving item joins the open cycle whose start it matches, or opens one, and a cycle is handed
out the moment its last item arrives. A cycle that lost an item is given up when a newer one is
complete, when it times out or when too many are open; it is never completed with a neighbour's
item. What is given up goes out all the same, marked as lacking cameras, where
`cycle_completeness.py` says so; a cycle that lacks only cameras known to be away goes out as soon
as the rest is there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from simdistill_ros.core.cycle_completeness import Completeness
from simdistill_ros.core.firing_order import FiringOrder
from simdistill_ros.core.firing_phases import FiringPhases, phases_of_one_set
from simdistill_ros.core.stamp_watch import StampWatch
from simdistill_ros.core.sync_counters import SyncCounters
from simdistill_ros.core.sync_sets import Cycle, Item, Stream, SyncedSet, reach_ns, set_of
from simdistill_ros.core.sync_settings import SyncSettings

T = TypeVar("T")


class CycleMatcher(Generic[T]):
    """The open cycles of a rig, and what became of the others.

    Attributes:
        phases: The firing order in use, None until one is adopted.
        counters: What was handed out and what was not.
        last_spread_ns: Spread of the last set, None before the first.
        out_of_tolerance_ns: Spread of the last cycle that was complete but too wide; None after a
            set.
    """

    def __init__(
        self,
        settings: SyncSettings,
        streams: dict[str, Stream],
        completeness: Completeness[T],
        order: FiringOrder,
        stamps: StampWatch,
    ) -> None:
        """Start without open cycles; a single camera needs no firing order."""
        self._names = settings.names
        self._tolerance_ns = settings.tolerance_ns
        self._timeout_ns = settings.timeout_ns
        self._queue_size = settings.queue_size
        self._anchor = settings.anchor
        self._streams = streams
        self._completeness = completeness
        self._order = order
        self._stamps = stamps
        self.counters = SyncCounters({name: s.counters for name, s in streams.items()})
        self.phases: FiringPhases | None = None
        if len(self._names) == 1:
            self.phases = phases_of_one_set({self._names[0]: 0}, self._tolerance_ns)
        self.last_spread_ns: int | None = None
        self.out_of_tolerance_ns: int | None = None
        self._open: list[Cycle[T]] = []
        self._given_up: deque[int] = deque(  # starts of cycles not handed out whole
            maxlen=settings.queue_size
        )
        self._last_missing: tuple[str, ...] = ()

    def place(self, item: Item[T]) -> list[SyncedSet[T]]:
        """Let an item join its cycle, or open one; return the sets that this completes."""
        phases = self._known_phases()
        counters = self._streams[item.camera].counters
        if item.camera not in phases.offsets_ns:
            counters.unplaced += 1
            return []
        start_ns = item.stamp_ns - phases.offsets_ns[item.camera]
        self._stamps.placed(item.camera, start_ns)
        sets: list[SyncedSet[T]] = []
        cycle = min(self._open, key=lambda c: abs(c.start_ns - start_ns), default=None)
        if cycle is None or abs(cycle.start_ns - start_ns) > phases.gate_ns:
            matched_ns = self._streams[item.camera].matched_ns
            if matched_ns is not None and item.stamp_ns - matched_ns <= phases.gate_ns:
                counters.duplicate += 1  # of the cycle that just went out
                return []
            if any(abs(closed - start_ns) <= phases.gate_ns for closed in self._given_up):
                counters.late += 1
                self._completeness.fit((item.camera,))
                return []
            if len(self._open) == self._queue_size:
                oldest = min(self._open, key=lambda c: c.first_arrival_ns)
                sets = self._give_up(oldest, "overflow")
            cycle = Cycle(item.arrival_ns)
            self._open.append(cycle)
        if item.camera in cycle.members:
            counters.duplicate += 1
            return sets
        cycle.join(item, start_ns)
        if len(cycle.members) > 1:
            self._completeness.fit(cycle.members)
        return sets + (self._finish(cycle) if self._is_ready(cycle) else [])

    def poll(self, now_ns: int) -> list[SyncedSet[T]]:
        """End the wait for cycles that lack only cameras not waited for, or that are overdue."""
        sets = []
        for cycle in sorted(self._open, key=lambda cycle: cycle.start_ns):
            if cycle not in self._open:
                continue  # a newer one went out
            if self._is_ready(cycle):
                sets += self._finish(cycle)
            elif now_ns - cycle.first_arrival_ns >= self._timeout_ns:
                sets += self._give_up(cycle, "timeout")
        return sets

    def adopt(self, phases: FiringPhases, waiting: Iterable[Item[T]]) -> list[SyncedSet[T]]:
        """Match what waited, and the items of the open cycles, by another firing order."""
        self.phases = phases
        self._stamps.forget_places()
        self._order.adopted()
        self._given_up.clear()
        items = sorted([*waiting, *self.items()], key=lambda item: item.stamp_ns)
        self._open.clear()
        sets = []
        for item in items:
            stream = self._streams[item.camera]
            if stream.matched_ns is not None and item.stamp_ns <= stream.matched_ns:
                stream.counters.late += 1
            else:
                sets += self.place(item)
        return sets

    def items(self) -> list[Item[T]]:
        """Return the items of the open cycles."""
        return [item for cycle in self._open for item in cycle.members.values()]

    def waiting_on(self) -> tuple[str, ...]:
        """Return what the oldest open cycle lacks; without one, what the last cycle lacked."""
        return self._absent(self._open[0]) if self._open else self._last_missing

    def reset(self) -> None:
        """Drop all cycles; keep the firing order."""
        self._drop_cycles(lambda item: True)
        self._given_up.clear()
        for stream in self._streams.values():
            stream.matched_ns = None

    def jump_back(self, stamp_ns: int, is_dropped: Callable[[Item[T]], bool]) -> None:
        """Go back to a stamp: drop the cycles with a member that is to be dropped."""
        self.counters.time_jumps += 1
        self._drop_cycles(is_dropped)
        self._given_up.clear()
        for stream in self._streams.values():
            if stream.matched_ns is not None and stream.matched_ns >= stamp_ns:
                stream.matched_ns = None

    def _drop_cycles(self, is_dropped: Callable[[Item[T]], bool]) -> None:
        for cycle in self._open.copy():
            if any(is_dropped(item) for item in cycle.members.values()):
                self._open.remove(cycle)
                self._count(cycle, "reset")

    def _known_phases(self) -> FiringPhases:
        assert self.phases is not None, "cycles are matched once a firing order is adopted"
        return self.phases

    def _count(self, cycle: Cycle[T], reason: str) -> None:
        for camera in cycle.members:
            counters = self._streams[camera].counters
            setattr(counters, reason, getattr(counters, reason) + 1)

    def _absent(self, cycle: Cycle[T]) -> tuple[str, ...]:
        return tuple(name for name in self._names if name not in cycle.members)

    def _is_ready(self, cycle: Cycle[T]) -> bool:
        """Tell whether a cycle has all that is worth waiting for."""
        absent = self._absent(cycle)
        if not absent:
            return True
        is_enough = self._completeness.is_enough(cycle.members)
        return is_enough and self._not_awaited().issuperset(absent)

    def _not_awaited(self) -> frozenset[str]:
        """Return the cameras that no cycle waits for."""
        return self._completeness.not_awaited(self._known_phases().offsets_ns)

    def _finish(self, cycle: Cycle[T]) -> list[SyncedSet[T]]:
        """Hand out a cycle and give up the older ones, unless it spreads too far."""
        stamps = cycle.stamps_ns(self._names)
        if reach_ns(stamps, self._anchor) > self._tolerance_ns:
            self.out_of_tolerance_ns = reach_ns(stamps, self._anchor)
            self._stamps.too_wide(stamps)
            return self._drop(cycle, "out_of_tolerance")
        self._open.remove(cycle)
        sets: list[SyncedSet[T]] = []
        for older in sorted(self._open, key=lambda older: older.start_ns):
            if older.start_ns < cycle.start_ns and older in self._open:
                sets += self._give_up(older, "unmatched")
        self._count(cycle, "matched")
        for name, stamp_ns in stamps.items():
            self._streams[name].matched_ns = stamp_ns
        self.phases = self._known_phases().followed(stamps, self._tolerance_ns)
        self._note_outcome(cycle)
        self.out_of_tolerance_ns = None
        self._stamps.matched({n: i.stamp_ns - i.arrival_ns for n, i in cycle.members.items()})
        synced = set_of(cycle, self._names, self._anchor, self._completeness.held)
        self.last_spread_ns = synced.spread_ns
        return [*sets, synced]

    def _note_outcome(self, cycle: Cycle[T]) -> None:
        """Count a cycle that goes out, whole or in part."""
        absent = self._absent(cycle)
        self.counters.sets += 1
        self._last_missing = absent
        if absent:
            self.counters.partial_sets += 1
            self._given_up.append(cycle.start_ns)
        self._order.went_out(is_loss=not self._not_awaited().issuperset(absent))

    def _give_up(self, cycle: Cycle[T], reason: str) -> list[SyncedSet[T]]:
        """End the wait for an open cycle: hand it out as it is where that is enough, or drop it."""
        is_enough = self._completeness.is_enough(cycle.members)
        return self._finish(cycle) if is_enough else self._drop(cycle, reason)

    def _drop(self, cycle: Cycle[T], reason: str) -> list[SyncedSet[T]]:
        """Drop an open cycle that yields no set."""
        self._open.remove(cycle)
        self._count(cycle, reason)
        absent = self._absent(cycle)
        if absent:
            self.counters.incomplete_sets += 1
            self._last_missing = absent
            self.counters.absences.update(n for n in absent if self._is_absent(n, cycle))
        else:
            self.counters.out_of_tolerance_sets += 1
        self._given_up.append(cycle.start_ns)
        self._order.lost()
        return []

    def _is_absent(self, name: str, cycle: Cycle[T]) -> bool:
        """Tell whether a cycle is incomplete because of a camera that it lacks.

        Not where the camera has a stamp beside the cycle; and a few stamps apart from all others
        make only those absent that do not send.
        """
        if 2 * len(cycle.members) < len(self._names):
            arrival_ns = self._streams[name].arrival_ns
            return arrival_ns is None or cycle.first_arrival_ns - arrival_ns > self._timeout_ns
        return not self._stamps.has_near(name, cycle.start_ns, self.phases)
