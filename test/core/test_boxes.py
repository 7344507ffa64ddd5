# SPDX-License-Identifier: Apache-2.0
"""The box convention."""

import numpy as np
import pytest

from simdistill_ros.core.boxes import (
    NUSCENES_CLASSES,
    Detections,
    box_corners,
    empty_detections,
    transform_detections,
)
from simdistill_ros.core.frames import rigid, rotation_about_z


def one_car(**changes: object) -> Detections:
    """Return a 4 x 2 x 1 m car at (10, 0, 1), heading +x at 5 m/s."""
    values: dict[str, object] = {
        "frame": "base_link",
        "stamp_ns": 7,
        "centers_m": np.array([[10.0, 0.0, 1.0]]),
        "sizes_lwh_m": np.array([[4.0, 2.0, 1.0]]),
        "yaws_rad": np.array([0.0]),
        "velocities_mps": np.array([[5.0, 0.0]]),
        "scores": np.array([0.9]),
        "labels": np.array([0]),
        "class_names": NUSCENES_CLASSES,
    }
    return Detections(**{**values, **changes})  # type: ignore[arg-type]


def test_length_lies_along_x_at_zero_yaw() -> None:
    corners = box_corners(one_car())[0]

    np.testing.assert_allclose(corners.min(axis=0), [8.0, -1.0, 0.5])
    np.testing.assert_allclose(corners.max(axis=0), [12.0, 1.0, 1.5])


def test_length_lies_along_y_at_ninety_degrees_of_yaw() -> None:
    corners = box_corners(one_car(yaws_rad=np.array([np.pi / 2])))[0]

    np.testing.assert_allclose(corners.min(axis=0), [9.0, -2.0, 0.5], atol=1e-12)
    np.testing.assert_allclose(corners.max(axis=0), [11.0, 2.0, 1.5], atol=1e-12)


def test_the_front_face_is_the_one_toward_the_heading() -> None:
    corners = box_corners(one_car())[0]

    np.testing.assert_allclose(corners[[0, 3, 4, 7], 0], 12.0)
    np.testing.assert_allclose(corners[:4, 2], 0.5)


def test_a_transform_moves_centres_and_turns_heading_and_velocity() -> None:
    map_from_ego = rigid(rotation_about_z(np.pi / 2), [100.0, 200.0, 0.0])

    moved = transform_detections(map_from_ego, one_car(), "map")

    assert moved.frame == "map"
    np.testing.assert_allclose(moved.centers_m, [[100.0, 210.0, 1.0]])
    np.testing.assert_allclose(moved.yaws_rad, [np.pi / 2])
    np.testing.assert_allclose(moved.velocities_mps, [[0.0, 5.0]], atol=1e-12)
    np.testing.assert_allclose(moved.sizes_lwh_m, [[4.0, 2.0, 1.0]])


def test_select_keeps_the_order_that_is_asked_for() -> None:
    car = one_car()
    pair = Detections(
        frame="base_link",
        stamp_ns=7,
        centers_m=np.vstack([car.centers_m, car.centers_m + 1]),
        sizes_lwh_m=np.vstack([car.sizes_lwh_m] * 2),
        yaws_rad=np.zeros(2),
        velocities_mps=np.zeros((2, 2)),
        scores=np.array([0.2, 0.8]),
        labels=np.array([0, 8]),
        class_names=NUSCENES_CLASSES,
    )

    assert pair.select(np.array([1, 0])).names() == ["pedestrian", "car"]
    assert pair.select(pair.scores > 0.5).names() == ["pedestrian"]


def test_empty_detections_have_no_box_but_a_frame_and_a_stamp() -> None:
    nothing = empty_detections("base_link", 5, NUSCENES_CLASSES)

    assert len(nothing) == 0
    assert (nothing.frame, nothing.stamp_ns) == ("base_link", 5)
    assert box_corners(nothing).shape == (0, 8, 3)
    assert len(transform_detections(np.eye(4), nothing, "map")) == 0


def test_a_wrong_shape_or_label_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="sizes_lwh_m"):
        one_car(sizes_lwh_m=np.zeros((1, 2)))
    with pytest.raises(ValueError, match="labels"):
        one_car(labels=np.array([10]))
