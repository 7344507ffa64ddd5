# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from simdistill_ros.core.boxes import box_corners
from simdistill_ros.core.frames import quaternion_from_rotation, rotation_about_z
from simdistill_ros.core.legacy_boxes import (
    detections_from_legacy_boxes,
    legacy_boxes_from_detections,
)


def test_legacy_yaw_zero_points_along_minus_y_and_the_bottom_becomes_the_centre():
    box = [[1.0, 2.0, -1.0, 2.0, 5.0, 1.5, 0.0, 3.0, 4.0]]
    detections = detections_from_legacy_boxes(box, [0.5], [0], ("car",))
    assert detections.centers_m.tolist() == [[1.0, 2.0, -0.25]]
    assert detections.sizes_lwh_m.tolist() == [[5.0, 2.0, 1.5]]
    assert detections.yaws_rad.tolist() == [-np.pi / 2]
    assert detections.velocities_mps.tolist() == [[3.0, 4.0]]


def test_legacy_yaw_turns_clockwise():
    box = [[0.0, 0.0, 0.0, 1.0, 1.0, 1.0, np.pi / 2, 0.0, 0.0]]
    detections = detections_from_legacy_boxes(box, [0.5], [0], ("car",))
    assert abs(detections.yaws_rad[0]) == pytest.approx(np.pi)  # from -y clockwise to -x


def test_legacy_boxes_survive_the_round_trip():
    rng = np.random.default_rng(0)
    boxes = rng.uniform(
        [-50, -50, -3, 1, 1, 1, -3.1, -9, -9], [50, 50, 1, 3, 9, 3, 3.1, 9, 9], (20, 9)
    )
    detections = detections_from_legacy_boxes(boxes, np.ones(20), np.zeros(20), ("car",))
    np.testing.assert_allclose(legacy_boxes_from_detections(detections), boxes, atol=1e-12)


def test_boxes_with_other_columns_are_refused():
    with pytest.raises(ValueError, match=r"expected shape \(M, 9\), got \(2, 7\)"):
        detections_from_legacy_boxes(np.zeros((2, 7)), [0, 0], [0, 0], ("car",))


@pytest.mark.reference("12_nuscenes_submission")
def test_reference_boxes_are_converted_as_published(reference):
    samples = [name.split(".")[1] for name in reference.tensors if name.endswith(".boxes")]
    assert samples
    for sample in samples:
        detections = detections_from_legacy_boxes(
            reference.array(f"input.{sample}.boxes"),
            reference.array(f"input.{sample}.scores"),
            reference.array(f"input.{sample}.labels"),
            tuple(reference.config["class_names"]),
        )
        output = f"output.{sample}"
        expected = reference.array(f"{output}.lidar.center")
        np.testing.assert_allclose(detections.centers_m, expected, atol=1e-5)
        expected = reference.array(f"{output}.lidar.wlh")
        np.testing.assert_allclose(detections.sizes_lwh_m[:, [1, 0, 2]], expected, atol=1e-6)
        quaternions = [quaternion_from_rotation(rotation_about_z(y)) for y in detections.yaws_rad]
        expected = reference.array(f"{output}.lidar.quat_wxyz")
        alignment = np.abs((np.stack(quaternions) * expected).sum(1))
        np.testing.assert_allclose(alignment, 1, atol=1e-6)  # q and -q are one rotation
        expected = reference.array(f"{output}.corners")
        distances = np.linalg.norm(box_corners(detections)[:, :, None] - expected[:, None], axis=-1)
        np.testing.assert_allclose(distances.min(axis=1), 0, atol=1e-4)
        np.testing.assert_allclose(distances.min(axis=2), 0, atol=1e-4)
