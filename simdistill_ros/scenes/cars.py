# SPDX-License-Identifier: Apache-2.0
"""Cars and pick-up trucks: bevelled body, glass cabin with pillars, wheels in arches, lamps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simdistill_ros.scenes.mesh import Material, MeshBuilder, ObjectModel, Rgb, finish_model
from simdistill_ros.scenes.palette import (
    CAR_PAINTS,
    DARK,
    HEAD_LAMP,
    TAIL_LAMP,
    WINDOW,
    Dice,
    add_lamp_pair,
    add_plate,
    add_wheel_pairs,
    paint_for,
    shade,
)
from simdistill_ros.scenes.shapes import Point, box, frustum, panel, slab, tube


@dataclass(frozen=True)
class CarPlan:
    """Proportions of one car, metres, or fractions of length and height where named so.

    Attributes:
        length: Bumper to bumper.
        width: Over the tyres.
        height: Ground to roof.
        belt: Height of the window sill as a fraction of height.
        hood: Where the windscreen starts, fraction of length from the front.
        nose: Height of the hood's front edge as a fraction of the belt.
        trunk: Where the cabin ends, fraction of length from the rear.
        rake_front: Length over which the windscreen leans, fraction of length.
        rake_rear: Length over which the rear window leans, fraction of length.
        wheel: Tyre radius.
    """

    length: float
    width: float
    height: float
    belt: float
    hood: float
    nose: float
    trunk: float
    rake_front: float
    rake_rear: float
    wheel: float


_KINDS: dict[str, CarPlan] = {
    "sedan": CarPlan(4.75, 1.86, 1.46, 0.63, 0.27, 0.80, 0.13, 0.13, 0.13, 0.33),
    "hatchback": CarPlan(4.05, 1.78, 1.50, 0.62, 0.23, 0.82, 0.02, 0.14, 0.09, 0.31),
    "suv": CarPlan(4.75, 1.96, 1.76, 0.61, 0.25, 0.90, 0.02, 0.10, 0.06, 0.38),
    "wagon": CarPlan(4.80, 1.86, 1.52, 0.62, 0.26, 0.80, 0.02, 0.13, 0.08, 0.33),
    "minivan": CarPlan(4.95, 1.96, 1.82, 0.57, 0.17, 0.84, 0.01, 0.15, 0.04, 0.34),
    "van": CarPlan(5.30, 2.02, 2.20, 0.56, 0.13, 0.86, 0.00, 0.10, 0.01, 0.35),
    "coupe": CarPlan(4.45, 1.86, 1.32, 0.65, 0.32, 0.80, 0.08, 0.15, 0.22, 0.33),
}


def _scaled(plan: CarPlan, rng: np.random.Generator) -> CarPlan:
    """Return the plan with a look's own proportions."""
    grow = rng.uniform(0.93, 1.07, 3)
    return CarPlan(
        plan.length * grow[0],
        plan.width * (0.5 + 0.5 * grow[1]),
        plan.height * (0.4 + 0.6 * grow[2]),
        plan.belt + rng.uniform(-0.02, 0.02),
        plan.hood + rng.uniform(-0.02, 0.03),
        plan.nose + rng.uniform(-0.05, 0.05),
        plan.trunk,
        plan.rake_front,
        plan.rake_rear,
        plan.wheel * rng.uniform(0.95, 1.08),
    )


def build_car(dice: Dice) -> ObjectModel:
    """Return a car of one of seven kinds."""
    kind = str(dice.shape.choice(list(_KINDS)))
    plan = _scaled(_KINDS[kind], dice.shape)
    builder = MeshBuilder()
    rgb = paint_for(dice, CAR_PAINTS, 8)
    _add_body(builder, plan, rgb)
    _add_cabin(builder, plan, rgb, closed_rear=kind == "van" and bool(dice.shape.random() < 0.6))
    _add_trim(builder, plan)
    if kind in ("suv", "wagon") and dice.shape.random() < 0.6:
        _add_roof_rails(builder, plan)
    return finish_model(builder, "car", "vehicle.car", kind)


def _add_body(builder: MeshBuilder, plan: CarPlan, rgb: Rgb) -> None:
    """Add the lower body, the dark sill and the wheels."""
    half, belt = plan.length / 2, plan.belt * plan.height
    floor, front = 0.20, half - plan.hood * plan.length
    rear = -half + max(plan.trunk * plan.length, 0.05)
    nose = belt * plan.nose
    profile = [
        (-half, floor + 0.18), (-half + 0.10, floor), (half - 0.12, floor), (half, floor + 0.16),
        (half - 0.02, nose * 0.78), (half - 0.14, nose * 0.97), (front, belt), (rear, belt),
        (-half + 0.05, belt * 0.97), (-half, belt * 0.72),
    ]  # fmt: skip
    body_half = plan.width / 2 - 0.015
    builder.add("body", slab(profile, body_half, 0.09), rgb, Material.PAINT)
    builder.add(
        "sill", box((0, 0, floor + 0.03), (plan.length * 0.9, plan.width - 0.06, 0.14)), DARK
    )
    axles = _axles(plan)
    for x in axles:
        arch = tube(
            (x, -body_half - 0.004, plan.wheel),
            (x, body_half + 0.004, plan.wheel),
            plan.wheel * 1.17,
            sides=14,
        )
        builder.add("wheel_arch", arch, DARK)
    add_wheel_pairs(builder, axles, plan.width / 2, plan.wheel, 0.21)


def _axles(plan: CarPlan) -> list[float]:
    return [plan.length * 0.315, -plan.length * 0.285]


def _add_cabin(builder: MeshBuilder, plan: CarPlan, rgb: Rgb, *, closed_rear: bool) -> None:
    """Add glass, pillars and roof; a closed rear makes a panel van."""
    half, belt, roof = plan.length / 2, plan.belt * plan.height, plan.height - 0.05
    front, rear = half - plan.hood * plan.length, -half + plan.trunk * plan.length + 0.06
    top_front, top_rear = front - plan.rake_front * plan.length, rear + plan.rake_rear * plan.length
    low_half, top_half = plan.width / 2 - 0.09, plan.width / 2 - 0.09 - 0.30 * (roof - belt)
    glass = frustum((rear, front, low_half, belt), (top_rear, top_front, top_half, roof))
    builder.add("windows", glass, WINDOW, Material.GLASS)
    cap = frustum(
        (top_rear - 0.02, top_front + 0.02, top_half + 0.02, roof - 0.03),
        (top_rear + 0.12, top_front - 0.12, top_half - 0.08, plan.height),
    )
    builder.add("roof", cap, rgb, Material.PAINT)
    middle = front * 0.42 + rear * 0.58
    pillars = [(front, top_front), (rear, top_rear), (middle, middle - 0.04)]
    if plan.length > 4.5 and plan.trunk < 0.1:
        pillars.append((rear * 0.72 + front * 0.28, top_rear * 0.75 + top_front * 0.25))
    for side in (-1.0, 1.0):
        for low_x, top_x in pillars:
            start = (low_x, side * (low_half - 0.015), belt - 0.02)
            end = (top_x, side * (top_half - 0.015), roof)
            builder.add("pillars", tube(start, end, 0.05, sides=5), rgb, Material.PAINT)
    if closed_rear:
        shell = frustum(
            (rear - 0.005, middle, low_half + 0.01, belt - 0.02),
            (top_rear - 0.005, middle - 0.04, top_half + 0.01, roof + 0.01),
        )
        builder.add("cargo_body", shell, rgb, Material.PAINT)


def _add_trim(builder: MeshBuilder, plan: CarPlan) -> None:
    """Add lamps, grille, bumpers, plates and door lines."""
    half, belt = plan.length / 2, plan.belt * plan.height
    nose = belt * plan.nose
    lamp_y = plan.width / 2 - 0.27
    add_lamp_pair(
        builder, "head_lamps", (half - 0.05, lamp_y, nose * 0.82), (0.10, 0.32, 0.13), HEAD_LAMP
    )
    add_lamp_pair(
        builder,
        "tail_lamps",
        (-half + 0.03, lamp_y + 0.02, belt * 0.86),
        (0.10, 0.26, 0.16),
        TAIL_LAMP,
    )
    builder.add("grille", box((half - 0.01, 0, nose * 0.70), (0.04, plan.width * 0.42, 0.16)), DARK)
    builder.add("bumper", box((half - 0.03, 0, 0.34), (0.08, plan.width * 0.82, 0.12)), DARK)
    builder.add("bumper", box((-half + 0.03, 0, 0.36), (0.08, plan.width * 0.82, 0.12)), DARK)
    add_plate(builder, -half, belt * 0.68)
    add_plate(builder, half, 0.40)
    side = plan.width / 2 - 0.013
    for x in (plan.length * 0.13, -plan.length * 0.06, -plan.length * 0.21):
        for sign in (-1.0, 1.0):
            seam: list[Point] = [
                (x, sign * side, 0.36), (x + 0.02, sign * side, 0.36),
                (x + 0.02, sign * side, belt - 0.1), (x, sign * side, belt - 0.1),
            ]  # fmt: skip
            builder.add("doors", panel(seam), DARK)


def _add_roof_rails(builder: MeshBuilder, plan: CarPlan) -> None:
    for side in (-1.0, 1.0):
        y = side * (plan.width / 2 - 0.32)
        builder.add("rails", box((-plan.length * 0.1, y, plan.height), (1.6, 0.05, 0.06)), DARK)


def build_pickup(dice: Dice) -> ObjectModel:
    """Return a pick-up, which nuScenes counts as a truck."""
    base = CarPlan(5.60, 2.02, 1.86, 0.58, 0.24, 0.92, 0.36, 0.10, 0.03, 0.40)
    plan = _scaled(base, dice.shape)
    builder = MeshBuilder()
    rgb = paint_for(dice, CAR_PAINTS, 6)
    _add_body(builder, plan, rgb)
    _add_cabin(builder, plan, rgb, closed_rear=False)
    _add_trim(builder, plan)
    half, belt = plan.length / 2, plan.belt * plan.height
    bed = plan.trunk * plan.length - 0.05
    centre = -half + bed / 2 + 0.02
    builder.add(
        "bed",
        box((centre, 0, belt + 0.005), (bed - 0.1, plan.width - 0.34, 0.02)),
        shade(DARK, 0.7),
    )
    for side in (-1.0, 1.0):
        wall = box((centre, side * (plan.width / 2 - 0.10), belt + 0.08), (bed, 0.10, 0.17))
        builder.add("bed_walls", wall, rgb, Material.PAINT)
    gate = box((-half + 0.07, 0, belt + 0.08), (0.08, plan.width - 0.2, 0.17))
    builder.add("tailgate", gate, rgb, Material.PAINT)
    if dice.paint.random() < 0.5:
        size = (bed * 0.6, plan.width * 0.55, float(dice.paint.uniform(0.25, 0.6)))
        load = box((centre, 0, belt + size[2] / 2), size)
        builder.add("load", load, shade((0.5, 0.42, 0.3), float(dice.paint.uniform(0.5, 1.3))))
    return finish_model(builder, "truck", "vehicle.truck", "pickup")
