# SPDX-License-Identifier: Apache-2.0
"""Short texts on pictures, readable on any background."""

from __future__ import annotations

import cv2

from simdistill_ros.core.snapshot import ImageArray

Color = tuple[int, int, int]
TEXT: Color = (232, 234, 240)
SHADOW: Color = (0, 0, 0)
FONT = cv2.FONT_HERSHEY_SIMPLEX


def write(
    canvas: ImageArray, text: str, left_px: int, baseline_px: int, *, color: Color, size: float
) -> None:
    """Write a text with a dark edge; `size` is OpenCV's scale, about 22 pixels high at 1."""
    for tint, thickness in ((SHADOW, 3), (color, 1)):
        place = (left_px, baseline_px)
        cv2.putText(canvas, text, place, FONT, size, tint, thickness, cv2.LINE_AA)
