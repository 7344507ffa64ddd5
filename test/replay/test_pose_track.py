# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest

from simdistill_ros.core.frames import rigid, rotation_about_z, yaw_of_rotation
from simdistill_ros.replay.pose_track import pose_track


def track():
    return pose_track(
        [
            (300, rigid(rotation_about_z(math.pi / 2), [4.0, 0.0, 0.0])),
            (100, rigid(np.eye(3), [0.0, 0.0, 0.0])),
        ]
    )


def test_pose_at_a_stamp_is_exact():
    np.testing.assert_array_equal(track().at(100), np.eye(4))


def test_pose_halfway_has_moved_and_turned_halfway():
    pose = track().at(200)
    np.testing.assert_allclose(pose[:3, 3], [2.0, 0.0, 0.0])
    assert yaw_of_rotation(pose[:3, :3]) == pytest.approx(math.pi / 4)


def test_turn_through_pi_takes_the_short_way():
    turning = pose_track(
        [
            (0, rigid(rotation_about_z(3.0), np.zeros(3))),
            (10, rigid(rotation_about_z(-3.0), [0] * 3)),
        ]
    )
    assert abs(yaw_of_rotation(turning.at(5)[:3, :3])) == pytest.approx(math.pi)


@pytest.mark.parametrize("stamp", [99, 301])
def test_pose_outside_the_track_is_refused(stamp):
    with pytest.raises(ValueError, match="within the pose track"):
        track().at(stamp)


def test_empty_track_is_refused_at_any_time():
    with pytest.raises(ValueError, match="empty"):
        pose_track([]).at(1)


def test_of_two_poses_at_one_stamp_the_first_counts():
    doubled = pose_track([(1, rigid(np.eye(3), [1, 0, 0])), (1, rigid(np.eye(3), [2, 0, 0]))])
    assert len(doubled.stamps_ns) == 1
    assert doubled.at(1)[0, 3] == 1.0
