# SPDX-License-Identifier: Apache-2.0
"""Pedestrians: adults, children and construction workers in a few postures."""

from __future__ import annotations

import numpy as np

from simdistill_ros.scenes.mesh import Material, MeshBuilder, ObjectModel, Rgb, finish_model
from simdistill_ros.scenes.palette import (
    CLOTHES,
    DARK,
    HAIR,
    ORANGE,
    SKIN,
    TROUSERS,
    WHITE,
    YELLOW,
    Dice,
    choose,
    paint_for,
)
from simdistill_ros.scenes.shapes import ball, box, tube

STANDING = "standing"
MOVING = "moving"
SITTING = "sitting"
_CATEGORIES = {
    "adult": "human.pedestrian.adult",
    "child": "human.pedestrian.child",
    "worker": "human.pedestrian.construction_worker",
}


def build_pedestrian(dice: Dice) -> ObjectModel:
    """Return a person drawn from the look: mostly adults, in any posture."""
    kind = "child" if dice.paint.random() < 0.12 else "adult"
    posture = str(dice.paint.choice((MOVING, STANDING, SITTING), p=(0.62, 0.32, 0.06)))
    return build_person(dice, kind, posture)


def build_person(dice: Dice, kind: str, posture: str) -> ObjectModel:
    """Return a person of a given kind (`adult`, `child`, `worker`) and posture."""
    height = {"adult": 1.72, "child": 1.22, "worker": 1.76}[kind] * float(
        dice.shape.uniform(0.93, 1.07)
    )
    height *= float(dice.paint.uniform(0.96, 1.04))
    girth = float(dice.shape.uniform(0.88, 1.18)) * (1.1 if kind == "child" else 1.0)
    shirt = paint_for(dice, CLOTHES, 8)
    trousers, skin = choose(dice.paint, TROUSERS), choose(dice.paint, SKIN)
    worker = kind == "worker"
    if worker:
        shirt = ORANGE if dice.shape.random() < 0.5 else YELLOW
    builder = MeshBuilder()
    hip_z = height * (0.50 if posture != SITTING else 0.29)
    stride = {MOVING: float(dice.paint.uniform(0.25, 0.45)), STANDING: 0.03, SITTING: 0.0}[posture]
    _add_legs(builder, height, hip_z, stride, trousers, sitting=posture == SITTING)
    _add_trunk(builder, dice, height, hip_z, girth, shirt, worker=worker)
    _add_head(builder, dice, height, hip_z, skin, worker=worker)
    swing = stride * 0.8 if posture == MOVING else float(dice.paint.uniform(0.0, 0.15))
    _add_arms(builder, height, hip_z, girth, swing, shirt, skin)
    if posture == SITTING:
        stool = box((-0.02, 0, (hip_z - 0.1) / 2), (0.42, 0.46, hip_z - 0.1))
        builder.add("seat", stool, (0.45, 0.34, 0.24))
    return finish_model(builder, "pedestrian", _CATEGORIES[kind], kind, posture=posture)


def _add_legs(
    builder: MeshBuilder, height: float, hip_z: float, stride: float, rgb: Rgb, *, sitting: bool
) -> None:
    knee_z, wide = height * 0.27, 0.055 * height
    for side in (-1.0, 1.0):
        step = side * stride * height * 0.5
        hip = (0.0, side * wide, hip_z)
        if sitting:
            knee, ankle = (0.26 * height, side * wide, hip_z), (0.27 * height, side * wide, 0.06)
        else:
            knee = (step * 0.55 + 0.03 * height, side * wide, knee_z)
            ankle = (step, side * wide, 0.07 + (0.05 * height * stride if side < 0 else 0.0))
        builder.add("legs", tube(hip, knee, 0.052 * height, 0.038 * height, sides=7), rgb)
        builder.add("legs", tube(knee, ankle, 0.038 * height, 0.028 * height, sides=7), rgb)
        shoe = box(
            (ankle[0] + 0.035 * height, ankle[1], ankle[2] - 0.03),
            (0.15 * height, 0.055 * height, 0.08),
        )
        builder.add("shoes", shoe, DARK)


def _add_trunk(
    builder: MeshBuilder,
    dice: Dice,
    height: float,
    hip_z: float,
    girth: float,
    rgb: Rgb,
    *,
    worker: bool,
) -> None:
    """Add torso and, by chance, skirt or coat, bag, or a safety vest's bands."""
    shoulder_z = hip_z + height * 0.32
    waist, chest = 0.078 * height * girth, 0.096 * height * girth
    for y in (-0.045 * height, 0.045 * height):
        side = tube((0, y, hip_z - 0.06 * height), (0, y * 1.25, shoulder_z), waist, chest, sides=8)
        builder.add("torso", side, rgb)
    if worker:
        for fraction in (0.35, 0.62):
            z = hip_z + fraction * height * 0.32
            for y in (-0.05 * height, 0.05 * height):
                band = tube((0, y * 1.1, z), (0, y * 1.1, z + 0.05), chest * 1.02, sides=8)
                builder.add("vest_bands", band, WHITE, Material.REFLECTOR)
    elif dice.paint.random() < 0.25:
        hem = hip_z - height * 0.22
        coat = tube(
            (0, 0, hem), (0, 0, hip_z), 0.125 * height * girth, 0.10 * height * girth, sides=9
        )
        builder.add("skirt", coat, rgb)
    if not worker and dice.paint.random() < 0.35:
        pack = box(
            (-0.15 * height, 0, hip_z + 0.2 * height), (0.10 * height, 0.17 * height, 0.24 * height)
        )
        builder.add("backpack", pack, choose(dice.paint, CLOTHES))


def _add_head(
    builder: MeshBuilder, dice: Dice, height: float, hip_z: float, skin: Rgb, *, worker: bool
) -> None:
    top = hip_z + 0.5 * height
    centre_z = top - 0.072 * height
    builder.add(
        "neck",
        tube((0, 0, centre_z - 0.12 * height), (0, 0, centre_z), 0.032 * height, sides=6),
        skin,
    )
    builder.add(
        "head", ball((0.008, 0, centre_z), (0.058 * height, 0.048 * height, 0.068 * height)), skin
    )
    if worker:
        helmet = ball(
            (0, 0, centre_z + 0.03 * height), (0.085 * height, 0.072 * height, 0.05 * height)
        )
        builder.add(
            "helmet", helmet, YELLOW if dice.shape.random() < 0.6 else WHITE, Material.PAINT
        )
        return
    hair = ball(
        (-0.012 * height, 0, centre_z + 0.014 * height),
        (0.060 * height, 0.056 * height, 0.062 * height),
    )
    builder.add("hair", hair, choose(dice.paint, HAIR))


def _add_arms(
    builder: MeshBuilder,
    height: float,
    hip_z: float,
    girth: float,
    swing: float,
    shirt: Rgb,
    skin: Rgb,
) -> None:
    shoulder_z, reach = hip_z + height * 0.30, 0.125 * height * (0.5 + 0.5 * girth)
    for side in (-1.0, 1.0):
        step = -side * swing * height * 0.4
        shoulder = (0.0, side * reach, shoulder_z)
        elbow = (step * 0.4, side * (reach + 0.02 * height), shoulder_z - 0.17 * height)
        hand = (step + 0.03 * height, side * reach, hip_z - 0.02 * height + abs(step) * 0.3)
        builder.add("arms", tube(shoulder, elbow, 0.034 * height, 0.028 * height, sides=6), shirt)
        builder.add("arms", tube(elbow, hand, 0.026 * height, 0.022 * height, sides=6), shirt)
        radii = np.array([0.024, 0.016, 0.032]) * height
        builder.add("hands", ball(hand, list(radii), rings=3, sides=5), skin)
