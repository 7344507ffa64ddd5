# SPDX-License-Identifier: Apache-2.0
"""Bicycles, motorcycles and scooters, with or without a rider."""

from __future__ import annotations

import numpy as np

from simdistill_ros.scenes.mesh import Material, MeshBuilder, ObjectModel, Rgb, finish_model
from simdistill_ros.scenes.palette import (
    CAR_PAINTS,
    CLOTHES,
    DARK,
    HEAD_LAMP,
    SKIN,
    STEEL,
    TAIL_LAMP,
    TROUSERS,
    TYRE,
    Dice,
    choose,
    paint_for,
)
from simdistill_ros.scenes.shapes import IntArray, Point, Shape, ball, box, slab, tube


def _hoop(x: float, radius: float, thickness: float, sides: int = 14) -> Shape:
    """Return a tyre ring in the xz plane, standing on z = 0."""
    angles = np.arange(sides) * (2 * np.pi / sides)
    offsets = [(0.0, thickness), (thickness, 0.0), (0.0, -thickness), (-thickness, 0.0)]
    rings = []
    for radial, lateral in offsets:
        reach = radius - thickness + radial
        rings.append(
            np.stack([x + reach * np.cos(angles), np.full(sides, lateral),
                      radius + reach * np.sin(angles)], 1)
        )  # fmt: skip
    faces = []
    for ring in range(4):
        here, there = ring * sides, ((ring + 1) % 4) * sides
        index, after = np.arange(sides), (np.arange(sides) + 1) % sides
        faces.append(np.stack([here + index, here + after, there + index], 1))
        faces.append(np.stack([here + after, there + after, there + index], 1))
    joined: IntArray = np.concatenate(faces).astype(np.int32)
    return np.concatenate(rings), joined


def _add_spoked_wheel(builder: MeshBuilder, x: float, radius: float, thickness: float) -> None:
    builder.add("wheels", _hoop(x, radius, thickness), TYRE)
    for angle in np.arange(4) * (np.pi / 4) + 0.2:
        reach = radius - thickness
        dx, dz = reach * np.cos(angle), reach * np.sin(angle)
        spoke = tube((x - dx, 0, radius - dz), (x + dx, 0, radius + dz), 0.008, sides=3)
        builder.add("spokes", spoke, STEEL)


def build_bicycle(dice: Dice) -> ObjectModel:
    """Return a bicycle; about six in ten carry a rider."""
    scale = float(dice.shape.uniform(0.92, 1.06))
    radius, base = 0.34 * scale, 0.52 * scale
    rgb = paint_for(dice, CAR_PAINTS, 8)
    builder = MeshBuilder()
    _add_spoked_wheel(builder, base, radius, 0.026)
    _add_spoked_wheel(builder, -base, radius, 0.026)
    crank, seat, head = (-0.06, 0, 0.30), (-0.20, 0, 0.88 * scale), (0.36 * scale, 0, 0.84 * scale)
    hub_rear, hub_front = (-base, 0, radius), (base, 0, radius)
    bars: list[tuple[Point, Point]] = [
        (crank, seat), (seat, head), (crank, head), (crank, hub_rear), (seat, hub_rear),
        (head, hub_front),
    ]  # fmt: skip
    for start, end in bars:
        builder.add("frame", tube(start, end, 0.024, sides=5), rgb, Material.PAINT)
    stem = (head[0] - 0.03, 0, 1.02 * scale)
    builder.add("handlebar", tube(head, stem, 0.018, sides=4), DARK)
    builder.add(
        "handlebar", tube((stem[0], -0.29, stem[2]), (stem[0], 0.29, stem[2]), 0.018, sides=4), DARK
    )
    builder.add("saddle", box((seat[0] - 0.03, 0, seat[2] + 0.06), (0.26, 0.15, 0.07)), DARK)
    builder.add("pedals", box((crank[0], 0, crank[2]), (0.10, 0.32, 0.04)), DARK)
    with_rider = bool(dice.paint.random() < 0.6)
    if with_rider:
        hip, grip = (seat[0] - 0.02, 0.0, seat[2] + 0.12), (stem[0] - 0.02, 0.0, stem[2])
        add_rider(
            builder,
            dice.paint,
            hip,
            grip,
            (crank[0], crank[2]),
            helmet=bool(dice.paint.random() < 0.6),
        )
    return finish_model(builder, "bicycle", "vehicle.bicycle", "bicycle", with_rider=with_rider)


def build_motorcycle(dice: Dice) -> ObjectModel:
    """Return a motorcycle or scooter; about six in ten carry a rider."""
    kind = "scooter" if dice.shape.random() < 0.4 else "motorcycle"
    rgb = paint_for(dice, CAR_PAINTS, 8)
    builder = MeshBuilder()
    radius = 0.25 if kind == "scooter" else float(dice.shape.uniform(0.30, 0.34))
    base = 0.62 if kind == "scooter" else float(dice.shape.uniform(0.68, 0.80))
    for x in (base, -base):
        wheel = tube((x, -0.065, radius), (x, 0.065, radius), radius, sides=14)
        builder.add("wheels", wheel, TYRE)
        hub = tube((x, -0.08, radius), (x, 0.08, radius), radius * 0.5, sides=8)
        builder.add("hubs", hub, STEEL, Material.PAINT)
    top = 1.02 if kind == "scooter" else 0.98
    stem = (base - 0.26, 0.0, top)
    for side in (-0.09, 0.09):
        fork = tube((base, side, radius), (stem[0], side, top), 0.035, sides=5)
        builder.add("fork", fork, STEEL, Material.PAINT)
    _add_scooter_body(builder, base, rgb) if kind == "scooter" else _add_motorcycle_body(
        builder, base, rgb
    )
    bar = tube(
        (stem[0] - 0.05, -0.37, top + 0.06), (stem[0] - 0.05, 0.37, top + 0.06), 0.025, sides=4
    )
    builder.add("handlebar", bar, DARK)
    lamp = tube((stem[0] + 0.08, 0, top - 0.1), (stem[0] + 0.2, 0, top - 0.1), 0.1, sides=8)
    builder.add("head_lamp", lamp, HEAD_LAMP, Material.LAMP)
    tail = box((-base - 0.14, 0, 0.72), (0.06, 0.18, 0.08))
    builder.add("tail_lamp", tail, TAIL_LAMP, Material.LAMP)
    with_rider = bool(dice.paint.random() < 0.6)
    if with_rider:
        hip = (-0.28, 0.0, 0.86)
        grip = (stem[0] - 0.06, 0.0, top + 0.06)
        add_rider(builder, dice.paint, hip, grip, (0.0, 0.32), helmet=True)
    return finish_model(builder, "motorcycle", "vehicle.motorcycle", kind, with_rider=with_rider)


def _add_motorcycle_body(builder: MeshBuilder, base: float, rgb: Rgb) -> None:
    builder.add("engine", box((0.02, 0, 0.42), (0.5, 0.34, 0.36)), STEEL, Material.PAINT)
    tank = slab([(-0.12, 0.68), (0.40, 0.74), (0.44, 0.92), (0.2, 0.98), (-0.1, 0.86)], 0.17, 0.05)
    builder.add("tank", tank, rgb, Material.PAINT)
    seat = slab([(-base - 0.1, 0.78), (-0.1, 0.74), (-0.1, 0.86), (-base - 0.12, 0.9)], 0.15, 0.03)
    builder.add("seat", seat, DARK)
    fender = slab(
        [(-base - 0.16, 0.62), (-0.3, 0.55), (-0.2, 0.76), (-base - 0.14, 0.8)], 0.12, 0.02
    )
    builder.add("fender", fender, rgb, Material.PAINT)
    builder.add("front_fender", box((base, 0, 0.68), (0.36, 0.15, 0.05)), rgb, Material.PAINT)
    pipe = tube((0.1, -0.19, 0.30), (-base - 0.2, -0.19, 0.36), 0.055, sides=6)
    builder.add("exhaust", pipe, STEEL, Material.PAINT)


def _add_scooter_body(builder: MeshBuilder, base: float, rgb: Rgb) -> None:
    builder.add("footboard", box((0.08, 0, 0.28), (0.5, 0.34, 0.08)), DARK)
    rear = slab(
        [(-base - 0.16, 0.42), (-0.1, 0.26), (-0.12, 0.72), (-base - 0.2, 0.74)], 0.19, 0.06
    )
    builder.add("rear_body", rear, rgb, Material.PAINT)
    shield = slab([(0.3, 0.24), (0.36, 0.24), (base - 0.22, 1.0), (base - 0.34, 1.0)], 0.21, 0.04)
    builder.add("leg_shield", shield, rgb, Material.PAINT)
    seat = slab(
        [(-base - 0.16, 0.74), (-0.12, 0.72), (-0.14, 0.82), (-base - 0.14, 0.86)], 0.15, 0.03
    )
    builder.add("seat", seat, DARK)
    builder.add("front_fender", box((base, 0, 0.5), (0.34, 0.16, 0.08)), rgb, Material.PAINT)


def add_rider(
    builder: MeshBuilder,
    rng: np.random.Generator,
    hip: tuple[float, float, float],
    grip: tuple[float, float, float],
    foot_xz: tuple[float, float],
    *,
    helmet: bool,
) -> None:
    """Add a seated person between saddle (`hip`), handlebar (`grip`) and foot rest, metres."""
    shirt, trousers, skin = choose(rng, CLOTHES), choose(rng, TROUSERS), choose(rng, SKIN)
    lean = min(max((grip[0] - hip[0]) * 0.35, 0.1), 0.28)
    shoulder = (hip[0] + lean, 0.0, hip[2] + 0.50)
    builder.add("rider_torso", tube(hip, shoulder, 0.17, 0.19, sides=7), shirt)
    head = (shoulder[0] + 0.06, 0.0, shoulder[2] + 0.24)
    builder.add("rider_head", ball(head, (0.10, 0.09, 0.13)), skin)
    builder.add("rider_neck", tube(shoulder, head, 0.06, sides=5), skin)
    if helmet:
        crown = (head[0] - 0.01, 0.0, head[2] + 0.035)
        builder.add(
            "rider_helmet",
            ball(crown, (0.14, 0.125, 0.135)),
            choose(rng, CAR_PAINTS),
            Material.PAINT,
        )
    for index, side in enumerate((-1.0, 1.0)):
        top = (shoulder[0], side * 0.2, shoulder[2] - 0.05)
        hand = (grip[0], side * 0.25, grip[2] + 0.02)
        elbow = ((top[0] + hand[0]) / 2 - 0.02, side * 0.29, (top[2] + hand[2]) / 2 - 0.08)
        builder.add("rider_arms", tube(top, elbow, 0.06, 0.05, sides=6), shirt)
        builder.add("rider_arms", tube(elbow, hand, 0.045, 0.04, sides=6), skin)
        drop = 0.13 * (1 if index else -1)
        foot = (foot_xz[0] + drop * 0.5, side * 0.15, foot_xz[1] + drop * 0.6)
        knee = (
            max(hip[0], foot[0]) + 0.26,
            side * 0.16,
            (hip[2] + foot[2]) / 2 + 0.10 + drop * 0.4,
        )
        thigh = (hip[0], side * 0.10, hip[2] - 0.02)
        builder.add("rider_legs", tube(thigh, knee, 0.085, 0.065, sides=6), trousers)
        builder.add("rider_legs", tube(knee, foot, 0.06, 0.05, sides=6), trousers)
        builder.add(
            "rider_shoes", box((foot[0] + 0.06, foot[1], foot[2] - 0.03), (0.24, 0.09, 0.08)), DARK
        )
