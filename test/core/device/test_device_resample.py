# SPDX-License-Identifier: Apache-2.0
"""Preprocessing as two matrices against the CPU's, on images with detail and hard edges."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from simdistill_ros.core.device.resample import DeviceResize, resize_matrix
from simdistill_ros.core.preprocess import InputRule, resize_and_crop

CPU = torch.device("cpu")


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Return smooth shapes, noise, and black and white edges, where kernels overshoot."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (9, 16, 3), np.uint8)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.int16)
    image += generator.integers(-20, 21, image.shape, np.int16)
    image = np.clip(image, 0, 255).astype(np.uint8)
    image[height // 2 :, ::7] = 255
    image[height // 2 :, 3::7] = 0
    return image


def on_device(images: np.ndarray, rule: InputRule) -> np.ndarray:
    resize = DeviceResize(rule, images.shape[1:3], CPU)
    return resize(torch.from_numpy(images[:, resize.image_rows])).numpy()


@pytest.mark.parametrize("kernel", ["bicubic_antialias", "bilinear_antialias"])
@pytest.mark.parametrize(
    ("image_hw", "rule_hw", "width"),
    [
        ((225, 400), (64, 176), 192),  # shrunk, the sky cut off
        ((180, 320), (64, 176), 192),
        ((60, 400), (64, 176), 192),  # too low: black above
        ((72, 128), (64, 176), 192),  # enlarged
        ((108, 192), (64, 192), 192),  # cropped only
    ],
)
def test_pixels_are_exactly_those_of_the_cpu(kernel, image_hw, rule_hw, width) -> None:
    rule = InputRule(rule_hw, width, kernel)
    images = np.stack([picture(*image_hw, seed) for seed in range(2)])

    ours = on_device(images, rule)

    expected = np.stack([resize_and_crop(image, rule) for image in images])
    np.testing.assert_array_equal(ours, expected)


def test_a_nuscenes_image_is_exactly_the_same() -> None:
    rule = InputRule((256, 704), 768, "bicubic_antialias")
    images = picture(900, 1600)[None]

    ours = on_device(images, rule)

    np.testing.assert_array_equal(ours[0], resize_and_crop(images[0], rule))


def test_a_strong_reduction_is_at_most_a_level_off_and_seldom() -> None:
    rule = InputRule((128, 352), 384, "bilinear_antialias")  # sums above 2^24
    images = picture(900, 1600)[None]

    errors = np.abs(on_device(images, rule)[0] - resize_and_crop(images[0], rule).astype(float))

    assert errors.max() <= 1
    assert errors.mean() < 1e-3


def test_rows_that_the_input_does_not_see_are_not_needed() -> None:
    resize = DeviceResize(InputRule((256, 704), 768), (900, 1600), CPU)

    assert resize.image_rows.start > 340  # 176 of 432 rows are cut off, less the kernel's reach
    assert resize.image_rows.stop == 900


def test_weights_of_each_pixel_add_up_to_about_one() -> None:
    for kernel in ("bicubic_antialias", "bilinear_antialias"):
        np.testing.assert_allclose(resize_matrix(900, 432, kernel).sum(1), 1, atol=1e-3)
