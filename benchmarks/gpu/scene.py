# SPDX-License-Identifier: Apache-2.0
"""Images and a ring of cameras to measure with."""

from __future__ import annotations

import cv2
import numpy as np

from simdistill_ros.core.frames import rigid, rotation_about_z
from simdistill_ros.core.lift_geometry import PoolingTables
from simdistill_ros.core.model_card import ModelCard
from simdistill_ros.core.preprocess import InputRule

IMAGE_HW = (900, 1600)
QUICK_IMAGE_HW = (90, 160)
CAM_FROM_EGO_AXES = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


def picture(height_px: int, width_px: int, seed: int) -> np.ndarray:
    """Return smooth shapes under fine noise, (H, W, 3) uint8."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (9, 16, 3), np.uint8)
    image = cv2.resize(coarse, (width_px, height_px), interpolation=cv2.INTER_CUBIC)
    noisy = image.astype(np.int16) + generator.integers(-8, 9, image.shape, np.int16)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def pictures(card: ModelCard, image_hw: tuple[int, int]) -> list[np.ndarray]:
    """Return one image a camera."""
    return [picture(*image_hw, seed) for seed in range(len(card.cameras))]


def rule_of(card: ModelCard) -> InputRule:
    """Return the card's rule for images."""
    return InputRule(card.image.input_hw, card.image.resized_width_px, card.image.resize_kernel)


def ring_tables(card: ModelCard, image_hw: tuple[int, int], turn_rad: float = 0.0) -> PoolingTables:
    """Return the pooling tables of evenly spaced cameras, the whole ring turned."""
    height_px, width_px = image_hw
    image_from_cam = np.array(
        [[0.79 * width_px, 0, width_px / 2], [0, 0.79 * width_px, height_px / 2], [0, 0, 1.0]]
    )
    count = len(card.cameras)
    ego_from_cam = [
        rigid(
            rotation_about_z(turn_rad + 2 * np.pi * index / count) @ CAM_FROM_EGO_AXES,
            [1.0, 0.0, 1.5],
        )
        for index in range(count)
    ]
    input_from_cam = rule_of(card).input_from_image(image_hw) @ image_from_cam
    bev_from_ego = np.linalg.inv(card.bev.ego_from_bev.matrix())
    return card.pooling_tables(
        bev_from_ego @ np.stack(ego_from_cam), np.stack([input_from_cam] * count)
    )
