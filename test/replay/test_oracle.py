# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest

from simdistill_ros.core.frames import rigid, rotation_about_z
from simdistill_ros.replay.nuscenes_reader import (
    CAMERA_CHANNELS,
    ground_truths_of_sample,
    poses_of_scene,
    snapshot_of_sample,
)
from simdistill_ros.replay.oracle import OracleDetector, best_cameras

CAMERAS = tuple(channel.lower() for channel in CAMERA_CHANNELS)


def answer(nusc, change=lambda view: view, compensated=True):
    snapshot = snapshot_of_sample(nusc, "sample_1", CAMERAS, motion_compensated=compensated)
    snapshot = replace(snapshot, views=tuple(change(view) for view in snapshot.views))
    oracle = OracleDetector(nusc, motion_compensated=compensated)
    boxes = oracle.detect(snapshot)
    return boxes.select(np.argsort(boxes.labels))


def expected(nusc, stamp_ns):
    boxes = ground_truths_of_sample(nusc, "sample_1", poses_of_scene(nusc, "scene-0001"), stamp_ns)
    return boxes.select(np.argsort(boxes.labels))


@pytest.mark.parametrize("compensated", [True, False])
def test_right_views_give_the_ground_truth(tiny_nusc, compensated):
    boxes = answer(tiny_nusc, compensated=compensated)
    truth = expected(tiny_nusc, boxes.stamp_ns)
    assert boxes.frame == "base_link"
    assert boxes.names() == truth.names() == ["car", "pedestrian"]
    np.testing.assert_allclose(boxes.centers_m, truth.centers_m, atol=1e-9)
    np.testing.assert_allclose(boxes.yaws_rad, truth.yaws_rad, atol=1e-9)
    np.testing.assert_allclose(boxes.velocities_mps, truth.velocities_mps, atol=1e-9)


def test_wrong_extrinsics_turn_the_boxes_away(tiny_nusc):
    turned = rigid(rotation_about_z(0.1), np.zeros(3))
    boxes = answer(tiny_nusc, lambda view: replace(view, ego_from_cam=turned @ view.ego_from_cam))
    truth = expected(tiny_nusc, boxes.stamp_ns)
    np.testing.assert_allclose(boxes.yaws_rad - truth.yaws_rad, 0.1, atol=1e-6)
    assert np.linalg.norm(boxes.centers_m - truth.centers_m, axis=1).min() > 0.5


def test_wrong_intrinsics_move_the_boxes_sideways(tiny_nusc):
    def shift(view):
        k = view.calibration.image_from_cam + np.array([[0, 0, 4.0], [0, 0, 0], [0, 0, 0]])
        return replace(view, calibration=replace(view.calibration, image_from_cam=k))

    boxes = answer(tiny_nusc, shift)
    truth = expected(tiny_nusc, boxes.stamp_ns)
    assert np.linalg.norm(boxes.centers_m - truth.centers_m, axis=1).min() > 0.2


def test_swapped_cameras_move_the_boxes(tiny_nusc):
    snapshot = snapshot_of_sample(tiny_nusc, "sample_1", CAMERAS)
    other = {"cam_front": "cam_back", "cam_back": "cam_front"}
    poses = {view.camera: view.ego_from_cam for view in snapshot.views}
    boxes = answer(
        tiny_nusc,
        lambda view: replace(view, ego_from_cam=poses[other.get(view.camera, view.camera)]),
    )
    truth = expected(tiny_nusc, boxes.stamp_ns)
    car = boxes.names().index("car")
    assert np.linalg.norm(boxes.centers_m[car] - truth.centers_m[car]) > 20.0


def test_snapshot_between_keyframes_gets_an_empty_answer(tiny_nusc):
    snapshot = snapshot_of_sample(tiny_nusc, "sample_1", CAMERAS)
    oracle = OracleDetector(tiny_nusc, motion_compensated=True)
    boxes = oracle.detect(replace(snapshot, stamp_ns=snapshot.stamp_ns + 1))
    assert len(boxes) == 0
    assert boxes.stamp_ns == snapshot.stamp_ns + 1


def test_each_point_is_given_to_the_camera_that_faces_it(tiny_nusc):
    identity = np.eye(4)
    behind = np.diag([-1.0, 1.0, -1.0, 1.0])
    chosen = best_cameras(
        np.array([[0.1, 0.0, 5.0], [0.1, 0.0, -5.0]]), {"front": identity, "back": behind}
    )
    assert chosen.tolist() == [0, 1]
