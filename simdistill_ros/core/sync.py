# SPDX-License-Identifier: Apache-2.0
"""Matches stamped items of N cameras into sets: one item per camera, all of one cycle.

Stamps and times are integer nanoseconds. There is no clock: the caller passes `now_ns` from a
monotonic one. Not thread-safe: one thread calls `add` and `poll`.

How it works. Stamps minus the camera's place in the firing order (`firing_phases.py`; when it is
read anew: `firing_order.py`) coincide within a cycle; `cycle_matcher.py` matches by that. Until the
firing order is known, items wait here: for the second cycle as a rule, for the fourth where the
rhythm leaves a doubt, or until the cameras pause.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from simdistill_ros.core.cycle_completeness import Completeness
from simdistill_ros.core.cycle_matcher import CycleMatcher
from simdistill_ros.core.firing_order import FiringOrder
from simdistill_ros.core.firing_phases import FiringPhases, phases_of_one_set
from simdistill_ros.core.missing_cameras import MissingCameras
from simdistill_ros.core.stamp_places import Misplaced
from simdistill_ros.core.stamp_watch import StampWatch
from simdistill_ros.core.sync_counters import MissingReport, SyncCounters
from simdistill_ros.core.sync_sets import Item, Stream, SyncedSet, reach_ns
from simdistill_ros.core.sync_settings import SyncSettings
from simdistill_ros.core.time_jumps import JumpDetector, StampKind

T = TypeVar("T")


class Synchronizer(Generic[T]):
    """Finds the sets in N streams of stamped items."""

    def __init__(
        self,
        names: Iterable[str],
        *,
        tolerance_ns: int,
        timeout_ns: int,
        queue_size: int = 10,
        anchor: str | None = None,
        jump_ns: int = 500_000_000,
        missing_cameras: MissingCameras | None = None,
    ) -> None:
        """Set up empty streams.

        Args:
            names: The cameras, in the order in which sets list them.
            tolerance_ns: Largest spread of a set; with an anchor, largest distance to the anchor's
                stamp. nuScenes cameras need more than 43 ms.
            timeout_ns: How long an item waits for the rest of its cycle.
            queue_size: Items kept per camera at most.
            anchor: Camera whose stamp is the set's; without one it is the newest.
            jump_ns: A stamp older than its camera's newest by more is a jump of time, by less a
                late arrival.
            missing_cameras: What becomes of sets that lack cameras; None: they are given up.

        Raises:
            ValueError: If a camera is named twice, none is named, the anchor is not one of them, or
                a number is out of range.
        """
        self.names = tuple(names)
        settings = SyncSettings(self.names, tolerance_ns, timeout_ns, queue_size, anchor, jump_ns)
        self._tolerance_ns = tolerance_ns
        self._queue_size = queue_size
        self._anchor = anchor
        self._jump_ns = jump_ns
        # Cycles no further apart than the pause are told apart by repetition; that takes a while.
        self._pause_ns = 4 * tolerance_ns
        self._learning_timeout_ns = max(timeout_ns, 24 * tolerance_ns)
        self._streams = {name: Stream() for name in self.names}
        self._waiting: dict[str, deque[Item[T]]] = {name: deque() for name in self.names}
        self._last_arrival_ns: int | None = None

        self._completeness: Completeness[T] = Completeness(
            settings, missing_cameras or MissingCameras()
        )
        self._stamps = StampWatch(self.names, tolerance_ns, timeout_ns)
        self._jumps = JumpDetector(self.names, jump_ns, timeout_ns)
        self._order = FiringOrder(self.names, tolerance_ns, anchor)
        self._matcher: CycleMatcher[T] = CycleMatcher(
            settings, self._streams, self._completeness, self._order, self._stamps
        )

    @property
    def counters(self) -> SyncCounters:
        """What became of all items, and of the cycles."""
        return self._matcher.counters

    @property
    def phases(self) -> FiringPhases | None:
        """The firing order, None while it is learned."""
        return self._matcher.phases

    @property
    def last_spread_ns(self) -> int | None:
        """Spread of the last set, None before the first."""
        return self._matcher.last_spread_ns

    def set_missing_cameras(self, rule: MissingCameras) -> None:
        """Change what becomes of sets that lack cameras.

        Raises:
            ValueError: If the rule does not fit the number of cameras.
        """
        self._completeness.set_rule(rule)

    def add(self, name: str, stamp_ns: int, item: T, now_ns: int) -> list[SyncedSet[T]]:
        """Take an item and return the sets that it completes, oldest first; most often none or one.

        Args:
            name: The camera.
            stamp_ns: When the item was taken; zero or less means that nobody stamped it.
            item: Anything; handed back in a set, or forgotten.
            now_ns: Monotonic time of arrival.

        Raises:
            ValueError: If the camera is unknown.
        """
        stream = self._streams.get(name)
        if stream is None:
            raise ValueError(f"expected a camera among {self.names}, got {name!r}")
        sets = self.poll(now_ns)
        counters = stream.counters
        counters.received += 1
        stream.arrival_ns = now_ns
        if stamp_ns <= 0:
            counters.zero_stamp += 1
            return sets
        kind = self._jumps.judge(name, stamp_ns, now_ns)
        if kind is StampKind.JUMP:
            self._jump_back(stamp_ns)
        if kind is StampKind.STRAGGLER:
            counters.late += 1
        elif self._order.seen(name, stamp_ns):
            counters.duplicate += 1
        elif stream.matched_ns is not None and stamp_ns <= stream.matched_ns:
            counters.late += 1
        else:
            self._last_arrival_ns = now_ns
            self._order.observe(name, stamp_ns)
            newest = Item(name, stamp_ns, now_ns, item)
            self._completeness.heard(newest)
            self._update_away(now_ns)
            sets += self._take(newest)
        return sets

    def poll(self, now_ns: int) -> list[SyncedSet[T]]:
        """Give up what waited too long; return the first set where a pause proves it to be one."""
        self._update_away(now_ns)
        if self._matcher.phases is None:
            return self._poll_learning(now_ns)
        return self._matcher.poll(now_ns)

    def reset(self, *, forget_phases: bool = False) -> None:
        """Drop everything queued; keep the firing order unless told not to."""
        self._drop_waiting(lambda item: True)
        self._matcher.reset()
        self._order.forget()
        self._stamps.forget()
        self._jumps.forget()
        self._completeness.forget()
        self._last_arrival_ns = None
        if forget_phases and len(self.names) > 1:
            self._matcher.phases = None

    @property
    def away(self) -> frozenset[str]:
        """Cameras that sets do not wait for, because they are silent or their clocks are wrong."""
        return self._completeness.away

    def queued(self, name: str) -> int:
        """Return how many items of a camera are kept."""
        in_cycles = sum(item.camera == name for item in self._matcher.items())
        return len(self._waiting[name]) + in_cycles

    def missing(self, now_ns: int) -> MissingReport:
        """Tell what the pending set is waiting for."""
        is_learning = self.phases is None
        lacking = tuple(name for name in self.names if not self._waiting[name])
        pending = self._waiting_items() + self._matcher.items()
        return MissingReport(
            waiting_on=lacking if is_learning else self._matcher.waiting_on(),
            pending_ns=max((now_ns - item.arrival_ns for item in pending), default=0),
            silent_ns={
                name: None if stream.arrival_ns is None else now_ns - stream.arrival_ns
                for name, stream in self._streams.items()
            },
            out_of_tolerance_ns=self._matcher.out_of_tolerance_ns,
            misplaced=self._stamps.misplaced(self.phases, self._completeness.wrong_clocks()),
            learning=is_learning,
        )

    def misplaced_clocks(self) -> dict[str, Misplaced]:
        """Return the cameras whose clocks differ, by arrival, although they are matched."""
        return self._stamps.shifted()

    def _update_away(self, now_ns: int) -> None:
        if self._completeness.update_away(now_ns):
            self._order.ignore(self._completeness.away)

    def _jump_back(self, stamp_ns: int) -> None:
        """Forget all that is not near the stamp to which time went back."""

        def is_far(item: Item[T]) -> bool:
            return abs(item.stamp_ns - stamp_ns) > self._jump_ns

        self._drop_waiting(is_far)
        self._matcher.jump_back(stamp_ns, is_far)
        self._order.jumped()
        self._stamps.forget_time()
        self._completeness.forget_time()

    def _take(self, item: Item[T]) -> list[SyncedSet[T]]:
        if self._matcher.phases is not None:
            return self._matcher.place(item) + self._check_phases()
        queue = self._waiting[item.camera]
        if len(queue) == self._queue_size:
            queue.popleft()
            self._streams[item.camera].counters.overflow += 1
        queue.append(item)
        return self._learn()

    # -- firing order ----------------------------------------------------------------------------

    def _waiting_items(self) -> list[Item[T]]:
        return [item for queue in self._waiting.values() for item in queue]

    def _drop_waiting(self, is_dropped: Callable[[Item[T]], bool]) -> None:
        for name, queue in self._waiting.items():
            kept = [item for item in queue if not is_dropped(item)]
            self._streams[name].counters.reset += len(queue) - len(kept)
            self._waiting[name] = deque(kept)

    def _learn(self) -> list[SyncedSet[T]]:
        """Try to read the firing order; on success match what had waited."""
        phases = self._order.learn()
        return [] if phases is None else self._adopt(phases)

    def _poll_learning(self, now_ns: int) -> list[SyncedSet[T]]:
        """After a pause the newest items are a cycle; until then they wait, but not for ever."""
        newest = {name: queue[-1].stamp_ns for name, queue in self._waiting.items() if queue}
        last_ns = now_ns if self._last_arrival_ns is None else self._last_arrival_ns
        is_pause = now_ns - last_ns >= self._pause_ns
        present = self._completeness.present()
        is_whole = present <= newest.keys() and self._completeness.has_least(newest)
        if is_pause and is_whole and reach_ns(newest, self._anchor) <= self._tolerance_ns:
            return self._adopt(phases_of_one_set(newest, self._tolerance_ns))
        for name, queue in self._waiting.items():
            while queue and now_ns - queue[0].arrival_ns >= self._learning_timeout_ns:
                queue.popleft()
                self._streams[name].counters.timeout += 1
        return []

    def _check_phases(self) -> list[SyncedSet[T]]:
        """Read the firing order anew, now and then or where losses make it doubtful."""
        in_use = self._matcher.phases
        if in_use is None:
            return []
        phases = self._order.check(in_use, self._completeness.present())
        if phases is None:
            return []
        if phases.agrees_with(in_use):
            self._matcher.phases = phases
            return []
        return self._adopt(phases)

    def _adopt(self, phases: FiringPhases) -> list[SyncedSet[T]]:
        """Match everything queued by another firing order."""
        waiting = self._waiting_items()
        for queue in self._waiting.values():
            queue.clear()
        return self._matcher.adopt(phases, waiting)
