# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest

from simdistill_ros.core.camera import project_points
from simdistill_ros.core.frames import inverse, transform_points
from simdistill_ros.replay.nuscenes_reader import (
    camera_records_of_sample,
    ground_truths_in_global,
    ground_truths_of_sample,
    load_nuscenes,
    poses_of_scene,
    records_of_channel,
    sample_record,
    samples_of_scene,
    select_scenes,
    snapshot_of_sample,
)

START_NS = 1_600_000_000_000_000_000
CAMERAS = (
    "cam_front", "cam_front_right", "cam_front_left", "cam_back", "cam_back_left", "cam_back_right"
)  # fmt: skip


def test_absent_version_names_those_that_are_there(tiny_dataroot):
    with pytest.raises(ValueError, match="got v1"):
        load_nuscenes(tiny_dataroot, "v1.0-trainval")


def test_absent_scene_and_unknown_split_are_named(tiny_nusc):
    with pytest.raises(ValueError, match="scene-0002"):
        select_scenes(tiny_nusc, scenes=["scene-0002"])
    with pytest.raises(ValueError, match="nonsense"):
        select_scenes(tiny_nusc, split="nonsense")
    assert select_scenes(tiny_nusc) == ["scene-0001"]
    assert select_scenes(tiny_nusc, split="train") == ["scene-0001"]


def test_samples_come_in_order_with_each_camera_s_own_stamp(tiny_nusc):
    samples = samples_of_scene(tiny_nusc, "scene-0001")
    assert [sample.token for sample in samples] == ["sample_0", "sample_1", "sample_2"]
    assert [s.stamp_ns - START_NS for s in samples] == [0, 500_000_000, 1_000_000_000]
    assert samples[0].camera_stamps_ns["cam_front"] == START_NS - 35_000_000
    assert samples[0].reference_stamp_ns(CAMERAS) == START_NS - 1_000_000


def test_channel_has_keyframes_and_sweeps_in_order(tiny_nusc):
    records = records_of_channel(tiny_nusc, "scene-0001", "CAM_BACK")
    assert [record.is_key_frame for record in records] == [True, False, True, False, True]
    assert np.all(np.diff([record.stamp_ns for record in records]) == 250_000_000)
    assert all(record.path.is_file() for record in records)
    assert records_of_channel(tiny_nusc, "scene-0001", "LIDAR_TOP")[0].calibration is None


def test_vehicle_is_where_it_drove_at_any_time(tiny_nusc):
    poses = poses_of_scene(tiny_nusc, "scene-0001")
    pose = poses.at(START_NS + 100_000_000)
    np.testing.assert_allclose(pose[:3, 3], [100.0, 201.0, 0.0], atol=1e-9)
    np.testing.assert_allclose(pose[:3, 0], [0.0, 1.0, 0.0], atol=1e-12)


def test_parked_car_is_twenty_metres_ahead_and_turned_to_the_left(tiny_nusc):
    poses = poses_of_scene(tiny_nusc, "scene-0001")
    boxes = ground_truths_of_sample(tiny_nusc, "sample_0", poses)
    car = boxes.names().index("car")
    assert boxes.frame == "base_link"
    assert boxes.stamp_ns == START_NS
    np.testing.assert_allclose(boxes.centers_m[car], [20.0, 0.0, 0.8], atol=1e-9)
    np.testing.assert_allclose(boxes.sizes_lwh_m[car], [4.0, 2.0, 1.6])
    assert boxes.yaws_rad[car] == pytest.approx(math.pi / 2)


def test_velocity_is_turned_into_the_ego_frame(tiny_nusc):
    poses = poses_of_scene(tiny_nusc, "scene-0001")
    boxes = ground_truths_of_sample(tiny_nusc, "sample_1", poses)
    walker = boxes.names().index("pedestrian")
    # East is to the right of a vehicle that faces north.
    np.testing.assert_allclose(boxes.velocities_mps[walker], [0.0, -1.0], atol=1e-9)


def test_ground_truth_of_an_earlier_time_is_further_ahead(tiny_nusc):
    poses = poses_of_scene(tiny_nusc, "scene-0001")
    boxes = ground_truths_of_sample(tiny_nusc, "sample_1", poses, START_NS + 450_000_000)
    car = boxes.names().index("car")
    assert boxes.stamp_ns == START_NS + 450_000_000
    np.testing.assert_allclose(boxes.centers_m[car], [15.5, 0.0, 0.8], atol=1e-9)


def test_unseen_objects_and_foreign_categories_are_no_ground_truth(tiny_nusc):
    assert sorted(ground_truths_in_global(tiny_nusc, "sample_0").names()) == ["car", "pedestrian"]


def test_snapshot_has_the_newest_camera_s_stamp_and_every_view(tiny_nusc):
    snapshot = snapshot_of_sample(tiny_nusc, "sample_1", CAMERAS)
    assert snapshot.stamp_ns == sample_record(tiny_nusc, "sample_1").reference_stamp_ns(CAMERAS)
    assert tuple(view.camera for view in snapshot.views) == CAMERAS
    assert snapshot.view("cam_front").image.shape == (36, 64, 3)


def test_compensation_moves_older_cameras_back_by_the_way_driven_since(tiny_nusc):
    still = snapshot_of_sample(tiny_nusc, "sample_1", CAMERAS, motion_compensated=False)
    moving = snapshot_of_sample(tiny_nusc, "sample_1", CAMERAS, motion_compensated=True)
    np.testing.assert_allclose(still.view("cam_front").ego_from_cam[:3, 3], [1.0, 0.25, 1.5])
    # Fired 34 ms before the newest camera, at 10 m/s.
    origin = moving.view("cam_front").ego_from_cam[:3, 3]
    np.testing.assert_allclose(origin, [0.66, 0.25, 1.5], atol=1e-9)


def test_car_ahead_projects_into_the_middle_of_the_front_camera(tiny_nusc):
    record = camera_records_of_sample(tiny_nusc, "sample_0")["cam_front"]
    cam_from_global = inverse(record.global_from_ego @ record.ego_from_sensor)
    points_cam = transform_points(cam_from_global, [[99.75, 220.0, 1.5]])
    pixels, depths_m = project_points(record.calibration.image_from_cam, points_cam)
    np.testing.assert_allclose(pixels, [[31.5, 17.5]], atol=1e-6)
    # 20 m from the start, 0.35 m before it, the camera 1 m ahead of the axle.
    np.testing.assert_allclose(depths_m, [19.35], atol=1e-9)
