# SPDX-License-Identifier: Apache-2.0
"""Intrinsics, distortion models and pixel conventions."""

import numpy as np
import pytest

from simdistill_ros.core.camera import (
    CalibrationError,
    CameraCalibration,
    offset_matrix,
    project_points,
    scale_matrix,
    shrunk_calibration,
)

K = np.array([[500.0, 0.0, 319.5], [0.0, 500.0, 239.5], [0.0, 0.0, 1.0]])


def calibration(**changes: object) -> CameraCalibration:
    values: dict[str, object] = {"width_px": 640, "height_px": 480, "image_from_cam": K}
    return CameraCalibration(**{**values, **changes})  # type: ignore[arg-type]


def test_a_point_one_metre_right_at_ten_metres_lands_fifty_pixels_right() -> None:
    pixels, depths = project_points(K, np.array([[1.0, 0.0, 10.0], [0.0, 0.0, -1.0]]))

    np.testing.assert_allclose(pixels[0], [369.5, 239.5])
    np.testing.assert_allclose(depths, [10.0, -1.0])


def test_halving_an_image_maps_the_first_two_pixels_onto_the_first() -> None:
    resized_from_image = scale_matrix(0.5, 0.5)

    centre_of_first_two = resized_from_image @ [0.5, 0.5, 1.0]

    np.testing.assert_allclose(centre_of_first_two, [0.0, 0.0, 1.0])


def test_a_crop_moves_its_first_pixel_to_zero() -> None:
    np.testing.assert_allclose(offset_matrix(3, 7) @ [3.0, 7.0, 1.0], [0.0, 0.0, 1.0])


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"width_px": 0}, "zero_size"),
        ({"image_from_cam": np.zeros((3, 3))}, "uncalibrated"),
        ({"image_from_cam": np.full((3, 3), np.nan)}, "not_finite"),
        ({"image_from_cam": np.diag([-1.0, 1.0, 1.0])}, "bad_intrinsics"),
        ({"distortion": (np.nan,) * 5, "distortion_model": "plumb_bob"}, "not_finite"),
        ({"distortion_model": "banana"}, "unknown_distortion"),
        ({"distortion": (0.1,) * 3, "distortion_model": "plumb_bob"}, "distortion_length"),
    ],
)
def test_unusable_numbers_are_refused_with_a_named_cause(
    changes: dict[str, object], cause: str
) -> None:
    with pytest.raises(CalibrationError) as caught:
        calibration(**changes)

    assert caught.value.cause == cause


def test_zero_coefficients_are_no_distortion() -> None:
    assert not calibration(distortion_model="plumb_bob", distortion=(0.0,) * 5).is_distorted
    assert calibration(distortion_model="plumb_bob", distortion=(0.1, 0, 0, 0, 0)).is_distorted


def test_the_digest_changes_with_every_number() -> None:
    moved = K.copy()
    moved[0, 2] += 1e-9
    digests = {
        calibration().digest(),
        calibration(width_px=641).digest(),
        calibration(image_from_cam=moved).digest(),
        calibration(distortion_model="plumb_bob", distortion=(0.1, 0, 0, 0, 0)).digest(),
        calibration(rectified_from_cam=np.diag([1.0, -1.0, -1.0])).digest(),
    }

    assert len(digests) == 5
    assert calibration().digest() == calibration().digest()


def test_a_shrunken_image_has_the_same_rays_and_a_size_rounded_up() -> None:
    full = calibration(width_px=641, height_px=481)

    small = shrunk_calibration(full, 8)

    assert (small.width_px, small.height_px) == (81, 61)
    pixel_of_first_block = [3.5, 3.5, 1.0]  # the centre of 8 x 8 full pixels
    ray = np.linalg.inv(full.image_from_cam) @ pixel_of_first_block
    np.testing.assert_allclose(small.image_from_cam @ ray, [0.0, 0.0, 1.0], atol=1e-12)
    assert shrunk_calibration(full, 1) is full


@pytest.mark.parametrize(
    ("k", "distortion", "cause"),
    [
        ([[1e300, 0, 8], [0, 1e300, 6], [0, 0, 1]], (), "bad_intrinsics"),
        ([[1e-9, 0, 8], [0, 14, 6], [0, 0, 1]], (), "bad_intrinsics"),
        ([[14, 0, 1e200], [0, 14, 6], [0, 0, 1]], (), "bad_intrinsics"),
        ([[14, 0, 8], [0, 14, 6], [0, 0, 1]], (1e200, 0, 0, 0, 0), "bad_distortion"),
    ],
)
def test_finite_numbers_that_no_camera_has_are_refused(k, distortion, cause):
    with pytest.raises(CalibrationError) as caught:
        CameraCalibration(16, 12, np.array(k, dtype=float), "plumb_bob", distortion)
    assert caught.value.cause == cause
