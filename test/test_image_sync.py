# SPDX-License-Identifier: Apache-2.0
"""The node's synchroniser: policy, sets and reported losses."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, replace
from typing import Any

import pytest

pytest.importorskip("rclpy")

from simdistill_ros.health import Health
from simdistill_ros.image_preparation import PendingImage, PreparedImage
from simdistill_ros.image_sync import MessageFiltersSync, NativeSync, make_sync
from simdistill_ros.parameters import ParameterError, SyncParameters
from simdistill_ros.snapshot_builder import Received

MS = 1_000_000
CAMERAS = ("cam_a", "cam_b", "cam_c")
PARAMETERS = SyncParameters("native", 60 * MS, 300 * MS, 4, "")
HAS_MESSAGE_FILTERS = importlib.util.find_spec("message_filters") is not None


def never_prepared(message: Any) -> PreparedImage:
    raise AssertionError("a synchroniser has no need of pixels")


@dataclass
class Feed:
    """Gives cycles of images to a synchroniser."""

    sync: NativeSync | MessageFiltersSync
    start_ns: int = 10**18

    def cycle(
        self, number: int, cameras: tuple[str, ...] = CAMERAS, wrong_ns: int = 0
    ) -> list[int]:
        stamps = []
        for camera in cameras:
            stamp_ns = self.start_ns + number * 83 * MS + CAMERAS.index(camera) * 10 * MS
            stamp_ns += wrong_ns if camera == "cam_b" else 0
            image = PendingImage(never_prepared, "message")
            now_ns = number * 83 * MS + CAMERAS.index(camera) * 10 * MS
            sets = self.sync.add(camera, Received(image, camera, stamp_ns, now_ns), now_ns)
            stamps += [one.stamp_ns for one in sets]
        return stamps


def health() -> Health:
    return Health(lambda: 0, lambda line: None, 0)


def test_native_sets_carry_the_newest_stamp() -> None:
    feed = Feed(NativeSync(PARAMETERS, CAMERAS, health()))

    stamps = [stamp for number in range(6) for stamp in feed.cycle(number)]

    assert stamps == [feed.start_ns + n * 83 * MS + 20 * MS for n in range(6)]


def test_an_anchor_gives_sets_its_stamp() -> None:
    parameters = replace(PARAMETERS, anchor="cam_a")
    feed = Feed(NativeSync(parameters, CAMERAS, health()))

    stamps = [stamp for number in range(6) for stamp in feed.cycle(number)]

    assert stamps == [feed.start_ns + n * 83 * MS for n in range(6)]


def test_a_camera_that_is_missing_in_a_set_is_reported_by_name() -> None:
    record = health()
    feed = Feed(NativeSync(PARAMETERS, CAMERAS, record))
    for number in range(6):
        feed.cycle(number)

    feed.cycle(6, ("cam_a", "cam_c"))
    feed.cycle(7)

    subjects = record.snapshot()
    assert subjects["cam_b"].counts == {"missing_in_set": 1}
    assert "cam_a" not in subjects
    assert "cam_b" in subjects["sync"].last_message
    assert subjects["sync"].counts == {"incomplete_set": 1}


def test_a_set_that_is_too_wide_is_reported_with_its_spread() -> None:
    record = health()
    feed = Feed(NativeSync(replace(PARAMETERS, tolerance_ns=15 * MS), CAMERAS, record))

    for number in range(40):
        feed.cycle(number)

    faults = record.snapshot()["sync"]
    assert set(faults.counts) & {"out_of_tolerance", "incomplete_set"}


def test_a_clock_that_steps_is_told_of_its_camera_and_of_no_other() -> None:
    record = health()
    feed = Feed(NativeSync(PARAMETERS, CAMERAS, record))
    for number in range(12):
        feed.cycle(number, wrong_ns=35 * MS if number > 5 else 0)

    subjects = record.snapshot()
    assert subjects.keys() == {"cam_b", "sync"}
    assert set(subjects["cam_b"].counts) == {"out_of_tolerance"}
    assert "35.0 ms ahead of its place in the firing order; expected at most 15.0 ms" in (
        subjects["cam_b"].last_message
    )
    assert "without cam_b" in subjects["sync"].last_message


def test_a_clock_that_is_still_wrong_when_sets_match_again_is_warned_of() -> None:
    feed = Feed(NativeSync(PARAMETERS, CAMERAS, health()))
    for number in range(100):
        feed.cycle(number, wrong_ns=35 * MS if number > 30 else 0)

    (warning,) = feed.sync.clock_warnings().items()

    assert warning[0] == "cam_b"
    assert "35.0 ms ahead of the other cameras', arrival considered" in warning[1]


def test_counters_account_for_every_image() -> None:
    sync = NativeSync(PARAMETERS, CAMERAS, health())
    feed = Feed(sync)
    for number in range(6):
        feed.cycle(number)

    values = sync.values()

    assert values["sets"] == 6
    assert values["cam_a"] == "received 6, matched 6"


def test_an_anchor_that_is_no_camera_is_refused() -> None:
    with pytest.raises(ParameterError, match="cam_z"):
        make_sync(replace(PARAMETERS, anchor="cam_z"), CAMERAS, health())


@pytest.mark.skipif(HAS_MESSAGE_FILTERS, reason="message_filters is installed")
def test_message_filters_that_is_not_installed_is_a_clear_error() -> None:
    with pytest.raises(ParameterError, match=r"message-filters.*native"):
        make_sync(replace(PARAMETERS, policy="message_filters"), CAMERAS, health())


@pytest.mark.skipif(not HAS_MESSAGE_FILTERS, reason="message_filters is not installed")
def test_message_filters_matches_cycles_behind_the_same_interface() -> None:
    feed = Feed(make_sync(replace(PARAMETERS, policy="message_filters"), CAMERAS, health()))

    stamps = [stamp for number in range(6) for stamp in feed.cycle(number)]

    assert stamps == [feed.start_ns + n * 83 * MS + 20 * MS for n in range(6)]
