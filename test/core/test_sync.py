# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from simdistill_ros.core.sync import Synchronizer
from simdistill_ros.core.sync_sets import SyncedSet

MS = 1_000_000
BASE_NS = 1_000_000 * MS
OFFSETS_MS = {"a": 0, "b": 10, "c": 40}
PERIOD_MS = 100


def make(**changes):
    settings = {"tolerance_ns": 60 * MS, "timeout_ns": 300 * MS, "queue_size": 10}
    return Synchronizer(OFFSETS_MS, **(settings | changes))


class Rig:
    """Feeds a synchroniser with cycles; the payload is (camera, cycle)."""

    def __init__(self, sync: Synchronizer[tuple[str, int]], shift_ms: float = 0) -> None:
        self.sync = sync
        self.shift_ms = shift_ms  # between stamps and the monotonic clock

    def stamp_ns(self, camera: str, cycle: int) -> int:
        return BASE_NS + int((self.shift_ms + cycle * PERIOD_MS + OFFSETS_MS[camera]) * MS)

    def send(self, camera: str, cycle: int, stamp_ns: int | None = None, late_ms: float = 0):
        stamp_ns = self.stamp_ns(camera, cycle) if stamp_ns is None else stamp_ns
        now_ns = int((cycle * PERIOD_MS + OFFSETS_MS[camera] + late_ms) * MS)
        return self.sync.add(camera, stamp_ns, (camera, cycle), now_ns)

    def cycle(self, number: int, without: str = "") -> list[SyncedSet[tuple[str, int]]]:
        return [
            s for camera in OFFSETS_MS if camera not in without for s in self.send(camera, number)
        ]

    def warm_up(self, cycles: int = 3) -> Rig:
        for number in range(cycles):
            self.cycle(number)
        return self


def cycles_of(sets: list[SyncedSet[tuple[str, int]]]) -> list[int]:
    for synced in sets:
        assert len({cycle for _, cycle in synced.items.values()}) == 1
    return [next(iter(synced.items.values()))[1] for synced in sets]


def test_a_complete_cycle_is_handed_out_when_its_last_item_arrives():
    rig = Rig(make()).warm_up()
    assert rig.send("a", 3) == []
    assert rig.send("b", 3) == []
    (synced,) = rig.send("c", 3)
    assert synced.items == {"a": ("a", 3), "b": ("b", 3), "c": ("c", 3)}


def test_a_set_carries_the_newest_stamp_all_stamps_and_the_spread():
    rig = Rig(make()).warm_up()
    (synced,) = rig.cycle(3)
    assert synced.stamp_ns == synced.stamps_ns["c"] == rig.stamp_ns("c", 3)
    assert synced.stamps_ns["a"] == rig.stamp_ns("a", 3)
    assert synced.spread_ns == rig.sync.last_spread_ns == 40 * MS


def test_with_an_anchor_the_set_carries_the_anchors_stamp():
    rig = Rig(make(anchor="b")).warm_up()
    (synced,) = rig.cycle(3)
    assert synced.stamp_ns == rig.stamp_ns("b", 3)


def test_with_an_anchor_the_tolerance_limits_the_distance_to_it():
    settings = {"tolerance_ns": 35 * MS}
    assert cycles_of(Rig(make(anchor="b", **settings)).warm_up().cycle(3)) == [3]
    assert Rig(make(**settings)).warm_up(8).cycle(8) == []


def test_a_spread_equal_to_the_tolerance_is_matched():
    assert cycles_of(Rig(make(tolerance_ns=40 * MS)).warm_up().cycle(3)) == [3]


def test_cycles_that_waited_for_the_firing_order_are_all_handed_out():
    rig = Rig(make())
    assert cycles_of([s for number in range(4) for s in rig.cycle(number)]) == [0, 1, 2, 3]


def test_a_single_camera_needs_no_partner():
    sync = Synchronizer(["a"], tolerance_ns=MS, timeout_ns=MS)
    (synced,) = sync.add("a", BASE_NS, "x", 0)
    assert synced.items == {"a": "x"}
    assert synced.spread_ns == 0


def test_a_pause_proves_the_very_first_set():
    rig = Rig(make())
    assert rig.cycle(0) == []
    assert rig.sync.poll(100 * MS) == []
    assert cycles_of(rig.sync.poll((40 + 4 * 60) * MS)) == [0]
    assert cycles_of(rig.cycle(5)) == [5]


def test_an_item_is_never_completed_with_a_neighbours_cycle_when_one_is_lost():
    rig = Rig(make(tolerance_ns=100 * MS)).warm_up(8)
    assert rig.cycle(8, without="b") == []
    assert cycles_of(rig.cycle(9)) == [9]
    assert rig.sync.counters.cameras["a"].unmatched == 1
    assert rig.sync.counters.cameras["b"].unmatched == 0
    assert rig.sync.counters.incomplete_sets == 1


def test_the_order_of_arrival_does_not_matter():
    rig = Rig(make()).warm_up()
    assert rig.send("c", 3, late_ms=5) == []
    assert rig.send("a", 3, late_ms=46) == []
    assert cycles_of(rig.send("b", 3, late_ms=47)) == [3]


def test_a_cycle_may_start_before_the_last_one_is_complete():
    rig = Rig(make()).warm_up()
    rig.send("a", 3)
    rig.send("b", 3)
    assert rig.send("a", 4) == []
    assert cycles_of(rig.send("c", 3, late_ms=70)) == [3]
    rig.send("b", 4)
    assert cycles_of(rig.send("c", 4)) == [4]


def test_an_incomplete_cycle_times_out():
    rig = Rig(make()).warm_up()
    rig.cycle(3, without="c")
    rig.sync.poll((300 + 299) * MS)
    assert rig.sync.queued("a") == 1
    rig.sync.poll((300 + 300) * MS)
    assert rig.sync.queued("a") == 0
    assert rig.sync.counters.cameras["a"].timeout == 1
    assert rig.sync.counters.cameras["c"].timeout == 0


def test_an_item_of_a_cycle_that_timed_out_is_late():
    rig = Rig(make()).warm_up()
    rig.cycle(3, without="c")
    rig.sync.poll(700 * MS)
    assert rig.send("c", 3, late_ms=400) == []
    assert rig.sync.counters.cameras["c"].late == 1
    assert rig.sync.queued("c") == 0


def test_an_item_older_than_the_last_set_is_late():
    rig = Rig(make()).warm_up()
    rig.cycle(3, without="a")
    rig.cycle(4)
    rig.send("a", 3, late_ms=150)
    assert rig.sync.counters.cameras["a"].late == 1


def test_the_same_stamp_twice_is_a_duplicate():
    rig = Rig(make()).warm_up()
    rig.send("a", 3)
    rig.send("a", 3, late_ms=1)
    assert rig.sync.counters.cameras["a"].duplicate == 1
    rig.send("b", 3)
    assert cycles_of(rig.send("c", 3)) == [3]
    rig.send("c", 3, late_ms=2)
    assert rig.sync.counters.cameras["c"].duplicate == 1


def test_a_second_publisher_on_a_camera_does_not_disturb_the_sets():
    rig = Rig(make()).warm_up()
    for number in range(3, 12):
        rig.send("a", number)
        rig.send("b", number)
        rig.send("b", number, stamp_ns=rig.stamp_ns("b", number) + 2 * MS, late_ms=2)
        assert cycles_of(rig.send("c", number)) == [number]
    assert rig.sync.counters.cameras["b"].duplicate == 9


@pytest.mark.parametrize("stamp_ns", [0, -5])
def test_an_unset_stamp_is_counted_and_dropped(stamp_ns):
    rig = Rig(make()).warm_up()
    assert rig.send("a", 3, stamp_ns=stamp_ns) == []
    assert rig.sync.counters.cameras["a"].zero_stamp == 1
    assert cycles_of(rig.cycle(4)) == [4]


def test_open_cycles_are_bounded_and_the_oldest_goes_first():
    rig = Rig(make(queue_size=2, timeout_ns=10_000 * MS)).warm_up()
    for number in range(3, 8):
        rig.cycle(number, without="c")
    assert rig.sync.queued("a") == rig.sync.queued("b") == 2
    assert rig.sync.counters.cameras["a"].overflow == 3
    assert cycles_of(rig.send("c", 6, late_ms=200)) == [6]


def test_items_that_wait_for_the_firing_order_are_bounded_too():
    rig = Rig(make(queue_size=4, timeout_ns=10_000 * MS))
    for number in range(10):
        rig.cycle(number, without="c")
    assert rig.sync.queued("a") == 4
    assert rig.sync.counters.cameras["a"].overflow == 6


def test_time_that_jumps_back_resets_and_matches_the_first_cycle_again():
    rig = Rig(make()).warm_up(30)
    rig.cycle(30, without="c")
    again = Rig(rig.sync, shift_ms=-31 * PERIOD_MS)
    assert cycles_of(again.cycle(31)) == [31]
    assert rig.sync.counters.time_jumps == 1
    assert rig.sync.counters.cameras["a"].reset == 1


def test_stragglers_of_the_time_before_a_jump_are_late_and_do_not_jump_again():
    rig = Rig(make()).warm_up(30)
    again = Rig(rig.sync, shift_ms=-31 * PERIOD_MS)
    again.send("a", 31)
    rig.send("b", 30, late_ms=101)
    again.send("b", 31)
    assert cycles_of(again.send("c", 31)) == [31]
    assert rig.sync.counters.time_jumps == 1
    assert rig.sync.counters.cameras["b"].late == 1


def test_a_stamp_a_little_back_in_time_is_no_jump():
    rig = Rig(make()).warm_up()
    rig.send("b", 4, late_ms=-100)
    rig.send("b", 3)
    assert rig.sync.counters.time_jumps == 0
    rig.send("a", 3)
    assert cycles_of(rig.send("c", 3)) == [3]


def test_one_stamp_from_the_future_costs_no_other_cycle():
    rig = Rig(make()).warm_up()
    rig.send("a", 3)
    rig.send("b", 3, stamp_ns=rig.stamp_ns("b", 3) + 3_600_000 * MS)
    rig.send("c", 3)
    assert [cycles_of(rig.cycle(number)) for number in (4, 5, 6)] == [[4], [5], [6]]


def test_time_that_jumps_forward_needs_no_reset():
    rig = Rig(make()).warm_up()
    later = Rig(rig.sync, shift_ms=86_400_000)
    assert cycles_of(later.cycle(3)) == [3]


def test_a_dead_camera_that_returns_is_matched_at_once():
    rig = Rig(make()).warm_up(30)
    for number in range(30, 60):
        assert rig.cycle(number, without="c") == []
    assert cycles_of(rig.cycle(60)) == [60]


def test_a_camera_that_returns_with_another_phase_is_matched_again():
    rig = Rig(make()).warm_up(30)
    sets = []
    for number in range(30, 45):
        rig.send("a", number)
        rig.send("b", number)
        sets += rig.send("c", number, stamp_ns=rig.stamp_ns("c", number) - 25 * MS)
    assert cycles_of(sets) == list(range(35, 45))


def test_a_clock_that_is_set_differently_yields_no_set_and_is_told():
    rig = Rig(make()).warm_up(10)
    for number in range(10, 60):
        rig.send("a", number)
        rig.send("b", number)
        assert not rig.send("c", number, stamp_ns=rig.stamp_ns("c", number) + 10_000 * MS)
    report = rig.sync.missing(60 * PERIOD_MS * MS)
    assert report.waiting_on == ("c",)
    assert report.misplaced["c"].ahead_ns == pytest.approx(10_000 * MS, abs=MS)


def test_a_spread_out_of_tolerance_is_measured_and_counted():
    rig = Rig(make(tolerance_ns=30 * MS))
    for number in range(12):
        assert rig.cycle(number) == []
    report = rig.sync.missing(12 * PERIOD_MS * MS)
    assert report.out_of_tolerance_ns == 40 * MS
    assert rig.sync.counters.out_of_tolerance_sets > 0
    assert rig.sync.counters.cameras["b"].out_of_tolerance > 0


def test_missing_names_the_silent_camera_and_how_long_the_set_has_waited():
    rig = Rig(make()).warm_up()
    rig.cycle(3, without="c")
    report = rig.sync.missing(500 * MS)
    assert report.waiting_on == ("c",)
    assert report.pending_ns == 200 * MS
    assert report.silent_ns == {"a": 200 * MS, "b": 190 * MS, "c": 260 * MS}
    assert not report.learning


def test_missing_still_names_the_camera_after_the_timeout():
    rig = Rig(make()).warm_up()
    rig.cycle(3, without="bc")
    rig.sync.poll(2000 * MS)
    assert rig.sync.missing(2000 * MS).waiting_on == ("b", "c")
    rig.cycle(30)
    assert rig.sync.missing(3100 * MS).waiting_on == ()


def test_missing_names_a_camera_that_was_never_seen():
    rig = Rig(make())
    rig.cycle(0, without="b")
    report = rig.sync.missing(50 * MS)
    assert report.waiting_on == ("b",)
    assert report.silent_ns["b"] is None
    assert report.learning


def test_reset_drops_what_is_queued_and_keeps_the_firing_order():
    rig = Rig(make()).warm_up()
    rig.cycle(3, without="c")
    rig.sync.reset()
    assert rig.sync.queued("a") == 0
    assert rig.sync.counters.cameras["a"].reset == 1
    assert cycles_of(rig.cycle(4)) == [4]


def test_reset_forgets_the_firing_order_when_told_to():
    rig = Rig(make()).warm_up()
    rig.sync.reset(forget_phases=True)
    assert rig.cycle(4) == []
    assert cycles_of(rig.cycle(5)) == [4, 5]


def test_every_item_is_accounted_for():
    rig = Rig(make()).warm_up(5)
    rig.cycle(5, without="b")
    rig.send("a", 6, stamp_ns=0)
    rig.cycle(7)
    rig.cycle(7)
    rig.cycle(8, without="c")
    for name, counters in rig.sync.counters.cameras.items():
        queued = rig.sync.queued(name)
        assert counters.received == counters.matched + counters.dropped + queued
    assert rig.sync.counters.cameras["a"].received == 5 + 1 + 1 + 2 + 1
    assert rig.sync.counters.sets == 6


def test_an_unknown_camera_is_refused_by_name():
    with pytest.raises(ValueError, match=r"expected a camera among .*'a', 'b', 'c'.* got 'd'"):
        make().add("d", BASE_NS, None, 0)


@pytest.mark.parametrize(
    ("names", "changes", "message"),
    [
        ((), {}, "one or more cameras"),
        (("a", "a"), {}, "each named once"),
        (("a",), {"anchor": "b"}, "anchor among"),
        (("a",), {"tolerance_ns": 0}, "tolerance_ns above zero"),
        (("a",), {"timeout_ns": -1}, "timeout_ns above zero"),
        (("a",), {"queue_size": 0}, "queue_size above zero"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_by_name(names, changes, message):
    with pytest.raises(ValueError, match=message):
        Synchronizer(names, **({"tolerance_ns": 1, "timeout_ns": 1} | changes))
