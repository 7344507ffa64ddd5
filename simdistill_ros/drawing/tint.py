# SPDX-License-Identifier: Apache-2.0
"""Translucent polygons, blended where they lie and nowhere else."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from simdistill_ros.core.frames import FloatArray
from simdistill_ros.core.snapshot import ImageArray
from simdistill_ros.drawing.text import Color

PixelArray = npt.NDArray[np.int32]
# OpenCV draws at fractions of a pixel when points are given in 1/16 pixel.
SUBPIXEL_BITS = 4
# Beyond this, fixed-point coordinates would overflow; nothing of it is on a picture.
_FAR_PX = 20_000.0


def fixed_point(pixels: FloatArray) -> PixelArray:
    """Return (..., 2) pixels as the fixed-point numbers that OpenCV draws at."""
    limited = np.clip(pixels, -_FAR_PX, _FAR_PX)
    return np.ascontiguousarray(np.round(limited * 2**SUBPIXEL_BITS), dtype=np.int32)


def tint(canvas: ImageArray, polygon: PixelArray, color: Color, opacity: float) -> None:
    """Blend a polygon (M, 2), fixed-point pixels, into the canvas in place."""
    size = np.array([canvas.shape[1], canvas.shape[0]])
    first = np.clip((polygon.min(axis=0) >> SUBPIXEL_BITS) - 1, 0, size)
    last = np.clip((polygon.max(axis=0) >> SUBPIXEL_BITS) + 2, 0, size)
    region = canvas[first[1] : last[1], first[0] : last[0]]
    if region.size == 0:
        return
    filled = region.copy()
    inside = np.asarray(polygon - (first << SUBPIXEL_BITS), dtype=np.int32)
    cv2.fillPoly(filled, [inside], color, cv2.LINE_AA, SUBPIXEL_BITS)
    region[:] = cv2.addWeighted(filled, opacity, region, 1.0 - opacity, 0.0)
