# SPDX-License-Identifier: Apache-2.0
"""A camera's file → its network input.

Without augmentation this is the vehicle's own preprocessing, pixel for pixel. With it, the JPEG is
decoded at the smallest scale that is still large enough and warped once into the input.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import simplejpeg

from simdistill_ros.core.camera import scale_matrix
from simdistill_ros.core.frames import FloatArray
from simdistill_ros.core.images import JPEG_START, ImageError, decode_jpeg_png
from simdistill_ros.core.preprocess import InputRule, resize_and_crop
from simdistill_ros.core.snapshot import ImageArray
from simdistill_training.data.augmentation import ImageAugmentation
from simdistill_training.data.errors import BrokenSampleError


def read_file(path: Path, token: str) -> bytes:
    """Return a file's bytes.

    Raises:
        BrokenSampleError: If it is missing, unreadable or empty.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BrokenSampleError(token, path, error.strerror or str(error)) from None
    if not data:
        raise BrokenSampleError(token, path, "the file is empty")
    return data


def plain_input(path: Path, token: str, rule: InputRule, image_hw: tuple[int, int]) -> ImageArray:
    """Return the input the vehicle would make of an image, (H, W, 3) uint8 RGB.

    Raises:
        BrokenSampleError: If the file is missing, damaged, or not of the size the tables say.
    """
    image = _decoded(path, token)
    if image.shape[:2] != image_hw:
        raise BrokenSampleError(
            token, path, f"expected an image of (height, width) {image_hw}, got {image.shape[:2]}"
        )
    return resize_and_crop(image, rule)


def warped_input(
    path: Path,
    token: str,
    input_from_image: FloatArray,
    *,
    input_hw: tuple[int, int],
    image_hw: tuple[int, int],
) -> ImageArray:
    """Return an augmented input, (H, W, 3) uint8 RGB, resampled once; black beyond the image.

    Raises:
        BrokenSampleError: If the file is missing or damaged.
    """
    scale = float(np.sqrt(abs(np.linalg.det(input_from_image[:2, :2]))))
    image = _decoded(path, token, min(1.0, scale), image_hw)
    decoded_from_image = scale_matrix(image.shape[1] / image_hw[1], image.shape[0] / image_hw[0])
    input_from_decoded = input_from_image @ np.linalg.inv(decoded_from_image)
    return np.asarray(
        cv2.warpAffine(image, input_from_decoded[:2], (input_hw[1], input_hw[0]),
                       flags=cv2.INTER_LINEAR)
    )  # fmt: skip


def _decoded(
    path: Path, token: str, scale: float = 1.0, image_hw: tuple[int, int] = (0, 0)
) -> ImageArray:
    """Return an image; a JPEG at no less than `scale` of its size."""
    data = read_file(path, token)
    try:
        if scale == 1.0 or not data.startswith(JPEG_START):
            return decode_jpeg_png(data)
        wanted = [int(np.ceil(size * scale)) for size in image_hw]
        return np.asarray(
            simplejpeg.decode_jpeg(data, "RGB", min_height=wanted[0], min_width=wanted[1],
                                   min_factor=100.0)
        )  # fmt: skip
    except (ImageError, ValueError) as error:
        raise BrokenSampleError(token, path, f"not a complete image: {error}") from None


def jitter_colors(
    image: ImageArray, augmentation: ImageAugmentation, rng: np.random.Generator
) -> ImageArray:
    """Return the image with random brightness, contrast and saturation."""
    gain, spread, colour = 1 + rng.uniform(-1, 1, 3) * (
        augmentation.brightness,
        augmentation.contrast,
        augmentation.saturation,
    )
    if gain == spread == colour == 1.0:
        return image
    values = np.arange(256) * gain
    table = np.clip((values - 128.0) * spread + 128.0, 0, 255).astype(np.uint8)
    image = cv2.LUT(image, table)
    if colour == 1.0:
        return np.asarray(image)
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return np.asarray(cv2.addWeighted(image, colour, grey, 1 - colour, 0))
