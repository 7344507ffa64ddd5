# SPDX-License-Identifier: Apache-2.0
"""One colour a class, the same in markers, overlays, pictures and reports."""

from __future__ import annotations

# RGB, 0..255; chosen apart in hue and lightness.
CLASS_COLORS: dict[str, tuple[int, int, int]] = {
    "car": (66, 135, 245),
    "truck": (255, 140, 26),
    "construction_vehicle": (178, 122, 40),
    "bus": (255, 214, 10),
    "trailer": (160, 90, 205),
    "barrier": (130, 140, 150),
    "motorcycle": (220, 40, 60),
    "bicycle": (240, 98, 170),
    "pedestrian": (40, 180, 99),
    "traffic_cone": (255, 94, 77),
}
OTHER_COLOR = (200, 200, 200)


def rgb_of_class(name: str) -> tuple[int, int, int]:
    """Return a class's colour as RGB in 0..255; grey for an unknown class."""
    return CLASS_COLORS.get(name, OTHER_COLOR)


def color_of_class(name: str) -> tuple[float, float, float]:
    """Return a class's colour as RGB in [0, 1]; grey for an unknown class."""
    red, green, blue = rgb_of_class(name)
    return red / 255.0, green / 255.0, blue / 255.0
