# SPDX-License-Identifier: Apache-2.0
"""Matches stamped items of N cameras into sets: one item per camera, all of one cycle.

Stamps and times are integer nanoseconds. There is no clock: the caller passes `now_ns` from a
monotonic one. Not thread-safe: one thread calls `add` and `poll`.

How it works. Stamps minus the camera's place in the firing order (`firing_phases.py`; when it is
read anew: `firing_order.py`) coincide within a cycle. So an arriving item joins the open cycle
whose start it matches, or opens one, and a cycle is handed out the moment its last item arrives. A
cycle that lost an item is given up when a newer one is complete, when it times out or when too many
are open; it is never completed with a neighbour's item. Until the firing order is known, items
wait: for the second cycle as a rule, for the fourth where the rhythm leaves a doubt, or until the
cameras pause.

What is given up goes out all the same, marked as lacking cameras, where `missing_cameras.py` says
so; a cycle that lacks only cameras known to be away goes out as soon as the rest is there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from simdistill_ros.core.firing_order import FiringOrder
from simdistill_ros.core.firing_phases import FiringPhases, phases_of_one_set
from simdistill_ros.core.missing_cameras import MissingCameras, MissingPolicy, Presence
from simdistill_ros.core.stamp_places import Misplaced
from simdistill_ros.core.stamp_watch import StampWatch
from simdistill_ros.core.sync_counters import CameraCounters, MissingReport, SyncCounters
from simdistill_ros.core.sync_sets import Cycle, Item, LastItems, SyncedSet, reach_ns, set_of
from simdistill_ros.core.time_jumps import JumpDetector, StampKind

T = TypeVar("T")


class _Stream(Generic[T]):
    """What is remembered of one camera."""

    def __init__(self) -> None:
        self.counters = CameraCounters()
        self.matched_ns: int | None = None  # stamp of the last item handed out
        self.arrival_ns: int | None = None


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
        if not self.names or len(set(self.names)) != len(self.names):
            raise ValueError(f"expected one or more cameras, each named once, got {self.names}")
        if anchor is not None and anchor not in self.names:
            raise ValueError(f"expected an anchor among {self.names}, got {anchor!r}")
        for label, number in (
            ("tolerance_ns", tolerance_ns),
            ("timeout_ns", timeout_ns),
            ("queue_size", queue_size),
            ("jump_ns", jump_ns),
        ):
            if number <= 0:
                raise ValueError(f"expected {label} above zero, got {number}")
        self._tolerance_ns = tolerance_ns
        self._timeout_ns = timeout_ns
        self._queue_size = queue_size
        self._anchor = anchor
        self._jump_ns = jump_ns
        # Cycles no further apart than the pause are told apart by repetition; that takes a while.
        self._pause_ns = 4 * tolerance_ns
        self._learning_timeout_ns = max(timeout_ns, 24 * tolerance_ns)

        self.set_missing_cameras(missing_cameras or MissingCameras())
        self._presence = Presence(self.names, timeout_ns)
        self._away: frozenset[str] = frozenset()
        self._unproven: set[str] = set()  # came back, but not into a set yet

        self._streams: dict[str, _Stream[T]] = {name: _Stream() for name in self.names}
        self._last: LastItems[T] = LastItems(self.names)
        self._stamps = StampWatch(self.names, tolerance_ns, timeout_ns)
        self._jumps = JumpDetector(self.names, jump_ns, timeout_ns)
        self._order = FiringOrder(self.names, tolerance_ns, anchor)
        self.counters = SyncCounters({n: s.counters for n, s in self._streams.items()})
        self.last_spread_ns: int | None = None
        self.phases: FiringPhases | None = None
        if len(self.names) == 1:
            self.phases = phases_of_one_set({self.names[0]: 0}, tolerance_ns)
        self._waiting: dict[str, deque[Item[T]]] = {name: deque() for name in self.names}
        self._open: list[Cycle[T]] = []
        self._given_up: deque[int] = deque(
            maxlen=queue_size
        )  # starts of cycles not handed out whole
        self._last_missing: tuple[str, ...] = ()
        self._out_of_tolerance_ns: int | None = None
        self._last_arrival_ns: int | None = None

    def set_missing_cameras(self, rule: MissingCameras) -> None:
        """Change what becomes of sets that lack cameras.

        Raises:
            ValueError: If the rule does not fit the number of cameras.
        """
        self._least = rule.least(len(self.names))
        self._missing = rule

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
            self._presence.heard(name, stamp_ns, now_ns)
            self._update_away(now_ns)
            newest = Item(name, stamp_ns, now_ns, item)
            if self._missing.policy is MissingPolicy.HOLD:
                self._last.keep(newest)
            sets += self._take(newest)
        return sets

    def poll(self, now_ns: int) -> list[SyncedSet[T]]:
        """Give up what waited too long; return the first set where a pause proves it to be one."""
        self._update_away(now_ns)
        if self.phases is None:
            return self._poll_learning(now_ns)
        sets = []
        for cycle in sorted(self._open, key=lambda cycle: cycle.start_ns):
            if cycle not in self._open:
                continue  # a newer one went out
            if self._is_ready(cycle):
                sets += self._finish(cycle)
            elif now_ns - cycle.first_arrival_ns >= self._timeout_ns:
                sets += self._give_up(cycle, "timeout")
        return sets

    def reset(self, *, forget_phases: bool = False) -> None:
        """Drop everything queued; keep the firing order unless told not to."""
        self._drop_queued(lambda item: True)
        self._order.forget()
        self._stamps.forget()
        self._last.forget()
        self._jumps.forget()
        self._presence.forget()
        self._unproven.clear()
        self._given_up.clear()
        self._last_arrival_ns = None
        for stream in self._streams.values():
            stream.matched_ns = None
        if forget_phases and len(self.names) > 1:
            self.phases = None

    @property
    def away(self) -> frozenset[str]:
        """Cameras that sets do not wait for, because they are silent or their clocks are wrong."""
        return self._away

    def queued(self, name: str) -> int:
        """Return how many items of a camera are kept."""
        return len(self._waiting[name]) + sum(name in cycle.members for cycle in self._open)

    def missing(self, now_ns: int) -> MissingReport:
        """Tell what the pending set is waiting for."""
        pending = self._queued_items()
        waiting_on = self._last_missing
        if self._open:
            waiting_on = self._absent(self._open[0])
        elif self.phases is None:
            waiting_on = tuple(name for name in self.names if not self._waiting[name])
        return MissingReport(
            waiting_on=waiting_on,
            pending_ns=max((now_ns - item.arrival_ns for item in pending), default=0),
            silent_ns={
                name: None if stream.arrival_ns is None else now_ns - stream.arrival_ns
                for name, stream in self._streams.items()
            },
            out_of_tolerance_ns=self._out_of_tolerance_ns,
            misplaced=self._stamps.misplaced(self.phases, self._presence.wrong_clocks()),
            learning=self.phases is None,
        )

    def misplaced_clocks(self) -> dict[str, Misplaced]:
        """Return the cameras whose clocks differ, by arrival, although they are matched."""
        return self._stamps.shifted()

    # -- queues ----------------------------------------------------------------------------------

    def _queued_items(self) -> list[Item[T]]:
        waiting = [item for queue in self._waiting.values() for item in queue]
        return waiting + [item for cycle in self._open for item in cycle.members.values()]

    def _drop_queued(self, is_dropped: Callable[[Item[T]], bool]) -> None:
        """Drop the waiting items, and the cycles with a member, that are to be dropped."""
        for name, queue in self._waiting.items():
            kept = [item for item in queue if not is_dropped(item)]
            self._streams[name].counters.reset += len(queue) - len(kept)
            self._waiting[name] = deque(kept)
        for cycle in self._open.copy():
            if any(is_dropped(item) for item in cycle.members.values()):
                self._open.remove(cycle)
                self._count(cycle, "reset")

    def _jump_back(self, stamp_ns: int) -> None:
        """Forget all that is not near the stamp to which time went back."""
        self.counters.time_jumps += 1
        self._drop_queued(lambda item: abs(item.stamp_ns - stamp_ns) > self._jump_ns)
        self._order.jumped()
        self._stamps.forget_time()
        self._last.forget()
        self._presence.forget_clocks()
        self._given_up.clear()
        for stream in self._streams.values():
            if stream.matched_ns is not None and stream.matched_ns >= stamp_ns:
                stream.matched_ns = None

    def _count(self, cycle: Cycle[T], reason: str) -> None:
        for camera in cycle.members:
            counters = self._streams[camera].counters
            setattr(counters, reason, getattr(counters, reason) + 1)

    def _absent(self, cycle: Cycle[T]) -> tuple[str, ...]:
        return tuple(name for name in self.names if name not in cycle.members)

    # -- matching --------------------------------------------------------------------------------

    def _take(self, item: Item[T]) -> list[SyncedSet[T]]:
        if self.phases is not None:
            return self._place(item, self.phases) + self._check_phases()
        queue = self._waiting[item.camera]
        if len(queue) == self._queue_size:
            queue.popleft()
            self._streams[item.camera].counters.overflow += 1
        queue.append(item)
        return self._learn()

    def _place(self, item: Item[T], phases: FiringPhases) -> list[SyncedSet[T]]:
        """Let an item join its cycle, or open one."""
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
                self._unproven.discard(item.camera)
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
            self._unproven.difference_update(cycle.members)
        return sets + (self._finish(cycle) if self._is_ready(cycle) else [])

    def _is_ready(self, cycle: Cycle[T]) -> bool:
        """Tell whether a cycle has all that is worth waiting for."""
        absent = self._absent(cycle)
        if not absent:
            return True
        return self._is_enough(cycle) and self._not_awaited().issuperset(absent)

    def _is_enough(self, cycle: Cycle[T]) -> bool:
        """Tell whether the rule for missing cameras lets a cycle go out as it is."""
        has_anchor = self._anchor is None or self._anchor in cycle.members
        return has_anchor and len(cycle.members) >= self._least

    def _not_awaited(self) -> set[str]:
        placed = self.names if self.phases is None else self.phases.offsets_ns
        return self._unproven | self._away | (set(self.names) - set(placed))

    def _update_away(self, now_ns: int) -> None:
        """Note which cameras are away; those that came back must prove that they fit."""
        if self._missing.policy is MissingPolicy.DROP:
            away: frozenset[str] = frozenset()
        else:
            away = self._presence.away(now_ns)
            self._unproven |= self._away - away
        if away != self._away:
            self._away = away
            self._order.ignore(away)

    def _finish(self, cycle: Cycle[T]) -> list[SyncedSet[T]]:
        """Hand out a cycle and give up the older ones, unless it spreads too far."""
        stamps = cycle.stamps_ns(self.names)
        if reach_ns(stamps, self._anchor) > self._tolerance_ns:
            self._out_of_tolerance_ns = reach_ns(stamps, self._anchor)
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
        assert self.phases is not None
        self.phases = self.phases.followed(stamps, self._tolerance_ns)
        self._note_outcome(cycle)
        self._out_of_tolerance_ns = None
        self._stamps.matched({n: i.stamp_ns - i.arrival_ns for n, i in cycle.members.items()})
        synced = set_of(cycle, self.names, self._anchor, self._held)
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
        is_loss = not self._not_awaited().issuperset(absent)
        self._order.went_out(is_loss=is_loss)

    def _held(self, name: str, stamp_ns: int) -> Item[T] | None:
        """Return a camera's newest item before a stamp, if it may still be used."""
        if self._missing.policy is not MissingPolicy.HOLD:
            return None
        return self._last.before(name, stamp_ns, stamp_ns - self._missing.hold_ns)

    def _give_up(self, cycle: Cycle[T], reason: str) -> list[SyncedSet[T]]:
        """End the wait for an open cycle: hand it out as it is where that is enough, or drop it."""
        return self._finish(cycle) if self._is_enough(cycle) else self._drop(cycle, reason)

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
        if 2 * len(cycle.members) < len(self.names):
            arrival_ns = self._streams[name].arrival_ns
            return arrival_ns is None or cycle.first_arrival_ns - arrival_ns > self._timeout_ns
        return not self._stamps.has_near(name, cycle.start_ns, self.phases)

    # -- firing order ----------------------------------------------------------------------------

    def _learn(self) -> list[SyncedSet[T]]:
        """Try to read the firing order; on success match what had waited."""
        phases = self._order.learn()
        return [] if phases is None else self._adopt(phases)

    def _poll_learning(self, now_ns: int) -> list[SyncedSet[T]]:
        """After a pause the newest items are a cycle; until then they wait, but not for ever."""
        newest = {name: queue[-1].stamp_ns for name, queue in self._waiting.items() if queue}
        last_ns = now_ns if self._last_arrival_ns is None else self._last_arrival_ns
        is_pause = now_ns - last_ns >= self._pause_ns
        is_whole = set(self.names) - self._away <= newest.keys() and len(newest) >= self._least
        if is_pause and is_whole and reach_ns(newest, self._anchor) <= self._tolerance_ns:
            return self._adopt(phases_of_one_set(newest, self._tolerance_ns))
        for name, queue in self._waiting.items():
            while queue and now_ns - queue[0].arrival_ns >= self._learning_timeout_ns:
                queue.popleft()
                self._streams[name].counters.timeout += 1
        return []

    def _check_phases(self) -> list[SyncedSet[T]]:
        """Read the firing order anew, now and then or where losses make it doubtful."""
        if self.phases is None:
            return []
        phases = self._order.check(self.phases, set(self.names) - self._away)
        if phases is None:
            return []
        if phases.agrees_with(self.phases):
            self.phases = phases
            return []
        return self._adopt(phases)

    def _adopt(self, phases: FiringPhases) -> list[SyncedSet[T]]:
        """Match everything queued by another firing order."""
        self.phases = phases
        self._stamps.forget_places()
        self._order.adopted()
        self._given_up.clear()
        items = sorted(self._queued_items(), key=lambda item: item.stamp_ns)
        self._open.clear()
        for queue in self._waiting.values():
            queue.clear()
        sets = []
        for item in items:
            stream = self._streams[item.camera]
            if stream.matched_ns is not None and item.stamp_ns <= stream.matched_ns:
                stream.counters.late += 1
            else:
                sets += self._place(item, self.phases)
        return sets
