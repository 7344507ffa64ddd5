# SPDX-License-Identifier: Apache-2.0
"""Ways from a camera's file to network input: the reference, and the vehicle's with its shortcuts.

The reference is Pillow: the file decoded at full size, the whole image resized, then cropped. It
shares no code with the vehicle's decoder, resize kernel or shortcuts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from simdistill_ros.core.camera import CameraCalibration, shrunk_calibration
from simdistill_ros.core.images import EncodedImage, Scratch, decode_image
from simdistill_ros.core.preprocess import JPEG_SCALINGS, InputRule, ViewRenderer, crop
from simdistill_ros.core.snapshot import ImageArray

EXACT = "exact"
KERNELS = {
    "bicubic_antialias": Image.Resampling.BICUBIC,
    "bilinear_antialias": Image.Resampling.BILINEAR,
}
Route = Callable[[Path, InputRule], ImageArray]


def reference_pixels(file: Path, rule: InputRule) -> ImageArray:
    """Return the network input (H, W, 3) uint8 RGB of an undistorted image, by the plain rule."""
    with Image.open(file) as opened:
        image = opened.convert("RGB")
    image_hw = (image.height, image.width)
    height, width = rule.resized_hw(image_hw)
    resized = np.asarray(image.resize((width, height), KERNELS[rule.resize_kernel]))
    return crop(resized, *rule.crop_left_top(image_hw), rule.input_hw)


def vehicle_route(scaling: str) -> Route:
    """Return the node's own way with one of its `input.jpeg_scaling`s."""

    def pixels(file: Path, rule: InputRule) -> ImageArray:
        decoded = decode_image(
            EncodedImage(file.read_bytes()),
            Scratch(),
            lambda image_hw: rule.jpeg_denominator(image_hw, scaling),
        )
        height, width = decoded.full_hw
        full = CameraCalibration(width, height, np.eye(3))
        calibration = shrunk_calibration(full, decoded.denominator)
        rendered = ViewRenderer(rule).render(decoded.pixels, calibration)
        return np.array(rendered[..., ::-1] if decoded.is_bgr else rendered)

    return pixels


def vehicle_routes() -> Mapping[str, Route]:
    """Return the node's ways by `input.jpeg_scaling`."""
    return {scaling: vehicle_route(scaling) for scaling in JPEG_SCALINGS}
