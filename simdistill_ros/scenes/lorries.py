# SPDX-License-Identifier: Apache-2.0
"""Lorries, their trailers and buses."""

from __future__ import annotations

import numpy as np

from simdistill_ros.scenes.cars import build_pickup
from simdistill_ros.scenes.mesh import Material, MeshBuilder, ObjectModel, Rgb, finish_model
from simdistill_ros.scenes.palette import (
    DARK,
    FLEET_PAINTS,
    HEAD_LAMP,
    INDICATOR,
    ORANGE,
    STEEL,
    TAIL_LAMP,
    WHITE,
    WINDOW,
    Dice,
    add_lamp_pair,
    add_plate,
    add_wheel_pairs,
    paint_for,
    shade,
)
from simdistill_ros.scenes.shapes import box, frustum, slab, tube

TRACTOR_VARIANT = "tractor"


def build_truck(dice: Dice) -> ObjectModel:
    """Return a box truck, tractor, tipper, tanker, flatbed or pick-up."""
    kinds = ("box", "box", TRACTOR_VARIANT, "tipper", "tanker", "flatbed", "pickup")
    kind = str(dice.shape.choice(kinds))
    return build_pickup(dice) if kind == "pickup" else build_lorry(dice, kind)


def build_lorry(dice: Dice, kind: str) -> ObjectModel:
    """Return a lorry with the superstructure that `kind` names."""
    shape = dice.shape
    length = {TRACTOR_VARIANT: 6.0, "box": 7.2, "tipper": 7.4, "tanker": 7.8, "flatbed": 7.6}[kind]
    length *= float(shape.uniform(0.88, 1.10))
    width, wheel = float(shape.uniform(2.25, 2.55)), float(shape.uniform(0.44, 0.52))
    cab_length, cab_top = float(shape.uniform(1.7, 2.3)), float(shape.uniform(2.5, 3.0))
    cab_rgb = paint_for(dice, FLEET_PAINTS, 5)
    builder = MeshBuilder()
    half = length / 2
    _add_cab(builder, half, cab_length, width, cab_top, cab_rgb)
    builder.add("chassis", box((-0.1, 0, 0.78), (length - 0.4, width * 0.42, 0.26)), DARK)
    axles = [half - 1.15, -half + 1.15]
    if length > 6.6 or kind == TRACTOR_VARIANT:
        axles.append(-half + 1.15 + 2.3 * wheel)
    add_wheel_pairs(builder, axles, width / 2, wheel, 0.32)
    bed = (-half + 0.05, half - cab_length - 0.12)
    _SUPERSTRUCTURES[kind](builder, dice, bed, width)
    add_lamp_pair(
        builder, "tail_lamps", (-half + 0.03, width / 2 - 0.25, 0.86), (0.06, 0.30, 0.14), TAIL_LAMP
    )
    add_plate(builder, -half + 0.01, 0.66)
    return finish_model(builder, "truck", "vehicle.truck", kind)


def _add_cab(
    builder: MeshBuilder, front: float, length: float, width: float, top: float, rgb: Rgb
) -> None:
    """Add a cab-over cab whose front face lies at x = `front`."""
    back, base, sill = front - length, 0.55, 0.55 + (top - 0.55) * 0.52
    half = width / 2 - 0.03
    lean = 0.16
    profile = [
        (back, base), (front - 0.02, base), (front, base + 0.35), (front - 0.03, sill),
        (front - lean, top - 0.10), (front - lean - 0.3, top), (back, top),
    ]  # fmt: skip
    builder.add("cab", slab(profile, half, 0.06), rgb, Material.PAINT)
    screen = frustum(
        (front - 0.16, front - 0.005, half - 0.12, sill + 0.02),
        (front - 0.28, front - lean + 0.035, half - 0.16, top - 0.22),
    )
    builder.add("windscreen", screen, WINDOW, Material.GLASS)
    side = box(
        (front - length * 0.42, 0, (sill + top - 0.25) / 2 + 0.02),
        (length * 0.48, width - 0.04, (top - sill) * 0.62),
    )
    builder.add("side_windows", side, WINDOW, Material.GLASS)
    builder.add("grille", box((front - 0.01, 0, base + 0.42), (0.05, width * 0.6, 0.42)), DARK)
    builder.add("bumper", box((front - 0.05, 0, base - 0.02), (0.16, width - 0.08, 0.26)), DARK)
    add_lamp_pair(
        builder,
        "head_lamps",
        (front - 0.02, width / 2 - 0.32, base + 0.16),
        (0.08, 0.34, 0.16),
        HEAD_LAMP,
    )
    for y in (-0.6, 0.0, 0.6):
        builder.add(
            "roof_lamps",
            box((front - lean - 0.2, y, top), (0.1, 0.14, 0.06)),
            INDICATOR,
            Material.LAMP,
        )


def _add_box_body(builder: MeshBuilder, dice: Dice, bed: tuple[float, float], width: float) -> None:
    rgb = paint_for(dice, FLEET_PAINTS, 4)
    top = float(dice.shape.uniform(2.9, 3.6))
    _add_cargo_box(builder, dice.paint, (bed[0], bed[1], 0.95, top), width, rgb)


def _add_cargo_box(
    builder: MeshBuilder,
    rng: np.random.Generator,
    extent: tuple[float, float, float, float],
    width: float,
    rgb: Rgb,
) -> None:
    """Add a closed cargo body over (x0, x1, z0, z1) with edges, doors and a coloured band."""
    x0, x1, z0, z1 = extent
    middle, length, height = (x0 + x1) / 2, x1 - x0, z1 - z0
    body = box((middle, 0, (z0 + z1) / 2), (length, width - 0.03, height))
    builder.add("cargo_box", body, rgb, Material.PAINT)
    band = tuple(float(value) for value in rng.uniform(0.05, 0.9, 3))
    z_band = z0 + height * float(rng.uniform(0.3, 0.7))
    stripe = box((middle, 0, z_band), (length * 0.72, width - 0.012, height * 0.22))
    builder.add("lettering", stripe, band, Material.PAINT)
    for z in (z0, z1):
        rail = box((middle, 0, z), (length + 0.02, width, 0.09))
        builder.add("rails", rail, shade(STEEL, 0.9))
    for x in np.arange(x0 + 0.6, x1 - 0.3, 1.2):
        rib = box((float(x), 0, (z0 + z1) / 2), (0.04, width - 0.016, height))
        builder.add("ribs", rib, shade(rgb, 0.82))
    for y in (-0.06, 0.06):
        seam = box((x0 - 0.012, y, (z0 + z1) / 2), (0.03, 0.03, height * 0.95))
        builder.add("rear_doors", seam, STEEL)


def _add_tractor_rear(
    builder: MeshBuilder, dice: Dice, bed: tuple[float, float], width: float
) -> None:
    builder.add("fifth_wheel", tube((bed[0] + 1.6, 0, 0.92), (bed[0] + 1.6, 0, 1.08), 0.5), DARK)
    for side in (-1.0, 1.0):
        tank = tube(
            (bed[1] - 1.2, side * (width / 2 - 0.36), 0.72),
            (bed[1] - 0.1, side * (width / 2 - 0.36), 0.72),
            0.3,
        )
        builder.add("tanks", tank, STEEL, Material.PAINT)
    stack = tube(
        (bed[1] - 0.05, width / 2 - 0.25, 0.9), (bed[1] - 0.05, width / 2 - 0.25, 3.0), 0.09
    )
    builder.add("exhaust", stack, STEEL, Material.PAINT)


def _add_tipper(builder: MeshBuilder, dice: Dice, bed: tuple[float, float], width: float) -> None:
    rgb = paint_for(dice, FLEET_PAINTS, 5)
    top = float(dice.shape.uniform(2.0, 2.5))
    tub = frustum((bed[0] + 0.4, bed[1], width / 2 - 0.25, 0.95), (bed[0], bed[1], width / 2, top))
    builder.add("tub", tub, rgb, Material.PAINT)
    heap = frustum(
        (bed[0] + 0.2, bed[1] - 0.2, width / 2 - 0.15, top - 0.05),
        (bed[0] + 1.4, bed[1] - 1.2, width / 5, top + 0.35),
    )
    builder.add("load", heap, (0.46, 0.38, 0.28))
    for x in np.linspace(bed[0] + 0.4, bed[1] - 0.3, 5):
        rib = box((float(x), 0, (top + 1.1) / 2), (0.1, width, top - 1.1))
        builder.add("ribs", rib, shade(rgb, 0.8), Material.PAINT)


def _add_tank(builder: MeshBuilder, dice: Dice, bed: tuple[float, float], width: float) -> None:
    radius = width / 2 - 0.04
    z = 1.0 + radius
    rgb = (0.80, 0.82, 0.84) if dice.paint.random() < 0.6 else paint_for(dice, FLEET_PAINTS, 3)
    builder.add("tank", tube((bed[0], 0, z), (bed[1], 0, z), radius, sides=16), rgb, Material.PAINT)
    for x in np.linspace(bed[0] + 0.2, bed[1] - 0.2, 4):
        hoop = tube((float(x) - 0.04, 0, z), (float(x) + 0.04, 0, z), radius + 0.03, sides=16)
        builder.add("hoops", hoop, STEEL)
    walkway = box(((bed[0] + bed[1]) / 2, 0, z + radius + 0.06), (bed[1] - bed[0] - 1.0, 0.5, 0.1))
    builder.add("walkway", walkway, DARK)


def _add_flatbed(builder: MeshBuilder, dice: Dice, bed: tuple[float, float], width: float) -> None:
    length, middle = bed[1] - bed[0], (bed[0] + bed[1]) / 2
    builder.add("deck", box((middle, 0, 1.05), (length, width, 0.16)), (0.42, 0.32, 0.22))
    wall = box((bed[1] - 0.05, 0, 1.6), (0.1, width - 0.1, 1.0))
    builder.add("headboard", wall, shade(STEEL, 0.8))
    x = bed[0] + 0.3
    while x < bed[1] - 1.3:
        size = dice.paint.uniform([0.9, width * 0.5, 0.4], [1.5, width * 0.9, 1.2])
        rgb = paint_for(dice, FLEET_PAINTS, 6)
        builder.add("load", box((x + size[0] / 2, 0, 1.13 + size[2] / 2), list(size)), rgb)
        x += float(size[0]) + 0.15


_SUPERSTRUCTURES = {
    "box": _add_box_body,
    TRACTOR_VARIANT: _add_tractor_rear,
    "tipper": _add_tipper,
    "tanker": _add_tank,
    "flatbed": _add_flatbed,
}


def build_trailer(dice: Dice) -> ObjectModel:
    """Return a box, flatbed or tank semi-trailer, or a small goods trailer."""
    shape = dice.shape
    kind = str(shape.choice(("semi_box", "semi_box", "semi_flatbed", "semi_tank", "goods")))
    small = kind == "goods"
    length = float(shape.uniform(4.2, 5.6) if small else shape.uniform(9.5, 12.8))
    width = float(shape.uniform(2.0, 2.3) if small else shape.uniform(2.42, 2.6))
    builder, half = MeshBuilder(), length / 2
    builder.add("chassis", box((0, 0, 0.86), (length - 0.3, width * 0.4, 0.22)), DARK)
    wheel = 0.36 if small else 0.50
    rear_axles = [-half + 1.3 + 2.25 * wheel * index for index in range(2 if small else 3)]
    add_wheel_pairs(builder, rear_axles, width / 2, wheel, 0.3)
    bed = (-half + 0.03, half - 0.03)
    if kind in ("semi_box", "goods"):
        rgb = paint_for(dice, FLEET_PAINTS, 5)
        top = float(shape.uniform(2.2, 2.7) if small else shape.uniform(3.6, 4.0))
        _add_cargo_box(builder, dice.paint, (bed[0], bed[1], 1.0, top), width, rgb)
    elif kind == "semi_tank":
        _add_tank(builder, dice, bed, width)
    else:
        _add_flatbed(builder, dice, bed, width)
    for side in (-1.0, 1.0):
        leg = box((half - 2.4, side * width * 0.3, 0.45), (0.16, 0.16, 0.9))
        builder.add("landing_legs", leg, STEEL)
        guard = box((0.3, side * (width / 2 - 0.06), 0.75), (length * 0.35, 0.05, 0.3))
        builder.add("side_guards", guard, STEEL)
    add_lamp_pair(
        builder, "tail_lamps", (-half + 0.02, width / 2 - 0.25, 0.80), (0.06, 0.34, 0.14), TAIL_LAMP
    )
    builder.add("underrun_bar", box((-half + 0.06, 0, 0.55), (0.08, width - 0.2, 0.12)), ORANGE)
    return finish_model(builder, "trailer", "vehicle.trailer", kind)


def build_bus(dice: Dice) -> ObjectModel:
    """Return a city bus, coach or double-decker."""
    shape = dice.shape
    kind = str(shape.choice(("city", "city", "coach", "double_decker")))
    length, width = float(shape.uniform(9.6, 12.4)), float(shape.uniform(2.48, 2.6))
    top = {"city": 3.05, "coach": 3.45, "double_decker": 4.2}[kind] * float(
        shape.uniform(0.97, 1.03)
    )
    base_rgb = paint_for(dice, FLEET_PAINTS, 6)
    trim_rgb = paint_for(dice, FLEET_PAINTS, 6)
    builder, half, skin = MeshBuilder(), length / 2, width / 2 - 0.02
    profile = [
        (-half, 0.4), (half - 0.05, 0.4), (half, 0.7), (half - 0.03, 1.5),
        (half - 0.14, top - 0.12), (half - 0.3, top), (-half + 0.2, top), (-half + 0.03, top - 0.2),
    ]  # fmt: skip
    builder.add("body", slab(profile, skin, 0.07), base_rgb, Material.PAINT)
    skirt = box((-0.05, 0, 0.68), (length - 0.25, width - 0.03, 0.42))
    builder.add("skirt", skirt, trim_rgb, Material.PAINT)
    sill = 1.75 if kind == "coach" else 1.42
    storeys = [(sill, sill + 0.95)] + (
        [(sill + 1.6, sill + 2.4)] if kind == "double_decker" else []
    )
    for low, high in storeys:
        _add_bus_windows(builder, half, width, low, min(high, top - 0.25), base_rgb)
    _add_bus_ends(builder, half, width, sill, top)
    _add_bus_doors(builder, half, width, sill)
    add_wheel_pairs(builder, [half - 2.6, -half + 2.9], width / 2, 0.48, 0.3)
    if kind == "city":
        roof_unit = box((-length * 0.15, 0, top + 0.12), (length * 0.3, width * 0.6, 0.26))
        builder.add("roof_unit", roof_unit, shade(WHITE, 0.9))
    return finish_model(builder, "bus", "vehicle.bus.rigid", kind)


def _add_bus_windows(
    builder: MeshBuilder, half: float, width: float, low: float, high: float, rgb: Rgb
) -> None:
    """Add the window band on both sides, with posts."""
    band = box((-0.15, 0, (low + high) / 2), (2 * half - 0.7, width - 0.02, high - low))
    builder.add("windows", band, WINDOW, Material.GLASS)
    for x in np.arange(-half + 1.4, half - 0.8, 1.45):
        post = box((float(x), 0, (low + high) / 2), (0.09, width - 0.005, high - low))
        builder.add("posts", post, shade(rgb, 0.7))


def _add_bus_ends(builder: MeshBuilder, half: float, width: float, sill: float, top: float) -> None:
    """Add windscreen, destination sign, rear window and lamps."""
    glass_top = min(top - 0.42, sill + 1.3)
    screen = frustum(
        (half - 0.2, half + 0.01, width / 2 - 0.14, sill - 0.35),
        (half - 0.25, half - 0.10, width / 2 - 0.18, glass_top),
    )
    builder.add("windscreen", screen, WINDOW, Material.GLASS)
    sign = box((half - 0.12, 0, top - 0.26), (0.14, width * 0.6, 0.24))
    builder.add("destination_sign", sign, INDICATOR, Material.LAMP)
    rear = box((-half + 0.02, 0, sill + 0.4), (0.06, width * 0.72, 0.7))
    builder.add("rear_window", rear, WINDOW, Material.GLASS)
    grille = box((-half + 0.01, 0, 0.95), (0.05, width * 0.6, 0.45))
    builder.add("engine_grille", grille, DARK)
    add_lamp_pair(
        builder, "head_lamps", (half - 0.02, width / 2 - 0.36, 0.85), (0.08, 0.40, 0.18), HEAD_LAMP
    )
    add_lamp_pair(
        builder, "tail_lamps", (-half + 0.01, width / 2 - 0.22, 1.1), (0.06, 0.20, 0.40), TAIL_LAMP
    )
    add_plate(builder, -half + 0.0, 0.62)


def _add_bus_doors(builder: MeshBuilder, half: float, width: float, sill: float) -> None:
    """Add two glazed doors on the right-hand side."""
    for x in (half - 1.25, -0.5):
        door = box((x, -width / 2 + 0.04, (0.5 + sill + 0.9) / 2), (1.15, 0.07, sill + 0.4))
        builder.add("doors", door, shade(WINDOW, 1.2), Material.GLASS)
        seam = box((x, -width / 2 + 0.035, (0.5 + sill + 0.9) / 2), (0.05, 0.07, sill + 0.4))
        builder.add("doors", seam, DARK)
