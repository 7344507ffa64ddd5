# SPDX-License-Identifier: Apache-2.0
"""Things that are not annotated: buildings, trees, poles, and clutter that looks like an object."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from simdistill_ros.scenes.mesh import Material, Mesh, MeshBuilder, Rgb, merge_meshes
from simdistill_ros.scenes.palette import (
    DARK,
    FLEET_PAINTS,
    ORANGE,
    STEEL,
    WHITE,
    WINDOW,
    YELLOW,
    choose,
    shade,
)
from simdistill_ros.scenes.shapes import Shape, ball, box, frustum, slab, tube

WALL_PAINTS: tuple[Rgb, ...] = (
    (0.62, 0.36, 0.28), (0.72, 0.66, 0.56), (0.55, 0.55, 0.56), (0.78, 0.72, 0.60),
    (0.48, 0.30, 0.24), (0.66, 0.68, 0.70), (0.84, 0.80, 0.72), (0.50, 0.42, 0.34),
    (0.40, 0.46, 0.52), (0.70, 0.52, 0.42), (0.58, 0.64, 0.56), (0.86, 0.84, 0.82),
)  # fmt: skip
ROOF_PAINTS: tuple[Rgb, ...] = ((0.36, 0.20, 0.16), (0.25, 0.25, 0.27), (0.42, 0.38, 0.34))
LEAVES: tuple[Rgb, ...] = (
    (0.22, 0.34, 0.13), (0.30, 0.40, 0.16), (0.18, 0.28, 0.14), (0.44, 0.40, 0.16),
    (0.52, 0.34, 0.14),
)  # fmt: skip


def make_building(
    rng: np.random.Generator, width: float, depth: float, height: float, paints: tuple[Rgb, ...]
) -> Mesh:
    """Return a building: front along x, width along x, depth along y, standing on z = 0."""
    wall, storey = choose(rng, paints), float(rng.uniform(2.9, 3.8))
    param = (0.0, storey, float(rng.uniform(2.0, 3.6)))
    builder = MeshBuilder()
    foundation = 2.5  # below ground, so that no gap opens on a slope
    body = box((0, 0, (height - foundation) / 2), (width, depth, height + foundation))
    builder.add("walls", body, wall, Material.FACADE, param)
    if height < 9.0 and rng.random() < 0.6:
        ridge = slab(
            [(-depth / 2 - 0.4, height), (depth / 2 + 0.4, height), (0.0, height + depth * 0.32)],
            width / 2 + 0.3,
        )
        turned = ridge[0][:, [1, 0, 2]], ridge[1]
        builder.add("roof", turned, choose(rng, ROOF_PAINTS), Material.MASONRY)
    else:
        parapet = box((0, 0, height + 0.3), (width + 0.3, depth + 0.3, 0.7))
        builder.add("roof", parapet, shade(wall, 0.8), Material.MASONRY)
        if rng.random() < 0.5:
            unit = box((float(rng.uniform(-0.25, 0.25)) * width, 0, height + 1.4), (3.0, 2.4, 2.0))
            builder.add("roof_unit", unit, STEEL)
    if rng.random() < 0.45:
        awning = box((0, -depth / 2 - 0.6, 3.1), (width * float(rng.uniform(0.3, 0.8)), 1.3, 0.16))
        builder.add("awning", awning, choose(rng, FLEET_PAINTS))
    if height > 8 and rng.random() < 0.4:
        for z in np.arange(storey * 1.05, height - 2.0, storey):
            balcony = box((width * 0.22, -depth / 2 - 0.55, float(z)), (2.6, 1.1, 0.9))
            builder.add("balconies", balcony, shade(wall, 1.15), Material.MASONRY)
    return builder.build()


def _leaf_ball(
    rng: np.random.Generator, centre: tuple[float, float, float], radius: float
) -> Shape:
    vertices, faces = ball((0, 0, 0), (radius, radius, radius * 0.85), rings=6, sides=9)
    lumps = rng.uniform(0.78, 1.12, (len(vertices), 1))
    return vertices * lumps + np.asarray(centre), faces


def make_tree(rng: np.random.Generator, paints: tuple[Rgb, ...] = LEAVES) -> Mesh:
    """Return a broad-leaved tree or a conifer."""
    builder = MeshBuilder()
    height = float(rng.uniform(4.5, 10.0))
    leaf = choose(rng, paints)
    bark = (0.30, 0.23, 0.17)
    radius = 0.035 * height * float(rng.uniform(0.6, 1.0))
    builder.add(
        "trunk", tube((0, 0, -0.4), (0, 0, height * 0.6), radius, radius * 0.6, sides=6), bark
    )
    if rng.random() < 0.25:
        for level in range(4):
            z = height * (0.22 + 0.19 * level)
            reach = height * (0.24 - 0.05 * level)
            layer = tube((0, 0, z), (0, 0, z + height * 0.26), reach, 0.04, sides=9)
            builder.add("crown", layer, shade(leaf, 0.7), Material.FOLIAGE)
        return builder.build()
    crown = height * float(rng.uniform(0.20, 0.28))
    builder.add("crown", _leaf_ball(rng, (0, 0, height * 0.72), crown), leaf, Material.FOLIAGE)
    for _ in range(3):
        angle, reach = float(rng.uniform(0, 2 * np.pi)), crown * 0.75
        centre = (
            reach * np.cos(angle),
            reach * np.sin(angle),
            height * float(rng.uniform(0.58, 0.8)),
        )
        size = crown * float(rng.uniform(0.55, 0.8))
        builder.add(
            "crown",
            _leaf_ball(rng, centre, size),
            shade(leaf, float(rng.uniform(0.8, 1.2))),
            Material.FOLIAGE,
        )
    return builder.build()


def make_bush(rng: np.random.Generator) -> Mesh:
    """Return a bush or a clipped hedge."""
    builder, leaf = MeshBuilder(), choose(rng, LEAVES)
    if rng.random() < 0.4:
        hedge = box((0, 0, 0.45), (float(rng.uniform(1.5, 4.0)), 0.8, 1.1))
        builder.add("hedge", hedge, shade(leaf, 0.8), Material.FOLIAGE)
    for _ in range(3):
        x, y, radius = rng.uniform([-0.7, -0.3, 0.4], [0.7, 0.3, 0.8])
        builder.add("bush", _leaf_ball(rng, (x, y, radius * 0.6), radius), leaf, Material.FOLIAGE)
    return builder.build()


def make_street_lamp(rng: np.random.Generator) -> Mesh:
    """Return a lamp post whose arm points along +y."""
    builder, height = MeshBuilder(), float(rng.uniform(6.0, 8.5))
    builder.add("post", tube((0, 0, -0.3), (0, 0, height), 0.10, 0.06, sides=6), shade(STEEL, 0.8))
    builder.add(
        "arm", tube((0, 0, height), (0, 1.8, height + 0.2), 0.05, sides=5), shade(STEEL, 0.8)
    )
    builder.add("lamp", box((0, 1.9, height + 0.15), (0.25, 0.6, 0.12)), WHITE, Material.LAMP)
    return builder.build()


def make_traffic_light(rng: np.random.Generator) -> Mesh:
    """Return a signal whose arm points along +y and whose lamps face -x."""
    builder = MeshBuilder()
    builder.add("post", tube((0, 0, -0.3), (0, 0, 5.6), 0.11, 0.08, sides=7), shade(STEEL, 0.7))
    builder.add("arm", tube((0, 0, 5.4), (0, 4.2, 5.6), 0.07, sides=6), shade(STEEL, 0.7))
    for y, z in ((4.1, 5.2), (0.25, 3.0)):
        builder.add("housing", box((0, y, z), (0.3, 0.36, 1.0)), DARK)
        for index, rgb in enumerate(((0.9, 0.05, 0.05), (0.95, 0.7, 0.1), (0.1, 0.8, 0.3))):
            centre = (-0.15, y, z + 0.3 - 0.3 * index)
            builder.add(
                "lamps", ball(centre, (0.05, 0.1, 0.1), rings=3, sides=6), rgb, Material.LAMP
            )
    return builder.build()


def make_sign(rng: np.random.Generator) -> Mesh:
    """Return a road sign facing -x."""
    builder, height = MeshBuilder(), float(rng.uniform(2.0, 2.8))
    builder.add("post", tube((0, 0, -0.2), (0, 0, height), 0.035, sides=5), STEEL)
    rgb = choose(rng, ((0.8, 0.1, 0.1), (0.1, 0.25, 0.6), (0.95, 0.75, 0.1), WHITE))
    if rng.random() < 0.5:
        plate = tube(
            (-0.05, 0, height), (-0.02, 0, height), float(rng.uniform(0.3, 0.42)), sides=10
        )
    else:
        plate = box((-0.04, 0, height), (0.03, *rng.uniform([0.4, 0.4], [0.9, 0.8])))
    builder.add("plate", plate, rgb, Material.REFLECTOR)
    return builder.build()


def _dumpster(builder: MeshBuilder, rng: np.random.Generator) -> None:
    rgb = choose(rng, FLEET_PAINTS)
    size = rng.uniform([1.8, 1.2, 1.2], [5.5, 2.3, 2.4])
    tub = frustum(
        (-size[0] / 2 + 0.15, size[0] / 2 - 0.15, size[1] / 2 - 0.1, 0.1),
        (-size[0] / 2, size[0] / 2, size[1] / 2, size[2]),
    )
    builder.add("tub", tub, rgb, Material.PAINT)
    builder.add("lid", box((0, 0, size[2] + 0.05), (size[0], size[1] * 0.96, 0.1)), shade(rgb, 0.5))


def _mailbox(builder: MeshBuilder, rng: np.random.Generator) -> None:
    rgb, height = choose(rng, FLEET_PAINTS), float(rng.uniform(1.1, 1.9))
    builder.add("case", box((0, 0, height * 0.58), (0.55, 0.5, height * 0.84)), rgb, Material.PAINT)
    builder.add("feet", box((0, 0, height * 0.08), (0.45, 0.4, height * 0.16)), DARK)
    builder.add(
        "cap", tube((-0.27, 0, height), (0.27, 0, height), 0.25, sides=10), rgb, Material.PAINT
    )


def _bollards(builder: MeshBuilder, rng: np.random.Generator) -> None:
    rgb = choose(rng, (ORANGE, STEEL, (0.2, 0.2, 0.22), YELLOW))
    height = float(rng.uniform(0.6, 1.1))
    for index in range(int(rng.integers(2, 6))):
        x = index * 1.5
        builder.add("post", tube((x, 0, -0.1), (x, 0, height), 0.09, sides=8), rgb)
        builder.add(
            "ring", tube((x, 0, height * 0.7), (x, 0, height * 0.85), 0.095, sides=8), WHITE
        )


def _hydrant(builder: MeshBuilder, rng: np.random.Generator) -> None:
    rgb = choose(rng, ((0.8, 0.1, 0.08), (0.95, 0.75, 0.1), ORANGE))
    builder.add("barrel", tube((0, 0, 0), (0, 0, 0.65), 0.13, sides=8), rgb, Material.PAINT)
    builder.add("cap", ball((0, 0, 0.68), (0.15, 0.15, 0.12), rings=4), rgb, Material.PAINT)
    builder.add(
        "outlets", tube((0, -0.22, 0.45), (0, 0.22, 0.45), 0.07, sides=6), rgb, Material.PAINT
    )


def _planter(builder: MeshBuilder, rng: np.random.Generator) -> None:
    width = float(rng.uniform(1.2, 2.6))
    builder.add("trough", box((0, 0, 0.35), (0.6, width, 0.7)), (0.62, 0.6, 0.56), Material.MASONRY)
    for y in np.linspace(-width / 3, width / 3, 3):
        builder.add(
            "plants",
            _leaf_ball(rng, (0, float(y), 0.85), 0.32),
            choose(rng, LEAVES),
            Material.FOLIAGE,
        )


def _shelter(builder: MeshBuilder, rng: np.random.Generator) -> None:
    builder.add("roof", box((0, 0, 2.5), (4.4, 1.7, 0.14)), DARK)
    builder.add("back", box((0, 0.75, 1.3), (4.2, 0.05, 2.1)), WINDOW, Material.GLASS)
    for x in (-2.1, 2.1):
        builder.add("posts", box((x, -0.6, 1.25), (0.1, 0.1, 2.5)), STEEL)
    builder.add("poster", box((2.1, 0.1, 1.3), (0.08, 1.2, 1.8)), choose(rng, FLEET_PAINTS))
    builder.add("bench", box((0, 0.45, 0.5), (3.0, 0.4, 0.08)), (0.5, 0.36, 0.22))


def _container(builder: MeshBuilder, rng: np.random.Generator) -> None:
    rgb = choose(rng, FLEET_PAINTS)
    builder.add("box", box((0, 0, 1.35), (6.06, 2.44, 2.6)), rgb, Material.PAINT)
    for x in np.arange(-2.8, 2.9, 0.56):
        builder.add("ribs", box((float(x), 0, 1.35), (0.12, 2.5, 2.4)), shade(rgb, 0.8))


def _bin(builder: MeshBuilder, rng: np.random.Generator) -> None:
    rgb = choose(rng, ((0.15, 0.3, 0.2), DARK, (0.2, 0.25, 0.4), ORANGE))
    builder.add("bin", tube((0, 0, 0), (0, 0, 0.95), 0.24, 0.30, sides=9), rgb)
    builder.add("lid", ball((0, 0, 0.95), (0.3, 0.3, 0.12), rings=4), shade(rgb, 0.6))


def _billboard(builder: MeshBuilder, rng: np.random.Generator) -> None:
    builder.add("legs", box((0, -0.8, 0.6), (0.1, 0.1, 1.8)), STEEL)
    builder.add("legs", box((0, 0.8, 0.6), (0.1, 0.1, 1.8)), STEEL)
    builder.add("frame", box((0, 0, 1.9), (0.16, 2.3, 1.8)), DARK)
    for side in (-1.0, 1.0):
        builder.add(
            "poster", box((side * 0.09, 0, 1.9), (0.02, 2.1, 1.6)), choose(rng, FLEET_PAINTS)
        )
        builder.add(
            "poster", box((side * 0.10, 0.2, 1.7), (0.02, 1.0, 0.7)), choose(rng, FLEET_PAINTS)
        )


CLUTTER: tuple[tuple[Callable[[MeshBuilder, np.random.Generator], None], float], ...] = (
    (_dumpster, 2.0), (_mailbox, 1.0), (_bollards, 0.6), (_hydrant, 0.5), (_planter, 1.3),
    (_shelter, 2.4), (_container, 3.3), (_bin, 0.5), (_billboard, 1.2),
)  # fmt: skip


def make_clutter(rng: np.random.Generator) -> tuple[Mesh, float]:
    """Return a piece of street clutter and the radius in metres that it needs."""
    build, radius = CLUTTER[int(rng.integers(len(CLUTTER)))]
    builder = MeshBuilder()
    build(builder, rng)
    return builder.build(), radius


def make_wall(rng: np.random.Generator, length: float) -> Mesh:
    """Return a garden wall or picket fence along x."""
    builder, height = MeshBuilder(), float(rng.uniform(0.9, 2.0))
    if rng.random() < 0.5:
        wall = box((0, 0, height / 2 - 0.5), (length, 0.25, height + 1.0))
        builder.add("wall", wall, choose(rng, WALL_PAINTS), Material.MASONRY)
        return builder.build()
    rgb = choose(rng, ((0.45, 0.34, 0.24), WHITE, (0.2, 0.22, 0.2)))
    pieces = [
        box((float(x), 0, height / 2 - 0.2), (0.14, 0.04, height + 0.4))
        for x in np.arange(-length / 2, length / 2, 0.34)
    ]
    for piece in pieces:
        builder.add("pickets", piece, rgb)
    builder.add("rail", box((0, 0, height * 0.7), (length, 0.06, 0.1)), rgb)
    return merge_meshes([builder.build()])
