# SPDX-License-Identifier: Apache-2.0
"""Boxes in camera images: drawn where the camera's own geometry puts them."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from drawn_boxes import HW, K, boxes, camera, colored

from simdistill_ros.core.boxes import box_corners
from simdistill_ros.core.camera import CameraCalibration
from simdistill_ros.core.class_colors import CLASS_COLORS
from simdistill_ros.core.frames import inverse, rotation_from_quaternion, transform_points
from simdistill_ros.drawing.camera_boxes import NEAR_M, clip_to_near, draw_camera

CAR = CLASS_COLORS["car"]


def test_segments_are_cut_where_they_enter_the_view() -> None:
    whole = np.array([[0.0, 0.0, 1.0], [0.0, 0.0, 2.0]])
    entering = np.array([[0.0, 0.0, NEAR_M - 1.0], [4.0, 0.0, NEAR_M + 1.0]])
    clipped, is_visible = clip_to_near(np.stack([whole, -whole, entering, entering[::-1]]))
    assert is_visible.tolist() == [True, False, True, True]
    np.testing.assert_array_equal(clipped[0], whole)
    np.testing.assert_allclose(clipped[2], [[2.0, 0.0, NEAR_M], [4.0, 0.0, NEAR_M + 1.0]])
    np.testing.assert_allclose(clipped[3], clipped[2][::-1])


def test_a_box_that_the_camera_stands_in_is_drawn_as_far_as_it_is_before_it() -> None:
    picture = draw_camera(camera(), boxes([0.9], (0.0, 0.0, 0.5)), 200)
    assert picture.any()


@pytest.mark.parametrize("width_px", [100, 200, 600])
def test_the_outline_is_where_the_corners_project_at_any_size_of_the_picture(
    width_px: int,
) -> None:
    box = boxes([0.9], (10.0, 1.0, 1.0))

    picture = draw_camera(camera(), box, width_px)

    rows, columns = np.argwhere(picture.any(axis=-1)).T
    # The rear face, 8 m away: 2 m wide from 0 to 2 m on the left, 2 m high from 0 to 2 m.
    scale = width_px / HW[1]
    left, right = (99.5 - 100 * 2 / 8 + 0.5) * scale - 0.5, (99.5 + 0.5) * scale - 0.5
    bottom = (59.5 + 100 * 1 / 8 + 0.5) * scale - 0.5
    assert columns.min() == pytest.approx(left, abs=1.6)
    assert columns.max() == pytest.approx(right, abs=1.6)
    assert rows.max() == pytest.approx(bottom, abs=1.6)


def test_a_box_behind_the_camera_is_not_drawn() -> None:
    assert not draw_camera(camera(), boxes([0.9], (-10.0, 0.0, 1.0)), 200).any()


def test_of_a_distorted_camera_the_picture_is_straight_and_the_box_fits_it() -> None:
    coefficients = (0.35, 0.1, 0.0, 0.0, 0.0)  # outward, away from the box
    calibration = CameraCalibration(HW[1], HW[0], K, "plumb_bob", coefficients)
    box, no_box = boxes([0.9], (5.0, 3.5, 2.0)), boxes([])
    box = replace(box, sizes_lwh_m=np.array([[0.2, 0.2, 0.2]]))
    view = camera(calibration=calibration)
    corners = transform_points(inverse(view.ego_from_cam), box_corners(box))[0]
    seen, _ = cv2.projectPoints(corners, np.zeros(3), np.zeros(3), K, np.array(coefficients))
    for u, v in seen[:, 0]:  # the corners, where the distorting lens shows them
        cv2.circle(view.image, (round(u * 16), round(v * 16)), 16, (255, 255, 255), -1, shift=4)

    drawn = draw_camera(replace(view, image=np.zeros_like(view.image)), box, 200).any(axis=-1)
    undistorted = draw_camera(view, no_box, 200).max(axis=-1) > 128
    as_it_came = view.image.max(axis=-1) > 128

    outline = cv2.dilate(drawn.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    assert undistorted.sum() > 10
    assert outline[undistorted].mean() > 0.95
    assert outline[as_it_came].mean() < 0.2  # so a picture that is not undistorted would show


def test_of_a_rectified_camera_the_rectifying_rotation_counts() -> None:
    turned = rotation_from_quaternion([np.cos(0.05), 0.0, np.sin(0.05), 0.0])
    plain = camera()
    rectified = replace(plain, calibration=replace(plain.calibration, rectified_from_cam=turned))
    box = boxes([0.9], (20.0, 0.0, 1.0))

    def middle(view: object) -> float:
        picture = draw_camera(view, box, 200)  # type: ignore[arg-type]
        return float(np.argwhere(picture.any(axis=-1))[:, 1].mean())

    assert middle(rectified) - middle(plain) == pytest.approx(100 * np.tan(0.1), abs=1.5)


def test_each_class_has_its_own_colour() -> None:
    for name, color in CLASS_COLORS.items():
        picture = draw_camera(camera(), boxes([0.9], (10.0, 0.0, 1.0), name), 400)
        assert len(colored(picture, color)) > 20, name


def test_the_picture_is_new_memory_even_where_nothing_is_scaled() -> None:
    view = camera()
    draw_camera(view, boxes([0.9]), HW[1])
    assert not view.image.any()
