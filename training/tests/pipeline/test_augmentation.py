# SPDX-License-Identifier: Apache-2.0
import cv2
import numpy as np
import pytest

from simdistill_ros.core.boxes import Detections, box_corners
from simdistill_ros.core.frames import transform_points
from simdistill_ros.core.preprocess import InputRule
from simdistill_training.data.augmentation import (
    ImageAugmentation,
    SceneAugmentation,
    augment_boxes,
    random_augmented_from_bev,
    random_input_from_image,
)
from simdistill_training.data.images import jitter_colors, warped_input

RULE = InputRule((64, 176), 192)
STRONG = ImageAugmentation(
    scale=(0.9, 1.2), shift_fraction=0.1, rotation_rad=0.1, flip=0.5, brightness=0.2
)


def rng(seed=0):
    return np.random.default_rng(seed)


def box(center=(10.0, 5.0, 1.0), yaw=0.3, velocity=(2.0, 1.0)):
    return Detections(
        frame="bev",
        stamp_ns=0,
        centers_m=np.array([center]),
        sizes_lwh_m=np.array([[4.0, 2.0, 1.5]]),
        yaws_rad=np.array([yaw]),
        velocities_mps=np.array([velocity]),
        scores=np.ones(1),
        labels=np.zeros(1, dtype=np.int64),
        class_names=("car",),
    )


def test_no_image_augmentation_is_the_vehicles_own_rule():
    matrix = random_input_from_image(ImageAugmentation(), RULE, (450, 800), rng())
    np.testing.assert_allclose(matrix, RULE.input_from_image((450, 800)), atol=1e-12)


def test_mirrored_input_turns_columns_round():
    matrix = random_input_from_image(ImageAugmentation(flip=1.0), RULE, (450, 800), rng())
    plain = RULE.input_from_image((450, 800))
    pixel = np.array([100.0, 300.0, 1.0])
    u, v, _ = plain @ pixel
    np.testing.assert_allclose((matrix @ pixel)[:2], [175 - u, v])


def test_grown_image_keeps_its_lower_edge_and_middle():
    matrix = random_input_from_image(ImageAugmentation(scale=(1.5, 1.5)), RULE, (450, 800), rng())
    middle_of_lower_edge = np.array([399.5, 449.5, 1.0])
    plain = RULE.input_from_image((450, 800)) @ middle_of_lower_edge
    np.testing.assert_allclose(matrix @ middle_of_lower_edge, plain, atol=1e-9)
    assert abs(np.linalg.det(matrix[:2, :2])) == pytest.approx(1.5**2 * (192 / 800) ** 2)


@pytest.mark.parametrize("seed", range(4))
def test_pixels_move_where_the_matrix_says(tmp_path, seed):
    spot = np.array([430, 330])
    image = np.zeros((450, 800, 3), dtype=np.uint8)
    cv2.circle(image, (int(spot[0]), int(spot[1])), 6, (255, 255, 255), -1)
    path = tmp_path / "spot.jpg"
    cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, 98])
    matrix = random_input_from_image(STRONG, RULE, (450, 800), rng(seed))
    warped = warped_input(path, "token", matrix, input_hw=RULE.input_hw, image_hw=(450, 800))
    brightness = warped.sum(-1).astype(float)
    v, u = np.mgrid[: RULE.input_hw[0], : RULE.input_hw[1]]
    found = np.array([(u * brightness).sum(), (v * brightness).sum()]) / brightness.sum()
    np.testing.assert_allclose(found, (matrix @ [*spot, 1.0])[:2], atol=0.3)


def test_moved_corners_are_corners_of_the_moved_box():
    augmentation = SceneAugmentation(rotation_rad=0.4, scale=(0.9, 1.1), flip_x=0.5, flip_y=0.5)
    for seed in range(8):
        matrix = random_augmented_from_bev(augmentation, rng(seed))
        moved = box_corners(augment_boxes(matrix, box()))[0]
        expected = transform_points(matrix, box_corners(box())[0])
        distances = np.linalg.norm(moved[:, None] - expected[None], axis=-1)
        assert distances.min(axis=1).max() < 1e-9
        # The front stays the front: corners 0, 3, 4, 7 in either order.
        front, front_expected = moved[[0, 3, 4, 7]].mean(0), expected[[0, 3, 4, 7]].mean(0)
        np.testing.assert_allclose(front, front_expected, atol=1e-9)


def test_velocity_is_turned_mirrored_and_scaled_with_the_scene():
    matrix = random_augmented_from_bev(SceneAugmentation(flip_y=1.0, scale=(2.0, 2.0)), rng())
    moved = augment_boxes(matrix, box(velocity=(3.0, 1.0)))
    np.testing.assert_allclose(moved.velocities_mps, [[6.0, -2.0]])
    np.testing.assert_allclose(moved.yaws_rad, [-0.3])
    np.testing.assert_allclose(moved.sizes_lwh_m, [[8.0, 4.0, 3.0]])


def test_unknown_velocity_stays_unknown():
    matrix = random_augmented_from_bev(SceneAugmentation(rotation_rad=0.3), rng(1))
    assert np.isnan(augment_boxes(matrix, box(velocity=(np.nan, np.nan))).velocities_mps).all()


def test_colours_are_left_alone_unless_asked():
    image = rng().integers(0, 255, (8, 8, 3), dtype=np.uint8)
    assert jitter_colors(image, ImageAugmentation(), rng()) is image
    brighter = jitter_colors(image, ImageAugmentation(brightness=0.5), rng(3))
    assert (brighter != image).any()


@pytest.mark.parametrize("wrong", [{"scale": (0.0, 1.0)}, {"scale": (2.0, 1.0)}, {"flip": 1.5}])
def test_impossible_ranges_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ImageAugmentation(**wrong)
