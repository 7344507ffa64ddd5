# SPDX-License-Identifier: Apache-2.0

import numpy as np
import pytest

from simdistill_ros.core.frames import is_rotation
from simdistill_ros.scenes.rig import CAMERAS, make_rig

HEADINGS_DEG = {
    "CAM_FRONT": 0,
    "CAM_FRONT_LEFT": 56,
    "CAM_BACK_LEFT": 109,
    "CAM_BACK": 180,
    "CAM_BACK_RIGHT": -110,
    "CAM_FRONT_RIGHT": -56,
}


def test_each_camera_looks_where_its_name_says() -> None:
    for camera in make_rig(np.random.default_rng(0), 1600, 900).cameras:
        optical_axis = camera.ego_from_cam[:3, 2]
        wanted = np.radians(HEADINGS_DEG[camera.channel])
        assert optical_axis[:2] @ [np.cos(wanted), np.sin(wanted)] > np.cos(np.radians(3))
        assert camera.ego_from_cam[2, 1] < -0.99  # image y points down
        assert is_rotation(camera.ego_from_cam[:3, :3])


def test_cameras_fire_in_the_order_of_the_real_rig() -> None:
    leads = {c.channel: c.lead_us for c in make_rig(np.random.default_rng(0), 800, 450).cameras}
    assert leads == {
        "CAM_FRONT_LEFT": 43_000,
        "CAM_FRONT": 35_000,
        "CAM_FRONT_RIGHT": 28_000,
        "CAM_BACK_RIGHT": 20_000,
        "CAM_BACK": 10_000,
        "CAM_BACK_LEFT": 500,
    }


def test_intrinsics_scale_with_the_image_about_pixel_corners() -> None:
    full = make_rig(np.random.default_rng(0), 1600, 900).cameras[0].image_from_cam
    half = make_rig(np.random.default_rng(0), 800, 450).cameras[0].image_from_cam
    assert half[0, 0] == pytest.approx(full[0, 0] / 2)
    assert half[0, 2] + 0.5 == pytest.approx((full[0, 2] + 0.5) / 2)


def test_back_camera_is_the_wide_one() -> None:
    rig = make_rig(np.random.default_rng(0), 1600, 900)
    focal = {camera.channel: camera.image_from_cam[0, 0] for camera in rig.cameras}
    assert focal["CAM_BACK"] == min(focal.values()) < 850
    assert focal["CAM_FRONT"] == pytest.approx(1266, abs=30)


def test_lidar_x_points_right_and_y_forward() -> None:
    ego_from_lidar = make_rig(np.random.default_rng(0), 800, 450).ego_from_lidar
    np.testing.assert_allclose(ego_from_lidar[:3, 0], [0, -1, 0], atol=0.03)
    np.testing.assert_allclose(ego_from_lidar[:3, 1], [1, 0, 0], atol=0.03)


def test_scenes_differ_slightly_in_their_calibration() -> None:
    first, second = (make_rig(np.random.default_rng(seed), 800, 450) for seed in (0, 1))
    assert [camera.channel for camera in first.cameras] == list(CAMERAS)
    difference = np.abs(first.ego_from_lidar - second.ego_from_lidar).max()
    assert 0.0 < difference < 0.08
