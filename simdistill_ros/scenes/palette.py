# SPDX-License-Identifier: Apache-2.0
"""Colours (screen values in [0, 1]) and the small parts that all vehicles share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simdistill_ros.scenes.mesh import Material, MeshBuilder, Rgb
from simdistill_ros.scenes.shapes import box, tube

TYRE: Rgb = (0.09, 0.09, 0.10)
RIM: Rgb = (0.66, 0.68, 0.70)
WINDOW: Rgb = (0.10, 0.12, 0.14)
DARK: Rgb = (0.12, 0.12, 0.13)
STEEL: Rgb = (0.45, 0.46, 0.48)
HEAD_LAMP: Rgb = (0.95, 0.95, 0.88)
TAIL_LAMP: Rgb = (0.72, 0.05, 0.06)
INDICATOR: Rgb = (0.95, 0.55, 0.08)
WHITE: Rgb = (0.92, 0.92, 0.91)
ORANGE: Rgb = (0.96, 0.38, 0.06)
RED: Rgb = (0.80, 0.08, 0.07)
YELLOW: Rgb = (0.95, 0.72, 0.08)
RUBBER: Rgb = (0.14, 0.14, 0.15)

CAR_PAINTS: tuple[Rgb, ...] = (
    (0.93, 0.93, 0.93), (0.08, 0.08, 0.09), (0.62, 0.64, 0.66), (0.36, 0.38, 0.41),
    (0.70, 0.07, 0.08), (0.10, 0.22, 0.55), (0.16, 0.38, 0.62), (0.12, 0.30, 0.20),
    (0.72, 0.60, 0.42), (0.85, 0.48, 0.10), (0.38, 0.10, 0.14), (0.45, 0.60, 0.66),
    (0.90, 0.78, 0.15), (0.30, 0.26, 0.22),
)  # fmt: skip
FLEET_PAINTS: tuple[Rgb, ...] = (
    (0.94, 0.94, 0.93), (0.85, 0.86, 0.88), (0.12, 0.25, 0.55), (0.75, 0.10, 0.10),
    (0.95, 0.70, 0.10), (0.13, 0.42, 0.26), (0.40, 0.42, 0.45), (0.88, 0.42, 0.10),
    (0.45, 0.30, 0.18), (0.30, 0.55, 0.75),
)  # fmt: skip
MACHINE_PAINTS: tuple[Rgb, ...] = (
    (0.96, 0.70, 0.06), (0.95, 0.55, 0.05), (0.88, 0.78, 0.15), (0.90, 0.36, 0.08),
    (0.35, 0.55, 0.25),
)  # fmt: skip
CLOTHES: tuple[Rgb, ...] = (
    (0.10, 0.10, 0.12), (0.22, 0.26, 0.36), (0.55, 0.56, 0.58), (0.85, 0.84, 0.80),
    (0.60, 0.12, 0.14), (0.16, 0.34, 0.58), (0.20, 0.42, 0.26), (0.76, 0.62, 0.36),
    (0.42, 0.24, 0.46), (0.86, 0.46, 0.50), (0.36, 0.26, 0.20), (0.14, 0.50, 0.52),
)  # fmt: skip
TROUSERS: tuple[Rgb, ...] = (
    (0.10, 0.10, 0.11), (0.16, 0.20, 0.32), (0.26, 0.34, 0.48), (0.40, 0.36, 0.30),
    (0.62, 0.56, 0.46), (0.32, 0.32, 0.34),
)  # fmt: skip
SKIN: tuple[Rgb, ...] = (
    (0.94, 0.76, 0.64), (0.82, 0.62, 0.48), (0.62, 0.43, 0.31), (0.40, 0.27, 0.20),
)  # fmt: skip
HAIR: tuple[Rgb, ...] = (
    (0.08, 0.07, 0.06), (0.25, 0.16, 0.10), (0.50, 0.36, 0.18), (0.62, 0.60, 0.58),
    (0.45, 0.18, 0.08),
)  # fmt: skip


@dataclass(frozen=True)
class Dice:
    """The two sources of variation of one object.

    Attributes:
        shape: Fixes kind and proportions; equal for all objects of one variant of a look.
        paint: Fixes colours and small jitter; different for each object.
    """

    shape: np.random.Generator
    paint: np.random.Generator


def choose(rng: np.random.Generator, options: tuple[Rgb, ...]) -> Rgb:
    """Return one colour of `options`, slightly varied."""
    base = options[int(rng.integers(len(options)))]
    shift = rng.normal(0.0, 0.02, 3) + rng.normal(0.0, 0.03)
    red, green, blue = (float(value) for value in np.clip(np.asarray(base) + shift, 0.03, 0.97))
    return red, green, blue


def paint_for(dice: Dice, options: tuple[Rgb, ...], favourites: int = 6) -> Rgb:
    """Return a colour; each variant of a look prefers its own few of `options`."""
    order = dice.shape.permutation(len(options))[:favourites]
    return choose(dice.paint, tuple(options[int(index)] for index in order))


def shade(rgb: Rgb, factor: float) -> Rgb:
    """Return `rgb` scaled and clipped to the valid range."""
    red, green, blue = (float(min(max(value * factor, 0.0), 1.0)) for value in rgb)
    return red, green, blue


def add_wheel(
    builder: MeshBuilder, x: float, y_outer: float, radius: float, width: float, *, sides: int = 14
) -> None:
    """Add a tyre whose outer face lies at `y_outer` (sign gives the side) and a lighter rim."""
    sign = 1.0 if y_outer > 0 else -1.0
    inner = y_outer - sign * width
    skin = y_outer - sign * 0.012
    builder.add("wheel", tube((x, inner, radius), (x, skin, radius), radius, sides=sides), TYRE)
    hub = tube((x, skin - sign * 0.02, radius), (x, y_outer, radius), radius * 0.62, sides=8)
    builder.add("rim", hub, RIM, Material.PAINT)
    cap = tube((x, y_outer - sign * 0.03, radius), (x, y_outer, radius), radius * 0.16, sides=5)
    builder.add("rim", cap, DARK)


def add_wheel_pairs(
    builder: MeshBuilder, positions_x: list[float], half_width: float, radius: float, width: float
) -> None:
    """Add a wheel on both sides at each x."""
    for x in positions_x:
        add_wheel(builder, x, half_width, radius, width)
        add_wheel(builder, x, -half_width, radius, width)


def add_lamp_pair(
    builder: MeshBuilder,
    name: str,
    centre: tuple[float, float, float],
    size: tuple[float, float, float],
    rgb: Rgb,
) -> None:
    """Add a lamp at `centre` (x, y, z) and its mirror image at -y."""
    x, y, z = centre
    for side in (-1.0, 1.0):
        builder.add(name, box((x, side * y, z), size), rgb, Material.LAMP)


def add_plate(builder: MeshBuilder, x: float, z: float, rgb: Rgb = WHITE) -> None:
    """Add a licence plate facing along x."""
    builder.add("plate", box((x, 0.0, z), (0.02, 0.48, 0.12)), rgb)
