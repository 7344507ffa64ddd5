# SPDX-License-Identifier: Apache-2.0
"""Cameras whose stamps stand apart are told by name and by how much."""

from __future__ import annotations

import random

import pytest

from benchmarks.sync_streams import arrivals, cases
from simdistill_ros.core.stamp_places import Against, misfit_of_set
from simdistill_ros.core.sync import Synchronizer

MS = 1_000_000
BASE_NS = 1_600_000_000_000 * MS
OFFSETS_MS = {"a": 0, "b": 8, "c": 16, "d": 23, "e": 33, "f": 43}  # nuScenes cameras
PERIOD_MS = 83


class Rig:
    """Six cameras whose images arrive some time after they were stamped."""

    def __init__(self, *, at_once: bool = False, latency_ms: dict[str, float] | None = None):
        self.sync = Synchronizer(OFFSETS_MS, tolerance_ns=60 * MS, timeout_ns=300 * MS)
        self.at_once = at_once
        self.latency_ms = latency_ms or {}
        self.noise = random.Random(1)
        self.cycle = 0

    def run(self, cycles: int, wrong_ms: dict[str, float] | None = None, without: str = ""):
        """Send cycles; return what is misplaced after them."""
        for _ in range(cycles):
            self.cycle += 1
            for camera, offset_ms in OFFSETS_MS.items():
                taken_ms = self.cycle * PERIOD_MS + offset_ms
                sent_ms = self.cycle * PERIOD_MS + 43 if self.at_once else taken_ms
                now_ms = sent_ms + self.latency_ms.get(camera, 20) + self.noise.random() * 3
                stamp_ns = BASE_NS + int((taken_ms + (wrong_ms or {}).get(camera, 0)) * MS)
                if camera not in without:
                    self.sync.add(camera, stamp_ns, camera, int(now_ms * MS))
        return self.sync.missing(self.now_ns).misplaced

    @property
    def now_ns(self) -> int:
        return (self.cycle * PERIOD_MS + 70) * MS


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("wrong_ms", [35, -35, 20])
def test_a_clock_that_steps_is_told_at_once_by_its_place(at_once, wrong_ms):
    rig = Rig(at_once=at_once)
    assert rig.run(30) == {}

    found = rig.run(3, {"e": wrong_ms})

    assert found.keys() == {"e"}
    assert found["e"].against is Against.PLACE
    assert found["e"].ahead_ns == pytest.approx(wrong_ms * MS, abs=MS)
    assert ("ahead of" in str(found["e"])) == (wrong_ms > 0)


@pytest.mark.parametrize("at_once", [False, True])
def test_a_clock_that_stepped_long_ago_is_told_by_arrival_until_it_is_right_again(at_once):
    rig = Rig(at_once=at_once)
    rig.run(30)

    found = rig.run(80, {"e": 35})

    assert found.keys() == {"e"}
    assert found["e"].against is Against.ARRIVAL
    assert found["e"].ahead_ns == pytest.approx(35 * MS, abs=4 * MS)
    assert rig.sync.misplaced_clocks() == found
    assert rig.run(80) == {}


def test_a_clock_that_is_fast_from_the_start_is_told():
    found = Rig().run(80, {"e": 35})
    assert found.keys() == {"e"}
    assert found["e"].ahead_ns == pytest.approx(35 * MS, abs=4 * MS)


def test_a_clock_that_is_ten_seconds_fast_from_the_start_is_told_though_nothing_is_matched():
    rig = Rig()
    found = rig.run(10, {"e": 10_000})
    assert found.keys() == {"e"}
    assert rig.sync.phases is None


def test_a_camera_whose_images_always_take_longer_is_no_fault():
    assert Rig(latency_ms={"e": 75}).run(80) == {}


def test_nor_are_a_lost_image_a_dead_camera_and_one_that_returns():
    rig = Rig()
    rig.run(30)
    assert rig.run(1, without="e") == {}
    assert rig.run(20, without="e") == {}
    assert rig.sync.counters.absences.keys() == {"e"}
    assert rig.run(3) == {}


@pytest.mark.parametrize("wrong_ms", [35, 10_000])
def test_a_stamp_apart_makes_nobody_else_absent(wrong_ms):
    rig = Rig()
    rig.run(30)
    rig.run(8, {"e": wrong_ms})
    assert rig.sync.counters.incomplete_sets > 0
    assert rig.sync.counters.absences.keys() <= {"e"}


def test_of_two_cameras_nobody_knows_which_one_is_wrong():
    sync = Synchronizer(("a", "b"), tolerance_ns=60 * MS, timeout_ns=300 * MS)
    for cycle in range(60):
        for camera in ("a", "b"):
            wrong_ms = 35 if camera == "b" and cycle > 30 else 0
            stamp_ns = BASE_NS + (cycle * 100 + wrong_ms) * MS
            sync.add(camera, stamp_ns, camera, cycle * 100 * MS)
    assert sync.missing(6000 * MS).misplaced == {}


def test_time_that_jumps_back_is_no_wrong_clock():
    rig = Rig()
    rig.run(30)
    for camera in OFFSETS_MS:
        rig.sync.add(camera, BASE_NS - 30_000 * MS, camera, rig.now_ns)
    assert rig.sync.missing(rig.now_ns).misplaced == {}


def test_the_camera_that_makes_a_set_too_wide_is_told_with_what_would_fit():
    stamps_ns = {"a": 0, "b": 5 * MS, "c": 10 * MS, "d": 75 * MS}
    found = misfit_of_set(stamps_ns, 60 * MS)
    assert found.keys() == {"d"}
    assert str(found["d"]) == (
        "70.0 ms ahead of the middle of its set; expected at most 55.0 ms"
    )  # 60 ms after a, which is 5 ms before the middle


def test_of_a_set_that_is_wide_all_over_no_camera_is_to_blame():
    stamps_ns = {name: 20 * MS * number for number, name in enumerate("abcdef")}
    assert misfit_of_set(stamps_ns, 60 * MS) == {}


@pytest.mark.parametrize("scenario", cases(), ids=lambda scenario: scenario.name)
def test_whatever_streams_do_with_right_clocks_no_clock_is_suspected(scenario):
    sync = Synchronizer(scenario.names, tolerance_ns=60 * MS, timeout_ns=300 * MS)
    for number, message in enumerate(arrivals(scenario, 0)[:2400]):
        sync.add(message.camera, message.stamp_ns, message.cycle, message.arrival_ns)
        if number % 40 == 0:
            assert sync.missing(message.arrival_ns).misplaced == {}


def test_a_second_image_of_a_cycle_that_just_went_out_is_a_duplicate_and_no_lost_cycle():
    rig = Rig()
    rig.run(30)
    for _ in range(3):
        rig.run(1)
        taken_ns = BASE_NS + (rig.cycle * PERIOD_MS + OFFSETS_MS["e"] + 3) * MS
        rig.sync.add("e", taken_ns, "e", rig.now_ns)
    rig.run(3)
    assert rig.sync.counters.cameras["e"].duplicate == 3
    assert rig.sync.counters.incomplete_sets == 0
