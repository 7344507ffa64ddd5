# SPDX-License-Identifier: Apache-2.0
"""Random changes of images and of the scene, and what they do to the geometry.

An image augmentation is one 3x3 `input_from_image` a camera; a scene augmentation is one 4x4
`augmented_from_bev` (rotation about z, scale, mirrors) that moves points, boxes and cameras alike.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from simdistill_ros.core.boxes import Detections, transform_detections
from simdistill_ros.core.camera import offset_matrix, scale_matrix
from simdistill_ros.core.frames import FloatArray, rotation_about_z
from simdistill_ros.core.preprocess import InputRule

Range = tuple[float, float]


@dataclass(frozen=True)
class ImageAugmentation:
    """How far a camera's input may stray from the rule's.

    Attributes:
        scale: Range of the factor on the rule's resized width.
        shift_fraction: Largest move of the crop, as a fraction of the input's width and height.
        rotation_rad: Largest rotation about the crop's centre, either way.
        flip: Probability of a mirror image.
        brightness: Largest relative change of brightness.
        contrast: Largest relative change of contrast.
        saturation: Largest relative change of colour saturation.
    """

    scale: Range = (1.0, 1.0)
    shift_fraction: float = 0.0
    rotation_rad: float = 0.0
    flip: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0

    def __post_init__(self) -> None:
        """Refuse ranges that make no image."""
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(f"scale: expected 0 < low <= high, got {self.scale}")
        for name in ("flip", "brightness", "contrast", "saturation", "shift_fraction"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: expected 0 to 1, got {getattr(self, name)}")


@dataclass(frozen=True)
class SceneAugmentation:
    """How far the scene may be turned, scaled and mirrored.

    Attributes:
        rotation_rad: Largest rotation about z, either way.
        scale: Range of the factor on all lengths.
        flip_x: Probability that x changes sign.
        flip_y: Probability that y changes sign.
    """

    rotation_rad: float = 0.0
    scale: Range = (1.0, 1.0)
    flip_x: float = 0.0
    flip_y: float = 0.0

    def __post_init__(self) -> None:
        """Refuse ranges that make no scene."""
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(f"scale: expected 0 < low <= high, got {self.scale}")
        for name in ("flip_x", "flip_y"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: expected 0 to 1, got {getattr(self, name)}")


def random_input_from_image(
    augmentation: ImageAugmentation,
    rule: InputRule,
    image_hw: tuple[int, int],
    rng: np.random.Generator,
) -> FloatArray:
    """Return one camera's (3, 3) `input_from_image`; the rule's own when nothing may change."""
    height, width = rule.input_hw
    factor = rng.uniform(*augmentation.scale)
    shift_x, shift_y = rng.uniform(-1, 1, 2) * augmentation.shift_fraction * (width, height)
    angle = rng.uniform(-1, 1) * augmentation.rotation_rad
    is_mirrored = rng.random() < augmentation.flip
    resized_hw = rule.resized_hw(image_hw)
    scaled_height, scaled_width = resized_hw[0] * factor, resized_hw[1] * factor
    resized_from_image = scale_matrix(scaled_width / image_hw[1], scaled_height / image_hw[0])
    left, top = rule.crop_left_top(image_hw)
    # The crop stays centred and anchored to the lower edge while the image grows or shrinks.
    left += (scaled_width - resized_hw[1]) / 2 + shift_x
    top += scaled_height - resized_hw[0] + shift_y
    cropped_from_resized = offset_matrix(left, top)
    return np.asarray(
        _about_center(angle, is_mirrored, rule.input_hw) @ cropped_from_resized @ resized_from_image
    )


def _about_center(angle_rad: float, is_mirrored: bool, input_hw: tuple[int, int]) -> FloatArray:
    """Return the (3, 3) mirror and rotation about an input's centre."""
    center = offset_matrix((input_hw[1] - 1) / 2, (input_hw[0] - 1) / 2)
    turn = rotation_about_z(angle_rad) @ np.diag([-1.0 if is_mirrored else 1.0, 1.0, 1.0])
    return np.asarray(np.linalg.inv(center) @ turn @ center)


def random_augmented_from_bev(
    augmentation: SceneAugmentation, rng: np.random.Generator
) -> FloatArray:
    """Return the (4, 4) map of the scene to the augmented scene; not rigid: it scales, mirrors."""
    yaw = rng.uniform(-1, 1) * augmentation.rotation_rad
    factor = rng.uniform(*augmentation.scale)
    signs = np.where(rng.random(2) < (augmentation.flip_x, augmentation.flip_y), -1.0, 1.0)
    augmented_from_bev = np.eye(4)
    augmented_from_bev[:3, :3] = np.diag([*signs, 1.0]) @ rotation_about_z(yaw) * factor
    return augmented_from_bev


def augment_boxes(augmented_from_bev: FloatArray, boxes: Detections) -> Detections:
    """Return boxes of the augmented scene; sizes and velocities scale with it."""
    factor = float(np.cbrt(abs(np.linalg.det(augmented_from_bev[:3, :3]))))
    moved = transform_detections(augmented_from_bev, boxes, boxes.frame)
    return replace(moved, sizes_lwh_m=boxes.sizes_lwh_m * factor)
