# SPDX-License-Identifier: Apache-2.0
"""Sets that lack cameras: when they go out, what they hold, and that whole cycles stay whole."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simdistill_ros.core.missing_cameras import MissingCameras, MissingPolicy
from simdistill_ros.core.sync import Synchronizer

MS = 1_000_000
BASE_NS = 1_000_000 * MS
OFFSETS_MS = {"a": 0, "b": 10, "c": 24, "d": 40}
PERIOD_MS = 100
TIMEOUT_MS = 300


def make(policy="blank", *, min_cameras=0, hold_ms=250, **changes):
    rule = MissingCameras(MissingPolicy(policy), min_cameras, hold_ms * MS)
    settings = {"tolerance_ns": 60 * MS, "timeout_ns": TIMEOUT_MS * MS, "missing_cameras": rule}
    return Synchronizer(OFFSETS_MS, **(settings | changes))


class Rig:
    """Sends cycles in real time; the payload is (camera, cycle)."""

    def __init__(self, sync):
        self.sync = sync
        self.now_ns = 0
        self.handed_out = []  # (milliseconds, set)

    def cycle(self, number, without="", shift_ms=None):
        before = len(self.handed_out)
        for camera, offset_ms in OFFSETS_MS.items():
            stamp_ms = number * PERIOD_MS + offset_ms + (shift_ms or {}).get(camera, 0)
            self.now_ns = int((number * PERIOD_MS + offset_ms) * MS)
            if camera not in without:
                sets = self.sync.add(camera, BASE_NS + stamp_ms * MS, (camera, number), self.now_ns)
                self._note(sets)
        return [synced for _, synced in self.handed_out[before:]]

    def cycles(self, numbers, **how):
        return [synced for number in numbers for synced in self.cycle(number, **how)]

    def poll(self, now_ms):
        sets = self.sync.poll(now_ms * MS)
        self._note(sets)
        return sets

    def _note(self, sets):
        self.handed_out += [(self.now_ns // MS, synced) for synced in sets]


def numbers_of(sets):
    """Return the cycle of each set, after checking that no set mixes two."""
    numbers = []
    for synced in sets:
        fresh = {cycle for name, (_, cycle) in synced.items.items() if name not in synced.held}
        assert len(fresh) == 1
        numbers.append(fresh.pop())
    return numbers


@pytest.mark.parametrize("without", ["a", "b", "d", "bd"])
def test_a_camera_that_dies_costs_one_timeout_and_then_nothing(without):
    rig = Rig(make(min_cameras=2))
    rig.cycles(range(10))
    rig.cycles(range(10, 30), without=without)
    numbers = numbers_of([synced for _, synced in rig.handed_out])
    assert numbers == list(range(30))
    first_without = next(ms for ms, synced in rig.handed_out if synced.missing)
    last_offset = max(offset for name, offset in OFFSETS_MS.items() if name not in without)
    assert first_without <= 10 * PERIOD_MS + TIMEOUT_MS + PERIOD_MS
    for ms, synced in rig.handed_out:
        if numbers_of([synced])[0] >= 16:
            assert synced.missing == tuple(without)
            assert ms == numbers_of([synced])[0] * PERIOD_MS + last_offset  # no wait at all


@pytest.mark.parametrize("without", ["a", "b", "d"])
def test_a_camera_that_returns_is_taken_in_again_within_one_cycle(without):
    rig = Rig(make())
    rig.cycles(range(10))
    rig.cycles(range(10, 30), without=without)
    back = rig.cycles(range(30, 40))
    assert numbers_of(back) == list(range(30, 40))
    assert [synced.missing for synced in back[1:]] == [()] * 9


def test_a_camera_that_is_dead_from_the_start_does_not_silence_the_others():
    rig = Rig(make())
    sets = rig.cycles(range(12), without="c")
    assert numbers_of(sets)[-5:] == [7, 8, 9, 10, 11]
    assert all(synced.missing == ("c",) for synced in sets)


def test_a_camera_that_comes_late_finds_its_place():
    rig = Rig(make())
    rig.cycles(range(12), without="c")
    sets = rig.cycles(range(12, 30))
    assert numbers_of(sets) == list(range(12, 30))
    assert [synced.missing for synced in sets[-12:]] == [()] * 12
    assert rig.sync.counters.cameras["c"].unplaced > 0


def test_a_camera_that_returns_with_another_rhythm_is_placed_anew():
    rig = Rig(make())
    rig.cycles(range(10))
    rig.cycles(range(10, 30), without="b")
    sets = rig.cycles(range(30, 60), shift_ms={"b": 23})
    assert numbers_of(sets) == list(range(30, 60))
    assert [synced.missing for synced in sets[-15:]] == [()] * 15


def test_a_camera_with_a_wrong_clock_counts_as_missing():
    rig = Rig(make())
    rig.cycles(range(10))
    sets = rig.cycles(range(10, 40), shift_ms={"b": 7000})
    assert numbers_of(sets)[-20:] == list(range(20, 40))
    assert sets[-1].missing == ("b",)


def test_one_lost_image_makes_one_partial_set_before_the_next_whole_one():
    rig = Rig(make())
    rig.cycles(range(10))
    assert rig.cycle(10, without="b") == []
    partial, whole = rig.cycle(11)
    assert (partial.missing, whole.missing) == (("b",), ())
    assert numbers_of([partial, whole]) == [10, 11]
    assert rig.sync.counters.partial_sets == 1
    assert rig.sync.counters.incomplete_sets == 0


def test_the_policy_drop_gives_up_whatever_lacks_a_camera():
    rig = Rig(make("drop"))
    rig.cycles(range(10))
    assert rig.cycles(range(10, 20), without="b") == []
    assert rig.sync.counters.incomplete_sets > 0


def test_too_few_cameras_make_no_set():
    rig = Rig(make(min_cameras=3))
    rig.cycles(range(10))
    assert rig.cycles(range(10, 20), without="bd") == []
    assert rig.sync.counters.cameras["a"].timeout > 0


def test_without_its_anchor_there_is_no_set():
    rig = Rig(make(anchor="a"))
    rig.cycles(range(10))
    assert numbers_of(rig.cycles(range(10, 20), without="b"))[-1] == 19
    assert rig.cycles(range(20, 30), without="a") == []


def test_a_held_image_is_the_cameras_last_and_keeps_its_own_stamp():
    rig = Rig(make("hold"))
    rig.cycles(range(10))
    rig.cycle(10, without="b")
    partial, whole = rig.cycle(11)
    assert partial.held == ("b",)
    assert partial.missing == ()
    assert partial.items["b"] == ("b", 9)
    assert partial.stamps_ns["b"] == BASE_NS + (9 * PERIOD_MS + 10) * MS
    assert partial.stamp_ns == BASE_NS + (10 * PERIOD_MS + 40) * MS
    assert partial.spread_ns == 40 * MS
    assert whole.held == ()


def test_an_image_is_held_no_longer_than_allowed():
    rig = Rig(make("hold", hold_ms=540))
    rig.cycles(range(10))
    sets = rig.cycles(range(10, 20), without="b")
    held = [n for n, synced in zip(numbers_of(sets), sets, strict=True) if synced.held]
    assert held == [10, 11, 12, 13, 14]  # 530 ms at cycle 14, counted from image 9
    assert all(synced.missing == ("b",) for synced in sets if not synced.held)


def test_nothing_is_held_across_a_jump_of_time():
    rig = Rig(make("hold", hold_ms=10**9))
    rig.cycles(range(10))
    back = {camera: -1000 for camera in OFFSETS_MS}
    sets = rig.cycles(range(10, 20), without="b", shift_ms=back)
    assert sets
    assert all(synced.held == () for synced in sets)


def test_a_paused_rig_goes_on_with_whole_sets():
    rig = Rig(make(min_cameras=1))
    rig.cycles(range(10))
    for now_ms in range(1000, 60_000, 100):
        rig.poll(now_ms)
    sets = rig.cycles(range(600, 605))
    assert numbers_of(sets) == list(range(600, 605))
    assert all(not synced.missing for synced in sets)


def test_the_rule_can_change_while_images_arrive():
    rig = Rig(make("drop"))
    rig.cycles(range(10))
    assert rig.cycles(range(10, 20), without="b") == []
    rig.sync.set_missing_cameras(MissingCameras(MissingPolicy.BLANK))
    assert numbers_of(rig.cycles(range(20, 30), without="b"))[-1] == 29
    rig.sync.set_missing_cameras(MissingCameras())
    assert rig.cycles(range(30, 40), without="b") == []


losses = st.lists(
    st.sets(st.sampled_from(sorted(OFFSETS_MS)), max_size=3), min_size=12, max_size=45
)


@settings(max_examples=60, deadline=None)
@given(losses, st.sampled_from(["blank", "hold"]), st.integers(1, 4), st.permutations([0, 11, 24]))
def test_whatever_is_lost_sets_are_pure_in_order_large_enough_and_accounted_for(
    losses, policy, min_cameras, first_offsets
):
    offsets = dict(zip("abcd", [*first_offsets, 40], strict=True))
    sync = make(policy, min_cameras=min_cameras, hold_ms=250)
    sent, sets = defaultdict(set), []
    for number, lost in enumerate([set()] * 6 + losses):
        for camera, offset_ms in sorted(offsets.items(), key=lambda item: item[1]):
            if camera not in lost:
                sent[number].add(camera)
                now_ns = (number * PERIOD_MS + offset_ms) * MS
                sets += sync.add(camera, BASE_NS + now_ns, (camera, number), now_ns)
        for name, counters in sync.counters.cameras.items():
            assert counters.received == counters.matched + counters.dropped + sync.queued(name)
    numbers = numbers_of(sets)
    assert numbers == sorted(set(numbers))
    for number, synced in zip(numbers, sets, strict=True):
        fresh = synced.items.keys() - set(synced.held)
        assert len(fresh) >= min_cameras
        assert set(synced.items) | set(synced.missing) == set(OFFSETS_MS)
        for name in synced.held:
            assert synced.items[name][1] < number
            assert synced.stamp_ns - synced.stamps_ns[name] <= 250 * MS
        # An image is left out only where its camera had just been away for two cycles.
        for name in sent[number] - fresh:
            assert sum(name not in sent[number - back] for back in (1, 2, 3, 4)) >= 2
    matched = {name: sum(name in s.items and name not in s.held for s in sets) for name in "abcd"}
    assert matched == {name: c.matched for name, c in sync.counters.cameras.items()}
    # Every cycle that is large enough and lies far enough back has gone out.
    last = len(losses) + 6 - 6
    assert {n for n in range(last) if len(sent[n]) >= min_cameras} <= set(numbers)
