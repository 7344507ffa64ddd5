# SPDX-License-Identifier: Apache-2.0

import numpy as np
import pytest

from simdistill_ros.scenes.motion import (
    Driver,
    Signal,
    Track,
    bezier,
    drive_lane,
    fixed_track,
    make_path,
    track_times,
)


def test_track_velocity_is_the_slope_of_its_position() -> None:
    times = np.arange(0.0, 5.0, 0.04)
    track = Track(times, np.stack([3.0 * times, -4.0 * times], 1), np.zeros(len(times)))
    assert track.velocity(2.0) == pytest.approx((3.0, -4.0))
    assert track.speed(2.0) == pytest.approx(5.0)


def test_fixed_track_stands_still_at_all_times() -> None:
    track = fixed_track(1.0, 2.0, 0.5)
    assert track.pose(-3.0) == track.pose(30.0) == (1.0, 2.0, 0.5)
    assert track.speed(1.0) == 0.0


def test_path_measures_arc_length_and_goes_on_straight_beyond_its_ends() -> None:
    path = make_path(np.array([[0.0, 0.0], [3.0, 0.0], [3.0, 4.0]]))
    assert path.arc_m.tolist() == [0.0, 3.0, 7.0]
    np.testing.assert_allclose(path.at(np.array([-1.0, 5.0, 9.0])), [[-1, 0], [3, 2], [3, 6]])


def test_body_that_follows_a_path_points_along_it() -> None:
    path = make_path(np.array([[0.0, 0.0], [0.0, 50.0]]))
    track = path.follow(np.array([0.0, 1.0]), np.array([10.0, 12.0]), 3.0)
    np.testing.assert_allclose(track.xy, [[0, 10], [0, 12]])
    np.testing.assert_allclose(track.yaw_rad, np.pi / 2)


def test_turn_starts_and_ends_in_the_directions_asked_for() -> None:
    points = bezier(np.zeros(2), 0.0, np.array([10.0, 10.0]), np.pi / 2)
    first, last = points[1] - points[0], points[-1] - points[-2]
    assert np.arctan2(first[1], first[0]) == pytest.approx(0.0, abs=0.15)
    assert np.arctan2(last[1], last[0]) == pytest.approx(np.pi / 2, abs=0.15)


def test_fast_follower_never_touches_a_slow_leader() -> None:
    drivers = [Driver(0.0, 5.0, 14.0), Driver(30.0, 5.0, 3.0)]
    arcs = drive_lane(drivers, [], track_times(20.0), np.random.default_rng(0))
    gap = arcs[:, 1] - arcs[:, 0] - 5.0
    assert gap.min() > 0.5
    assert arcs[-1, 0] - arcs[0, 0] > 60.0  # it was held up, but it drove


def test_driver_waits_at_a_red_signal_and_goes_when_it_opens() -> None:
    times = track_times(20.0)
    signal = Signal(s_m=40.0, closed_from_s=-10.0, closed_until_s=10.0)
    front = drive_lane([Driver(0.0, 4.0, 9.0)], [signal], times, np.random.default_rng(0))[:, 0] + 2
    red = times < 10.0
    assert front[red].max() <= 40.3
    assert front[red][-1] > 34.0
    assert front[-1] > 60.0


def test_nobody_drives_backwards() -> None:
    drivers = [Driver(float(s), 5.0, 8.0) for s in (0, 12, 24, 50)]
    signal = Signal(70.0, 0.0, 8.0)
    arcs = drive_lane(drivers, [signal], track_times(15.0), np.random.default_rng(2))
    assert np.diff(arcs, axis=0).min() >= 0.0


def test_driver_slows_down_before_a_turn() -> None:
    driver = Driver(0.0, 4.0, 10.0, slow_zone=(40.0, 55.0, 4.0))
    times = track_times(15.0)
    s = drive_lane([driver], [], times, np.random.default_rng(0))[:, 0]
    speed = np.gradient(s, times)
    inside = (s > 42.0) & (s < 54.0)
    assert speed[inside].max() < 5.5
    assert speed[s < 20.0].max() > 7.0
