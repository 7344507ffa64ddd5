# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from simdistill_ros.core.missing_cameras import MissingCameras, MissingPolicy, Presence

MS = 1_000_000
NAMES = ("a", "b", "c")


def hear(presence, names, cycles, first=0, offset_ms=None):
    for cycle in range(first, first + cycles):
        for name in names:
            now_ns = cycle * 100 * MS
            presence.heard(name, now_ns + (offset_ms or {}).get(name, 0) * MS, now_ns)
    return (first + cycles) * 100 * MS


def test_a_camera_is_away_once_it_was_silent_while_others_sent():
    presence = Presence(NAMES, 300 * MS)
    hear(presence, "abc", 2)
    assert presence.away(hear(presence, "ab", 2, first=2)) == set()
    assert presence.away(hear(presence, "ab", 2, first=4)) == {"c"}
    hear(presence, "c", 1, first=6)
    assert presence.away(600 * MS) == set()


def test_a_camera_that_never_sent_is_away_too():
    presence = Presence(NAMES, 300 * MS)
    assert presence.away(10_000 * MS) == set()
    assert presence.away(hear(presence, "bc", 4)) == {"a"}


def test_a_pause_of_all_cameras_makes_none_of_them_away():
    presence = Presence(NAMES, 300 * MS)
    hear(presence, "abc", 3)
    hear(presence, "a", 1, first=100)
    assert presence.away(10_001 * MS) == set()


def test_a_camera_whose_clock_differs_is_away_until_it_is_right():
    presence = Presence(NAMES, 300 * MS)
    hear(presence, "abc", 3, offset_ms={"b": 400})
    assert presence.away(300 * MS) == {"b"}
    hear(presence, "abc", 1, first=3)
    assert presence.away(400 * MS) == set()


def test_time_that_jumps_for_all_makes_no_clock_wrong():
    presence = Presence(NAMES, 300 * MS)
    hear(presence, "abc", 3)
    presence.forget_clocks()
    hear(presence, "abc", 1, first=3, offset_ms={"a": -9000, "b": -9000, "c": -9000})
    assert presence.away(400 * MS) == set()


@pytest.mark.parametrize(("policy", "least"), [("drop", 6), ("blank", 4), ("hold", 4)])
def test_more_than_half_of_the_cameras_are_needed_unless_told_otherwise(policy, least):
    assert MissingCameras(MissingPolicy(policy)).least(6) == least


def test_the_number_of_cameras_needed_can_be_set():
    assert MissingCameras(MissingPolicy.BLANK, min_cameras=2).least(6) == 2
    with pytest.raises(ValueError, match="expected min_cameras from 0 to 6"):
        MissingCameras(MissingPolicy.BLANK, min_cameras=7).least(6)
