# SPDX-License-Identifier: Apache-2.0
"""Traffic cones and barriers. As in nuScenes, a barrier's heading is normal to its long face."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from simdistill_ros.scenes.mesh import Material, MeshBuilder, ObjectModel, finish_model
from simdistill_ros.scenes.palette import DARK, ORANGE, RED, STEEL, WHITE, YELLOW, Dice, shade
from simdistill_ros.scenes.shapes import Shape, box, slab, tube


def build_traffic_cone(dice: Dice) -> ObjectModel:
    """Return a cone with reflective bands, or a slim bollard-like delineator."""
    slim = dice.shape.random() < 0.25
    height = (
        float(dice.shape.uniform(0.65, 1.1)) if not slim else float(dice.shape.uniform(0.9, 1.2))
    )
    foot = 0.055 if slim else height * 0.20
    rgb = shade(ORANGE, float(dice.paint.uniform(0.8, 1.05)))
    builder = MeshBuilder()
    base = foot * (3.4 if slim else 2.1)
    builder.add("base", box((0, 0, 0.025), (base, base, 0.05)), DARK if slim else shade(rgb, 0.7))
    tip = foot if slim else foot * 0.22
    levels = [0.05, 0.36, 0.54, 0.64, 0.80, 1.0]
    for index, (low, high) in enumerate(pairwise(levels)):
        radii = [foot + (tip - foot) * level for level in (low, high)]
        band = tube((0, 0, low * height), (0, 0, high * height), radii[0], radii[1], sides=10)
        white = index % 2 == 1
        builder.add(
            "bands" if white else "body",
            band,
            WHITE if white else rgb,
            Material.REFLECTOR if white else Material.MATTE,
        )
    return finish_model(
        builder, "traffic_cone", "movable_object.trafficcone", "slim" if slim else "cone"
    )


def build_barrier(dice: Dice) -> ObjectModel:
    """Return a concrete, water-filled, board or mesh-fence barrier."""
    kind = str(dice.shape.choice(("concrete", "plastic", "board", "fence")))
    width = float(dice.shape.uniform(1.9, 2.7))
    builder = MeshBuilder()
    {"concrete": _concrete, "plastic": _plastic, "board": _board, "fence": _fence}[kind](
        builder, dice, width
    )
    return finish_model(builder, "barrier", "movable_object.barrier", kind)


def _jersey(thickness: float, width: float, height: float) -> Shape:
    """Return a wall with a spread foot, long axis along y."""
    half, neck = thickness / 2, thickness * 0.2
    outline = [
        (-half, 0.0), (half, 0.0), (half, 0.1 * height), (neck * 1.6, 0.38 * height),
        (neck, height), (-neck, height), (-neck * 1.6, 0.38 * height), (-half, 0.1 * height),
    ]  # fmt: skip
    return slab(outline, width / 2)


def _concrete(builder: MeshBuilder, dice: Dice, width: float) -> None:
    grey = float(dice.paint.uniform(0.52, 0.72))
    rgb = (grey, grey * 0.98, grey * 0.93)
    builder.add("wall", _jersey(0.58, width, 0.86), rgb, Material.MASONRY)
    for y in (-0.3, 0.3):
        slot = box((0, y * width, 0.06), (0.60, 0.3, 0.12))
        builder.add("fork_slots", slot, shade(rgb, 0.35))
    builder.add("top_rail", box((0, 0, 0.87), (0.16, width * 0.98, 0.04)), shade(rgb, 0.85))
    for y in (-0.35, 0.35):
        marker = box((0, y * width, 0.70), (0.26, 0.10, 0.10))
        builder.add("reflectors", marker, YELLOW, Material.REFLECTOR)


def _plastic(builder: MeshBuilder, dice: Dice, width: float) -> None:
    rgb = ORANGE if dice.paint.random() < 0.5 else WHITE
    if dice.paint.random() < 0.25:
        rgb = RED
    builder.add("wall", _jersey(0.50, width, 0.95), rgb, Material.PAINT)
    other = WHITE if rgb is not WHITE else ORANGE
    builder.add("band", box((0, 0, 0.66), (0.27, width * 0.9, 0.16)), other, Material.REFLECTOR)
    for y in (-0.5, 0.5):
        joint = box((0, y * (width - 0.06), 0.5), (0.22, 0.06, 0.86))
        builder.add("joints", joint, shade(rgb, 0.5))
    builder.add("foot", box((0, 0, 0.04), (0.54, width * 0.96, 0.08)), shade(rgb, 0.6))


def _board(builder: MeshBuilder, dice: Dice, width: float) -> None:
    """Add two striped boards on A-shaped legs."""
    stripes = int(np.round(width / 0.28))
    colour = RED if dice.shape.random() < 0.5 else ORANGE
    for z in (0.50, 0.88):
        for index in range(stripes):
            y = (index + 0.5) / stripes * width - width / 2
            rgb = colour if index % 2 else WHITE
            board = box((0, y, z), (0.05, width / stripes, 0.24))
            builder.add("boards", board, rgb, Material.REFLECTOR)
    for side in (-0.42, 0.42):
        for lean in (-1.0, 1.0):
            leg = tube(
                (lean * 0.27, side * width, 0.0), (lean * 0.03, side * width, 1.02), 0.03, sides=4
            )
            builder.add("legs", leg, STEEL)
        foot = box((0, side * width, 0.03), (0.62, 0.12, 0.06))
        builder.add("feet", foot, DARK)
    if dice.paint.random() < 0.5:
        lamp = tube((0, 0.35 * width, 1.0), (0, 0.35 * width, 1.16), 0.09, sides=8)
        builder.add("lamp", lamp, YELLOW, Material.LAMP)


def _fence(builder: MeshBuilder, dice: Dice, width: float) -> None:
    """Add a crowd-control fence of tubes."""
    rgb = shade((0.75, 0.76, 0.78), float(dice.paint.uniform(0.7, 1.1)))
    for z in (0.15, 1.08):
        rail = tube((0, -width / 2, z), (0, width / 2, z), 0.026, sides=5)
        builder.add("rails", rail, rgb, Material.PAINT)
    for y in np.linspace(-width / 2 + 0.03, width / 2 - 0.03, 13):
        bar = tube((0, float(y), 0.15), (0, float(y), 1.08), 0.014, sides=4)
        builder.add("bars", bar, rgb, Material.PAINT)
    for side in (-0.38, 0.38):
        builder.add("feet", box((0, side * width, 0.03), (0.56, 0.06, 0.06)), STEEL)
        post = tube((0, side * width, 0.0), (0, side * width, 0.2), 0.03, sides=4)
        builder.add("feet", post, STEEL)
    if dice.shape.random() < 0.6:
        banner = box((0, 0, 0.62), (0.02, width * 0.7, 0.3))
        builder.add("banner", banner, ORANGE, Material.MATTE)
