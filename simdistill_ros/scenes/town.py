# SPDX-License-Identifier: Apache-2.0
"""A town: hills, one main road with cross roads, painted ground, and scenery along the roads.

Everything follows from the town's seed. Traffic, light and the route through the town belong to
the scene.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from simdistill_ros.scenes.ground import TEXEL_M, Extent, Surface, SurfaceRaster, paint_roads
from simdistill_ros.scenes.mesh import Material, Mesh, MeshBuilder
from simdistill_ros.scenes.roads import Profile, Road, make_cross_road, make_main_road
from simdistill_ros.scenes.scenery import (
    LEAVES,
    WALL_PAINTS,
    make_building,
    make_bush,
    make_clutter,
    make_sign,
    make_street_lamp,
    make_traffic_light,
    make_tree,
    make_wall,
)
from simdistill_ros.scenes.shapes import FloatArray
from simdistill_ros.scenes.terrain import Terrain, make_terrain

CURB_HEIGHT_M = 0.12
MAIN_LENGTH_M = 460.0
CROSS_REACH_M = 90.0
_MARGIN_M = 60.0
_CELL_M = 0.5


@dataclass(frozen=True)
class Placed:
    """A piece of scenery in the global frame with the circle of ground that it needs, metres."""

    mesh: Mesh
    xy: tuple[float, float]
    radius_m: float


@dataclass(frozen=True)
class Town:
    """What the town's seed fixes.

    Attributes:
        seed: The town's seed.
        main: The main road; routes start on it.
        crossing: Cross roads, in the order of `main.crossings`.
        terrain: Hills.
        raster: Surface labels of the whole town.
        scenery: Everything that stands on the ground and is not annotated.
        sidewalks: Raised sidewalks.
    """

    seed: int
    main: Road
    crossing: tuple[Road, ...]
    terrain: Terrain
    raster: SurfaceRaster
    scenery: tuple[Placed, ...]
    sidewalks: Mesh

    @property
    def roads(self) -> list[Road]:
        """Return the main road and all cross roads."""
        return [self.main, *self.crossing]


@lru_cache(maxsize=2)
def build_town(seed: int) -> Town:
    """Return the town of a seed (non-negative)."""
    rng = np.random.default_rng([seed, 71])
    parking = float(rng.uniform(2.2, 2.6))
    profile = Profile(float(rng.uniform(3.3, 3.8)), 0.9, parking, float(rng.uniform(2.6, 4.2)))
    side_profile = Profile(float(rng.uniform(3.0, 3.4)), 0.4, parking, float(rng.uniform(2.2, 3.2)))
    main = make_main_road(rng, MAIN_LENGTH_M, profile)
    stops = [MAIN_LENGTH_M * share + float(rng.uniform(-15, 15)) for share in (0.24, 0.50, 0.76)]
    crossing = [make_cross_road(rng, main, s, side_profile, CROSS_REACH_M) for s in stops]
    main = replace(main, crossings=tuple((s, side_profile.edge) for s in stops))
    main, crossing, extent = _shifted(main, crossing)
    terrain = make_terrain(rng, float(rng.uniform(0.7, 1.4)))
    base = Surface(
        int(
            rng.choice(
                [int(Surface.GRASS), int(Surface.PLAZA), int(Surface.DIRT)], p=[0.5, 0.35, 0.15]
            )
        )
    )
    raster = SurfaceRaster(extent, base)
    paint_roads(raster, [main, *crossing], rng)
    planner = _Planner(terrain, raster)
    _place_scenery(planner, [main, *crossing], rng)
    sidewalks = _sidewalk_mesh([main, *crossing], terrain)
    return Town(seed, main, tuple(crossing), terrain, raster, tuple(planner.placed), sidewalks)


def _shifted(main: Road, crossing: list[Road]) -> tuple[Road, list[Road], Extent]:
    """Move all roads so that the raster starts at the global origin, as nuScenes maps do."""
    points = np.concatenate([main.centre, *(road.centre for road in crossing)])
    offset = _MARGIN_M - points.min(axis=0)
    size = np.ceil(points.max(axis=0) - points.min(axis=0) + 2 * _MARGIN_M)
    moved = [replace(road, centre=road.centre + offset) for road in (main, *crossing)]
    return moved[0], moved[1:], Extent(0.0, 0.0, float(size[0]), float(size[1]))


class _Planner:
    """Puts scenery where there is room, and remembers what is taken."""

    def __init__(self, terrain: Terrain, raster: SurfaceRaster) -> None:
        self.terrain = terrain
        self.extent = raster.extent
        cells_wh = self.extent.shape(_CELL_M)[::-1]
        small = cv2.resize(raster.labels, cells_wh, interpolation=cv2.INTER_NEAREST)
        self.road: npt.NDArray[np.uint8] = np.where(small > int(Surface.SIDEWALK), 1, 0).astype(
            np.uint8
        )
        self.paved: npt.NDArray[np.uint8] = np.where(small >= int(Surface.SIDEWALK), 1, 0).astype(
            np.uint8
        )
        self.taken = np.zeros_like(self.road)
        self.placed: list[Placed] = []

    def footprint(self, xy: FloatArray, yaw_rad: float, size: tuple[float, float]) -> FloatArray:
        """Return corners (4, 2) in cells of a rectangle of `size` (along yaw, across) metres."""
        c, s = np.cos(yaw_rad), np.sin(yaw_rad)
        local = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * np.asarray(size) / 2
        corners = local @ np.array([[c, s], [-s, c]]) + xy
        return self.extent.pixels(corners, _CELL_M)

    def is_free(self, corners: FloatArray, avoid: npt.NDArray[np.uint8]) -> bool:
        """Tell whether a footprint touches neither `avoid` nor anything placed before."""
        stamp = np.zeros_like(self.taken)
        low = np.floor(corners.min(axis=0)).astype(int) - 1
        high = np.ceil(corners.max(axis=0)).astype(int) + 2
        if low.min() < 0 or high[0] > stamp.shape[1] or high[1] > stamp.shape[0]:
            return False
        window = (slice(low[1], high[1]), slice(low[0], high[0]))
        patch = np.zeros((high[1] - low[1], high[0] - low[0]), np.uint8)
        cv2.fillConvexPoly(patch, np.round(corners - low).astype(np.int32), 1)
        return not bool((patch & (self.taken[window] | avoid[window])).any())

    def take(self, corners: FloatArray) -> None:
        """Mark a footprint as taken."""
        cv2.fillConvexPoly(self.taken, np.round(corners).astype(np.int32), 1)

    def put(
        self, mesh: Mesh, xy: FloatArray, yaw_rad: float, radius_m: float, raised: float = 0.0
    ) -> None:
        """Stand a mesh on the ground."""
        z = float(self.terrain.height(xy)) + raised
        x, y = float(xy[0]), float(xy[1])
        self.placed.append(Placed(mesh.placed((x, y, z), yaw_rad), (x, y), radius_m))


def _place_scenery(planner: _Planner, roads: list[Road], rng: np.random.Generator) -> None:
    paints = tuple(WALL_PAINTS[int(i)] for i in rng.permutation(len(WALL_PAINTS))[:5])
    leaves = tuple(LEAVES[int(i)] for i in rng.permutation(len(LEAVES))[:3])
    tallest = float(rng.uniform(9.0, 32.0))
    green = float(rng.uniform(0.25, 0.9))
    for road in roads:
        for side in (-1.0, 1.0):
            _place_furniture(planner, road, side, rng, leaves, green)
            _place_frontage(planner, road, side, rng, paints, tallest)
    for road in roads:
        for side in (-1.0, 1.0):
            _place_filling(planner, road, side, rng, leaves, green)


def _place_frontage(
    planner: _Planner,
    road: Road,
    side: float,
    rng: np.random.Generator,
    paints: tuple[tuple[float, float, float], ...],
    tallest: float,
) -> None:
    """Line one side of a road with buildings, gaps and walls."""
    s = float(rng.uniform(2.0, 8.0))
    setback = float(rng.uniform(0.6, 5.0))
    while s < road.length_m - 8.0:
        width, depth = float(rng.uniform(9.0, 24.0)), float(rng.uniform(9.0, 16.0))
        middle, gap = s + width / 2, float(rng.uniform(0.3, 5.0))
        inset = setback + float(rng.uniform(0.0, 2.0))
        xy = road.point(middle, side * (road.profile.edge + inset + depth / 2))
        yaw = float(road.heading(middle)) + (0.0 if side > 0 else np.pi)
        corners = planner.footprint(xy, yaw, (width + 0.5, depth + 0.5))
        if rng.random() < 0.84 and planner.is_free(corners, planner.paved):
            planner.take(corners)
            height = float(
                rng.uniform(4.5, 8.0) if rng.random() < 0.4 else rng.uniform(7.0, tallest)
            )
            planner.put(
                make_building(rng, width, depth, height, paints),
                xy,
                yaw,
                float(np.hypot(width, depth) / 2),
            )
        elif rng.random() < 0.6:
            xy = road.point(middle, side * (road.profile.edge + 0.5))
            corners = planner.footprint(xy, yaw, (width * 0.8, 0.5))
            if planner.is_free(corners, planner.paved):
                planner.take(corners)
                planner.put(make_wall(rng, width * 0.8), xy, yaw, 1.0)
        s += width + gap


def _place_furniture(
    planner: _Planner,
    road: Road,
    side: float,
    rng: np.random.Generator,
    leaves: tuple[tuple[float, float, float], ...],
    green: float,
) -> None:
    """Stand trees, lamps, signs and signals along the curb."""
    s = float(rng.uniform(4.0, 12.0))
    while s < road.length_m - 4.0:
        if not road.near_crossing(s, 2.0):
            xy = road.point(s, side * (road.profile.curb + 0.55))
            toward_road = float(road.heading(s)) + (np.pi if side > 0 else 0.0)
            pick = float(rng.random())
            if pick < green * 0.6:
                planner.put(make_tree(rng, leaves), xy, float(rng.uniform(0, 6.3)), 0.35)
            elif pick < 0.75:
                planner.put(make_street_lamp(rng), xy, toward_road, 0.25)
            else:
                planner.put(make_sign(rng), xy, toward_road + np.pi * float(rng.integers(2)), 0.2)
        s += float(rng.uniform(7.0, 15.0))
    for middle, half in road.crossings:
        stop = middle - half - 0.8 if side < 0 else middle + half + 0.8
        xy = road.point(stop, side * (road.profile.curb + 0.5))
        yaw = float(road.heading(stop)) + (0.0 if side < 0 else np.pi)
        planner.put(make_traffic_light(rng), xy, yaw, 0.3)


def _place_filling(
    planner: _Planner,
    road: Road,
    side: float,
    rng: np.random.Generator,
    leaves: tuple[tuple[float, float, float], ...],
    green: float,
) -> None:
    """Fill free land with clutter next to the sidewalk, and with bushes and trees behind."""
    for _ in range(int(road.length_m / 11.0)):
        s = float(rng.uniform(3.0, road.length_m - 3.0))
        mesh, radius = make_clutter(rng)
        xy = road.point(s, side * (road.profile.edge + radius * float(rng.uniform(0.35, 1.0))))
        yaw = float(road.heading(s)) + np.pi / 2 * float(rng.integers(4))
        corners = planner.footprint(xy, yaw, (radius * 1.6, radius * 1.6))
        if planner.is_free(corners, planner.road):
            planner.take(corners)
            planner.put(mesh, xy, yaw, radius * 0.7)
    for _ in range(int(road.length_m * green / 5.0)):
        s = float(rng.uniform(3.0, road.length_m - 3.0))
        xy = road.point(s, side * (road.profile.edge + float(rng.uniform(1.5, 26.0))))
        corners = planner.footprint(xy, 0.0, (2.4, 2.4))
        if planner.is_free(corners, planner.paved):
            planner.take(corners)
            mesh = make_tree(rng, leaves) if rng.random() < 0.6 else make_bush(rng)
            planner.put(mesh, xy, float(rng.uniform(0, 6.3)), 1.2)


def _sidewalk_mesh(roads: list[Road], terrain: Terrain) -> Mesh:
    """Return raised sidewalks with the ground's texture, open at crossings."""
    builder = MeshBuilder()
    for road in roads:
        grid = np.arange(0.0, road.length_m, 3.0)
        keep = [s for s in grid if not road.near_crossing(float(s) + 1.5, 3.2)]
        if not keep:
            continue
        starts = np.asarray(keep)
        for side in (-1.0, 1.0):
            near, far = side * road.profile.curb, side * road.profile.edge
            corners = [
                road.point(starts + ds, offset)
                for ds, offset in ((0, near), (3.0, near), (3.0, far), (0, far))
            ]
            tops = [_lift(points, terrain, CURB_HEIGHT_M) for points in corners]
            feet = [_lift(points, terrain, -0.15) for points in corners]
            quads = [np.stack(tops, 1)]
            for a, b in ((0, 1), (2, 3), (3, 0), (1, 2)):
                quads.append(np.stack([tops[a], tops[b], feet[b], feet[a]], 1))
            vertices = np.concatenate(quads).reshape(-1, 3)
            index = np.arange(len(vertices)).reshape(-1, 4)
            faces = np.concatenate([index[:, [0, 1, 2]], index[:, [0, 2, 3]]]).astype(np.int32)
            builder.add("sidewalk", (vertices, faces), (0.6, 0.6, 0.58), Material.GROUND)
    return builder.build()


def _lift(points: FloatArray, terrain: Terrain, offset_m: float) -> FloatArray:
    return np.concatenate([points, (terrain.height(points) + offset_m)[..., None]], axis=-1)


def crop_around(xy: FloatArray, reach_m: float, extent: Extent) -> Extent:
    """Return the part of `extent` within `reach_m` of the points (M, 2), on whole texels."""
    low = np.maximum(xy.min(axis=0) - reach_m, [extent.x_min, extent.y_min])
    high = np.minimum(xy.max(axis=0) + reach_m, [extent.x_max, extent.y_max])
    unit = TEXEL_M * 16
    low, high = np.ceil(low / unit) * unit, np.floor(high / unit) * unit
    return Extent(float(low[0]), float(low[1]), float(high[0]), float(high[1]))
