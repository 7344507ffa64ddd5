# SPDX-License-Identifier: Apache-2.0
"""Snapshot to network input."""

import cv2
import numpy as np
import pytest
from PIL import Image

from simdistill_ros.core.camera import CameraCalibration, project_points
from simdistill_ros.core.frames import FloatArray
from simdistill_ros.core.preprocess import (
    InputRule,
    Preprocessor,
    crop,
    ego_from_rectified,
    input_from_cam,
    resize_and_crop,
)
from simdistill_ros.core.snapshot import Snapshot, View

RULE = InputRule(input_hw=(256, 704), resized_width_px=768)
K = np.array([[1260.0, 0.0, 800.0], [0.0, 1260.0, 450.0], [0.0, 0.0, 1.0]])


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 9, width // 9, 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def view(image: np.ndarray, image_from_cam: FloatArray, **changes: object) -> View:
    height, width, _ = image.shape
    calibration = CameraCalibration(width, height, image_from_cam, **changes)  # type: ignore[arg-type]
    return View("cam_front", 0, image, calibration, np.eye(4))


def test_the_input_of_a_nuscenes_image_equals_pillow_pixel_for_pixel() -> None:
    image = noise(900, 1600)

    result = resize_and_crop(image, RULE)

    resized = Image.fromarray(image).resize((768, 432), Image.Resampling.BICUBIC)
    expected = np.asarray(resized.crop((32, 176, 736, 432)))
    assert result.shape == (256, 704, 3)
    assert np.abs(result.astype(int) - expected).max() <= 1


@pytest.mark.parametrize(
    "image_hw", [(900, 1600), (450, 800), (1080, 1920), (720, 1280), (898, 1601)]
)
def test_rows_above_the_crop_can_be_left_out_without_a_trace(image_hw: tuple[int, int]) -> None:
    image = noise(*image_hw)

    fast = resize_and_crop(image, RULE)

    height, width = RULE.resized_hw(image_hw)
    whole = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))
    left, top = RULE.crop_left_top(image_hw)
    assert np.abs(fast.astype(int) - whole[top : top + 256, left : left + 704]).max() <= 1


def test_a_bright_spot_lands_where_the_input_matrix_says() -> None:
    image = np.zeros((900, 1600, 3), np.uint8)
    cv2.circle(image, (1000, 600), 6, (255, 255, 255), -1)

    result = resize_and_crop(image, RULE)

    weights = result[..., 0].astype(float)
    rows, columns = np.indices(weights.shape)
    centre = [(columns * weights).sum() / weights.sum(), (rows * weights).sum() / weights.sum()]
    expected = RULE.input_from_image((900, 1600)) @ [1000.0, 600.0, 1.0]
    np.testing.assert_allclose(centre, expected[:2], atol=0.05)


def test_a_low_image_is_padded_black_above() -> None:
    image = np.full((300, 1600, 3), 200, np.uint8)  # resized to 144 rows, the input has 256

    result = resize_and_crop(image, RULE)

    assert result.shape == (256, 704, 3)
    assert result[: 256 - 144].max() == 0
    assert result[256 - 144 :].min() == 200


def test_a_narrow_input_matrix_keeps_projected_points_on_their_pixels() -> None:
    calibration = CameraCalibration(1600, 900, K)
    point = np.array([[2.0, 1.0, 20.0]])

    direct, _ = project_points(input_from_cam(RULE, calibration), point)
    image_pixel, _ = project_points(K, point)

    by_steps = RULE.input_from_image((900, 1600)) @ [*image_pixel[0], 1.0]
    np.testing.assert_allclose(direct[0], by_steps[:2], atol=1e-9)


@pytest.mark.parametrize(
    ("model", "coefficients"),
    [
        ("plumb_bob", (-0.3, 0.1, 0.001, -0.001, 0.0)),
        ("rational_polynomial", (0.4, 0.1, 0.001, 0.0, 0.01, 0.7, 0.1, 0.01)),
        ("equidistant", (0.05, -0.01, 0.002, 0.0)),
    ],
)
def test_a_distorted_image_is_undistorted_onto_the_pinhole(
    model: str, coefficients: tuple[float, ...]
) -> None:
    points_cam = np.array([[4.0, 1.5, 10.0]])
    pinhole = np.array([[900.0, 0.0, 800.0], [0.0, 900.0, 450.0], [0.0, 0.0, 1.0]])
    project = cv2.fisheye.projectPoints if model == "equidistant" else cv2.projectPoints
    arguments = (points_cam[:, None], np.zeros(3), np.zeros(3), pinhole, np.array(coefficients))
    distorted = project(*arguments)[0].reshape(2)
    straight, _ = project_points(pinhole, points_cam)
    assert np.linalg.norm(distorted - straight[0]) > 5  # the test means something
    image = np.zeros((900, 1600, 3), np.uint8)
    cv2.circle(image, tuple(np.round(distorted).astype(int)), 8, (255, 255, 255), -1)
    distorted_view = view(image, pinhole, distortion_model=model, distortion=coefficients)

    result = Preprocessor(RULE, ("cam_front",)).render(distorted_view)

    weights = result[..., 0].astype(float)
    rows, columns = np.indices(weights.shape)
    centre = [(columns * weights).sum() / weights.sum(), (rows * weights).sum() / weights.sum()]
    expected = RULE.input_from_image((900, 1600)) @ [*straight[0], 1.0]
    np.testing.assert_allclose(centre, expected[:2], atol=0.8)


def test_cameras_come_in_the_models_order_whatever_the_snapshots() -> None:
    dark, light = np.zeros((90, 160, 3), np.uint8), np.full((90, 160, 3), 255, np.uint8)
    calibration = CameraCalibration(160, 90, K)
    views = (
        View("cam_back", 0, light, calibration, np.eye(4)),
        View("cam_front", 0, dark, calibration, np.eye(4)),
    )
    rule = InputRule((32, 64), 64, "bilinear_antialias")

    result = Preprocessor(rule, ("cam_front", "cam_back"))(Snapshot(0, views))

    assert result.images.shape == (2, 32, 64, 3)
    assert result.images[0].max() == 0
    assert result.images[1].min() == 255


def test_a_missing_camera_is_named() -> None:
    snapshot = Snapshot(0, (view(noise(90, 160), K),))

    with pytest.raises(KeyError, match="cam_back"):
        Preprocessor(RULE, ("cam_front", "cam_back"))(snapshot)


def test_read_only_images_are_accepted() -> None:
    image = noise(900, 1600)
    image.flags.writeable = False

    assert resize_and_crop(image, RULE).shape == (256, 704, 3)


def test_rectification_turns_the_camera_frame_that_the_pinhole_holds_in() -> None:
    turn = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    rotated = view(noise(90, 160), K, rectified_from_cam=turn)

    np.testing.assert_allclose(ego_from_rectified(rotated)[:3, :3], turn.T)


def test_an_unknown_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match="resize_kernel"):
        InputRule((256, 704), 768, "nearest")


def test_a_crop_outside_the_image_is_black() -> None:
    assert crop(np.full((4, 4, 3), 9, np.uint8), 10, 10, (2, 2)).max() == 0


@pytest.mark.parametrize(
    ("image_hw", "width_px", "exact", "near", "fast"),
    [
        ((900, 1600), 384, 1, 2, 4),
        ((900, 1600), 768, 1, 1, 2),
        ((900, 1600), 200, 1, 4, 8),
        ((450, 800), 768, 1, 1, 1),
    ],
)
def test_a_jpeg_is_shrunk_only_as_far_as_the_scaled_image_allows(
    image_hw: tuple[int, int], width_px: int, exact: int, near: int, fast: int
) -> None:
    rule = InputRule((64, 128), width_px)

    chosen = [rule.jpeg_denominator(image_hw, scaling) for scaling in ("exact", "near", "fast")]

    assert chosen == [exact, near, fast]


def test_a_view_that_is_network_input_is_taken_as_it_is_and_its_size_checked() -> None:
    rule = InputRule((32, 64), 64, "bilinear_antialias")
    calibration = CameraCalibration(160, 90, K)
    image = noise(90, 160)
    rendered = resize_and_crop(image, rule)
    whole = View("cam_front", 0, image, calibration, np.eye(4))
    ready = View("cam_front", 0, rendered, calibration, np.eye(4), is_network_input=True)
    preprocess = Preprocessor(rule, ("cam_front",))

    late, early = preprocess(Snapshot(0, (whole,))), preprocess(Snapshot(0, (ready,)))

    np.testing.assert_array_equal(early.images, late.images)
    np.testing.assert_array_equal(early.input_from_cam, late.input_from_cam)
    wrong = View("cam_front", 0, image, calibration, np.eye(4), is_network_input=True)
    with pytest.raises(ValueError, match=r"cam_front: expected a network input of shape \(32, 64"):
        preprocess(Snapshot(0, (wrong,)))


@pytest.mark.parametrize("part", ["pose", "focal length", "rectification"])
def test_geometry_that_changes_is_seen_also_when_it_is_changed_in_place(part: str) -> None:
    preprocess = Preprocessor(RULE, ("cam_front",), threads=1)
    seen = view(noise(90, 160), K.copy())
    snapshot = Snapshot(0, (seen,))
    before = preprocess(snapshot)
    array, at = {
        "pose": (seen.ego_from_cam, (0, 3)),
        "focal length": (seen.calibration.image_from_cam, (0, 0)),
        "rectification": (seen.calibration.rectified_from_cam, (0, 1)),
    }[part]

    array[at] += 0.25

    after, fresh = preprocess(snapshot), Preprocessor(RULE, ("cam_front",), threads=1)(snapshot)
    assert not (
        np.array_equal(before.input_from_cam, after.input_from_cam)
        and np.array_equal(before.ego_from_cam, after.ego_from_cam)
    )
    assert np.array_equal(after.input_from_cam, fresh.input_from_cam)
    assert np.array_equal(after.ego_from_cam, fresh.ego_from_cam)
