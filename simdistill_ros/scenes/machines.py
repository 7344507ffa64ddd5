# SPDX-License-Identifier: Apache-2.0
"""Construction vehicles: excavator, wheel loader, bulldozer and roller."""

from __future__ import annotations

import numpy as np

from simdistill_ros.scenes.mesh import Material, MeshBuilder, ObjectModel, Rgb, finish_model
from simdistill_ros.scenes.palette import (
    DARK,
    HEAD_LAMP,
    INDICATOR,
    MACHINE_PAINTS,
    RUBBER,
    STEEL,
    WINDOW,
    Dice,
    add_lamp_pair,
    add_wheel_pairs,
    paint_for,
    shade,
)
from simdistill_ros.scenes.shapes import Point, box, frustum, moved, slab, tube


def build_construction_vehicle(dice: Dice) -> ObjectModel:
    """Return one of four machines."""
    kinds = {
        "excavator": _excavator,
        "loader": _loader,
        "bulldozer": _bulldozer,
        "roller": _roller,
    }
    kind = str(dice.shape.choice(("excavator", "excavator", "loader", "bulldozer", "roller")))
    builder = MeshBuilder()
    kinds[kind](builder, dice, paint_for(dice, MACHINE_PAINTS, 3))
    return finish_model(builder, "construction_vehicle", "vehicle.construction", kind)


def _add_cab(builder: MeshBuilder, centre: Point, size: Point, rgb: Rgb) -> None:
    """Add a glazed cab with four posts, a roof and a warning beacon."""
    x, y, z = centre
    length, width, height = size
    builder.add(
        "cab_windows", box(centre, (length * 0.94, width * 0.94, height)), WINDOW, Material.GLASS
    )
    for dx in (-0.5, 0.5):
        for dy in (-0.5, 0.5):
            post = box((x + dx * (length - 0.08), y + dy * (width - 0.08), z), (0.1, 0.1, height))
            builder.add("cab_posts", post, rgb, Material.PAINT)
    base = box((x, y, z - height * 0.34), (length, width, height * 0.34))
    builder.add("cab_base", base, rgb, Material.PAINT)
    roof = box((x, y, z + height / 2 + 0.04), (length + 0.1, width + 0.08, 0.1))
    builder.add("cab_roof", roof, shade(rgb, 0.85), Material.PAINT)
    beacon_z = z + height / 2 + 0.08
    beacon = tube((x - 0.2, y, beacon_z), (x - 0.2, y, beacon_z + 0.18), 0.08, sides=6)
    builder.add("beacon", beacon, INDICATOR, Material.LAMP)


def _add_tracks(builder: MeshBuilder, length: float, gauge: float, height: float) -> None:
    """Add two crawler tracks with road wheels."""
    half, radius = length / 2, height / 2
    outline = [
        (-half + 0.15, 0.0), (half - 0.15, 0.0), (half, radius), (half - 0.2, height),
        (-half + 0.2, height), (-half, radius),
    ]  # fmt: skip
    for side in (-1.0, 1.0):
        track = moved(slab(outline, 0.26, 0.03), (0, side * gauge / 2, 0))
        builder.add("tracks", track, RUBBER)
        for x in np.linspace(-half + 0.4, half - 0.4, 4):
            centre = (float(x), side * (gauge / 2 + 0.22), radius)
            end = (float(x), side * (gauge / 2 + 0.275), radius)
            builder.add("road_wheels", tube(centre, end, radius * 0.55, sides=8), STEEL)


def _add_arm(builder: MeshBuilder, points: list[Point], widths: list[float], rgb: Rgb) -> None:
    """Add a chain of tapering beams through `points`."""
    for start, end, width in zip(points[:-1], points[1:], widths, strict=True):
        builder.add("arm", tube(start, end, width, width * 0.75, sides=4), rgb, Material.PAINT)
        builder.add(
            "pins",
            tube((end[0], end[1] - 0.2, end[2]), (end[0], end[1] + 0.2, end[2]), 0.12, sides=6),
            DARK,
        )


def _excavator(builder: MeshBuilder, dice: Dice, rgb: Rgb) -> None:
    scale = float(dice.shape.uniform(0.82, 1.1))
    lift = float(dice.shape.uniform(0.0, 0.7))
    _add_tracks(builder, 3.4 * scale, 2.0 * scale, 0.85)
    builder.add("turntable", tube((0, 0, 0.8), (0, 0, 1.05), 0.8), DARK)
    house = frustum((-1.9 * scale, 1.0, 1.2 * scale, 1.05), (-1.75 * scale, 0.9, 1.1 * scale, 1.95))
    builder.add("house", house, rgb, Material.PAINT)
    weight = box((-1.9 * scale, 0, 1.45), (0.5, 2.3 * scale, 0.9))
    builder.add("counterweight", weight, shade(RUBBER, 1.6))
    _add_cab(builder, (0.55, 0.65 * scale, 2.0), (1.3, 0.95, 1.75), rgb)
    elbow = (2.3 * scale, -0.25, 3.3 + lift)
    wrist = (3.9 * scale, -0.25, 1.9 + lift * 0.5)
    tip = (3.5 * scale, -0.25, 0.75 + lift * 0.4)
    _add_arm(builder, [(0.7, -0.25, 1.5), elbow, wrist, tip], [0.34, 0.26, 0.18], rgb)
    ram = tube((1.0, -0.25, 1.2), (1.9 * scale, -0.25, 2.7 + lift), 0.09, sides=6)
    builder.add("hydraulics", ram, STEEL, Material.PAINT)
    bucket = frustum(
        (tip[0] - 0.55, tip[0] + 0.05, 0.35, max(tip[2] - 0.7, 0.02)),
        (tip[0] - 0.35, tip[0] + 0.35, 0.48, tip[2] + 0.15),
    )
    builder.add("bucket", bucket, DARK)


def _loader(builder: MeshBuilder, dice: Dice, rgb: Rgb) -> None:
    scale = float(dice.shape.uniform(0.85, 1.1))
    raised = float(dice.shape.uniform(0.0, 0.8))
    width = 2.5 * scale
    add_wheel_pairs(builder, [1.35 * scale, -1.55 * scale], width / 2, 0.72 * scale, 0.52)
    rear = slab([(-2.9, 0.7), (-0.3, 0.7), (-0.3, 1.7), (-1.2, 1.9), (-2.8, 1.65)], 0.85, 0.08)
    builder.add("engine_hood", rear, rgb, Material.PAINT)
    builder.add("front_frame", box((1.0, 0, 1.0), (2.2, 0.9, 0.6)), rgb, Material.PAINT)
    builder.add("grille", box((-2.9, 0, 1.2), (0.06, 1.3, 0.6)), DARK)
    _add_cab(builder, (-0.2, 0, 2.3), (1.35, 1.35, 1.7), rgb)
    for side in (-0.55, 0.55):
        start, end = (0.5, side, 1.75), (2.7 * scale, side, 0.6 + raised)
        builder.add("arm", tube(start, end, 0.17, sides=4), rgb, Material.PAINT)
        builder.add(
            "hydraulics",
            tube((0.6, side, 1.0), (2.0, side, 0.8 + raised), 0.08, sides=6),
            STEEL,
            Material.PAINT,
        )
    z = 0.15 + raised
    bucket = slab(
        [
            (2.55 * scale, z),
            (3.55 * scale, z),
            (3.2 * scale, z + 0.3),
            (3.0 * scale, z + 1.0),
            (2.6 * scale, z + 0.9),
        ],
        width / 2 + 0.08,
        0.02,
    )
    builder.add("bucket", bucket, shade(STEEL, 0.7))
    add_lamp_pair(builder, "work_lamps", (0.55, 0.5, 3.1), (0.1, 0.2, 0.14), HEAD_LAMP)


def _bulldozer(builder: MeshBuilder, dice: Dice, rgb: Rgb) -> None:
    scale = float(dice.shape.uniform(0.9, 1.15))
    _add_tracks(builder, 3.6 * scale, 2.1 * scale, 1.0)
    hood = slab([(0.1, 0.9), (1.7 * scale, 0.9), (1.75 * scale, 1.7), (0.1, 1.95)], 0.62, 0.06)
    builder.add("engine_hood", hood, rgb, Material.PAINT)
    builder.add("rear_body", box((-0.9, 0, 1.25), (1.5, 1.5, 0.9)), rgb, Material.PAINT)
    _add_cab(builder, (-0.55, 0, 2.35), (1.35, 1.45, 1.6), rgb)
    blade_x = 2.35 * scale
    for side in (-1.0, 1.0):
        builder.add(
            "push_arms",
            tube((0.3, side * 1.15, 0.6), (blade_x, side * 1.15, 0.5), 0.14, sides=4),
            rgb,
            Material.PAINT,
        )
    blade = slab(
        [
            (blade_x - 0.05, 0.12),
            (blade_x + 0.28, 0.08),
            (blade_x + 0.1, 0.7),
            (blade_x + 0.25, 1.35),
            (blade_x - 0.02, 1.3),
        ],
        1.65 * scale,
    )
    builder.add("blade", blade, shade(STEEL, 0.8))
    stack = tube((1.0, 0.25, 1.8), (1.0, 0.25, 2.7), 0.08, sides=6)
    builder.add("exhaust", stack, DARK)


def _roller(builder: MeshBuilder, dice: Dice, rgb: Rgb) -> None:
    scale = float(dice.shape.uniform(0.85, 1.1))
    radius = 0.72 * scale
    front = tube((1.75, -1.0 * scale, radius), (1.75, 1.0 * scale, radius), radius, sides=20)
    builder.add("drum", front, shade(STEEL, 1.1), Material.PAINT)
    for side in (-1.0, 1.0):
        yoke = box((1.35, side * 1.06 * scale, radius + 0.1), (1.5, 0.1, 0.3))
        builder.add("yoke", yoke, rgb, Material.PAINT)
    builder.add("yoke", box((0.6, 0, radius + 0.1), (0.3, 2.2 * scale, 0.36)), rgb, Material.PAINT)
    add_wheel_pairs(builder, [-1.45], 1.05 * scale, radius, 0.5)
    hood = slab([(-2.5, 0.8), (-0.7, 0.8), (-0.7, 1.75), (-2.3, 1.55)], 0.8, 0.08)
    builder.add("engine_hood", hood, rgb, Material.PAINT)
    _add_cab(builder, (-0.1, 0, 2.05), (1.2, 1.4, 1.6), rgb)
