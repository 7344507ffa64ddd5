# SPDX-License-Identifier: Apache-2.0
"""The painted ground of a town: surfaces, paint and noise in one image with coarser copies.

Row 0 of every raster is the northern edge (largest y), as in nuScenes map masks.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import cv2
import numpy as np
import numpy.typing as npt

from simdistill_ros.scenes.mesh import linear_rgb
from simdistill_ros.scenes.roads import Road
from simdistill_ros.scenes.shapes import FloatArray

TEXEL_M = 0.1
LABELS_PER_TEXEL = 2  # paint is drawn finer than the texture and averaged, so its edges are smooth
LABEL_M = TEXEL_M / LABELS_PER_TEXEL
LEVELS = 5


class Surface(IntEnum):
    """What the ground is made of."""

    GRASS = 0
    PLAZA = 1
    DIRT = 2
    SIDEWALK = 3
    CURB = 4
    ASPHALT = 5
    PARKING = 6
    PATCH = 7
    WHITE_PAINT = 8
    YELLOW_PAINT = 9


@dataclass(frozen=True)
class Extent:
    """A rectangle of the global frame in metres, on whole texels."""

    x_min: float
    y_min: float
    x_max: float
    y_max: float

    def shape(self, cell_m: float) -> tuple[int, int]:
        """Return (rows, columns) of a raster with cells of `cell_m`."""
        return (
            round((self.y_max - self.y_min) / cell_m),
            round((self.x_max - self.x_min) / cell_m),
        )

    def pixels(self, xy: FloatArray, cell_m: float) -> FloatArray:
        """Return (..., 2) fractional (column, row) of positions, cell centres at integers."""
        column = (xy[..., 0] - self.x_min) / cell_m - 0.5
        row = (self.y_max - xy[..., 1]) / cell_m - 0.5
        return np.stack([column, row], axis=-1)


class SurfaceRaster:
    """A raster of `Surface` labels on which roads are painted."""

    def __init__(self, extent: Extent, base: Surface) -> None:
        """Cover `extent` with `base`."""
        self.extent = extent
        self.labels: npt.NDArray[np.uint8] = np.full(
            extent.shape(LABEL_M), int(base), dtype=np.uint8
        )

    def fill(self, polygon_xy: FloatArray, surface: Surface) -> None:
        """Fill a convex polygon (P, 2) of global positions."""
        pixels = np.round(self.extent.pixels(polygon_xy, LABEL_M) * 16.0).astype(np.int32)
        cv2.fillConvexPoly(self.labels, pixels, int(surface), shift=4)

    def strip(
        self,
        road: Road,
        s_range: tuple[float, float],
        offsets: tuple[float, float],
        surface: Surface,
    ) -> None:
        """Fill the band of a road between two arc lengths and two lateral offsets."""
        count = max(int(np.ceil((s_range[1] - s_range[0]) / 2.0)), 1) + 1
        s = np.linspace(s_range[0], s_range[1], count)
        left, right = road.point(s, offsets[0]), road.point(s, offsets[1])
        for index in range(count - 1):
            quad = np.stack([left[index], left[index + 1], right[index + 1], right[index]])
            self.fill(quad, surface)


def paint_roads(raster: SurfaceRaster, roads: list[Road], rng: np.random.Generator) -> None:
    """Paint sidewalks, carriageways and markings of all roads."""
    for road in roads:
        edge, whole = road.profile.edge, (0.0, road.length_m)
        raster.strip(road, whole, (edge, -edge), Surface.SIDEWALK)
    for road in roads:
        curb, whole = road.profile.curb, (0.0, road.length_m)
        raster.strip(road, whole, (curb + 0.18, -curb - 0.18), Surface.CURB)
    for road in roads:
        curb, inner, whole = (
            road.profile.curb,
            road.profile.lane + road.profile.bike,
            (0.0, road.length_m),
        )
        raster.strip(road, whole, (curb, -curb), Surface.PARKING)
        raster.strip(road, whole, (inner, -inner), Surface.ASPHALT)
    for road in roads:
        for s, half in road.crossings:
            core = (s - half + 2.2, s + half - 2.2)
            raster.strip(road, core, (road.profile.curb, -road.profile.curb), Surface.ASPHALT)
    for road in roads:
        _paint_patches(raster, road, rng)
        _paint_markings(raster, road, rng)


def _paint_patches(raster: SurfaceRaster, road: Road, rng: np.random.Generator) -> None:
    for _ in range(int(road.length_m / 14.0)):
        s, offset = (
            float(rng.uniform(2, road.length_m - 8)),
            float(rng.uniform(-1, 1)) * road.profile.lane,
        )
        length, width = rng.uniform(0.5, 5.0), rng.uniform(0.3, 1.4)
        raster.strip(road, (s, s + float(length)), (offset, offset + float(width)), Surface.PATCH)


def _paint_markings(raster: SurfaceRaster, road: Road, rng: np.random.Generator) -> None:
    """Paint centre line, lane edges, parking bays, stop lines and crosswalks."""
    lane, curb = road.profile.lane, road.profile.curb
    double = bool(rng.random() < 0.5)
    s = 0.0
    while s < road.length_m - 3.0:
        if not road.near_crossing(s + 1.5, 1.0):
            dash = s % 9.0 < 4.0
            if double:
                for offset in (0.18, -0.06):
                    raster.strip(road, (s, s + 3.0), (offset, offset - 0.12), Surface.YELLOW_PAINT)
            elif dash:
                raster.strip(road, (s, s + 3.0), (0.06, -0.06), Surface.WHITE_PAINT)
            for side in (1.0, -1.0):
                raster.strip(
                    road, (s, s + 3.0), (side * lane, side * (lane + 0.12)), Surface.WHITE_PAINT
                )
        if int(s) % 6 == 0 and not road.near_crossing(s, 4.0):
            inner = lane + road.profile.bike
            for side in (1.0, -1.0):
                raster.strip(road, (s, s + 0.1), (side * inner, side * curb), Surface.WHITE_PAINT)
        s += 3.0
    for middle, half in road.crossings:
        for sign in (-1.0, 1.0):
            _paint_crosswalk(raster, road, middle + sign * (half + 0.2), sign)


def _paint_crosswalk(raster: SurfaceRaster, road: Road, s: float, sign: float) -> None:
    """Paint zebra stripes from `s` outwards and a stop line behind them."""
    curb, lane = road.profile.curb, road.profile.lane
    near, far = sorted((s, s + sign * 2.6))
    for offset in np.arange(-curb + 0.4, curb - 0.3, 1.0):
        raster.strip(road, (near, far), (float(offset), float(offset) + 0.5), Surface.WHITE_PAINT)
    stop = s + sign * 3.6
    side = -lane if sign < 0 else lane
    raster.strip(
        road,
        (min(stop, stop + sign * 0.35), max(stop, stop + sign * 0.35)),
        (0.15, side),
        Surface.WHITE_PAINT,
    )


_SURFACE_RGB: dict[Surface, tuple[float, float, float]] = {
    Surface.GRASS: (0.36, 0.44, 0.24),
    Surface.PLAZA: (0.56, 0.54, 0.50),
    Surface.DIRT: (0.48, 0.40, 0.31),
    Surface.SIDEWALK: (0.60, 0.59, 0.57),
    Surface.CURB: (0.70, 0.69, 0.67),
    Surface.ASPHALT: (0.32, 0.32, 0.33),
    Surface.PARKING: (0.38, 0.37, 0.37),
    Surface.PATCH: (0.26, 0.26, 0.27),
    Surface.WHITE_PAINT: (0.82, 0.82, 0.80),
    Surface.YELLOW_PAINT: (0.80, 0.63, 0.18),
}
_ROUGHNESS = np.array([0.34, 0.10, 0.30, 0.09, 0.07, 0.12, 0.14, 0.12, 0.16, 0.16], np.float32)


def noise_tile(rng: np.random.Generator, size: int = 512) -> npt.NDArray[np.float32]:
    """Return tileable noise (size, size), zero mean and unit deviation, over several octaves."""
    total = np.zeros((size, size), np.float32)
    for step, weight in ((1, 0.5), (4, 0.6), (16, 0.7), (64, 0.6)):
        coarse = rng.normal(0.0, 1.0, (size // step, size // step)).astype(np.float32)
        wrapped = np.pad(coarse, 2, mode="wrap")
        grown = cv2.resize(wrapped, None, fx=step, fy=step, interpolation=cv2.INTER_CUBIC)
        inner = grown[2 * step : 2 * step + size, 2 * step : 2 * step + size]
        total += weight * inner / max(float(inner.std()), 1e-6)
    return np.asarray((total - total.mean()) / total.std(), dtype=np.float32)


@dataclass(frozen=True)
class GroundTexture:
    """Linear albedo of the ground at `LEVELS` resolutions, each half the one before.

    Attributes:
        extent: What the finest image covers.
        levels: (H, W, 3) float32 images, finest first.
    """

    extent: Extent
    levels: tuple[npt.NDArray[np.float32], ...]

    def sample(
        self, xy: npt.NDArray[np.float32], footprint_m: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.float32]:
        """Return albedo (M, 3) at global positions (M, 2), blurred to the footprints."""
        wanted = np.log2(np.maximum(footprint_m, 1e-3) / TEXEL_M)
        level = np.clip(np.round(wanted), 0, len(self.levels) - 1).astype(np.int8)
        albedo = np.empty((len(xy), 3), np.float32)
        for index, image in enumerate(self.levels):
            chosen = np.flatnonzero(level == index)
            if len(chosen):
                albedo[chosen] = self._bilinear(image, xy[chosen], TEXEL_M * 2**index)
        return albedo

    def _bilinear(
        self, image: npt.NDArray[np.float32], xy: npt.NDArray[np.float32], texel_m: float
    ) -> npt.NDArray[np.float32]:
        columns = 1024
        rows = -(-len(xy) // columns)
        grid = np.zeros((2, rows * columns), np.float32)
        grid[0, : len(xy)] = (xy[:, 0] - np.float32(self.extent.x_min)) / texel_m - 0.5
        grid[1, : len(xy)] = (np.float32(self.extent.y_max) - xy[:, 1]) / texel_m - 0.5
        u, v = grid.reshape(2, rows, columns)
        sampled = cv2.remap(image, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(sampled.reshape(-1, 3)[: len(xy)], dtype=np.float32)


def make_texture(raster: SurfaceRaster, crop: Extent, rng: np.random.Generator) -> GroundTexture:
    """Colour the labels inside `crop`, a part of the raster's extent."""
    rows, columns = crop.shape(LABEL_M)
    top = round((raster.extent.y_max - crop.y_max) / LABEL_M)
    left = round((crop.x_min - raster.extent.x_min) / LABEL_M)
    labels = raster.labels[top : top + rows, left : left + columns]
    tint = rng.uniform(0.9, 1.1, (len(Surface), 3)) * rng.uniform(0.88, 1.12, (len(Surface), 1))
    colours = np.array([linear_rgb(_SURFACE_RGB[surface]) for surface in Surface]) * tint
    image = _averaged_colours(labels, colours.astype(np.float32))
    coarse = labels[::LABELS_PER_TEXEL, ::LABELS_PER_TEXEL]
    tile = noise_tile(rng)
    repeats = (-(-image.shape[0] // len(tile)), -(-image.shape[1] // len(tile)))
    noise = np.tile(tile, repeats)[: image.shape[0], : image.shape[1]]
    image *= np.clip(1.0 + noise * _ROUGHNESS[coarse], 0.25, 1.9)[..., None]
    levels = [np.ascontiguousarray(image, dtype=np.float32)]
    for _ in range(LEVELS - 1):
        levels.append(cv2.resize(levels[-1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
    return GroundTexture(crop, tuple(levels))


def _averaged_colours(
    labels: npt.NDArray[np.uint8], colours: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Return the mean colour of each texel's labels, (H, W, 3), band by band to save memory."""
    rows, columns = (size // LABELS_PER_TEXEL for size in labels.shape)
    image = np.empty((rows, columns, 3), np.float32)
    for first in range(0, rows, 256):
        band = labels[first * LABELS_PER_TEXEL : (first + 256) * LABELS_PER_TEXEL]
        height = len(band) // LABELS_PER_TEXEL
        image[first : first + height] = cv2.resize(
            colours[band], (columns, height), interpolation=cv2.INTER_AREA
        )
    return image


def semantic_mask(raster: SurfaceRaster) -> npt.NDArray[np.uint8]:
    """Return 255 where there is road or sidewalk, 0 elsewhere, at 0.1 m a pixel."""
    labels = raster.labels[::LABELS_PER_TEXEL, ::LABELS_PER_TEXEL]
    return np.where(labels >= int(Surface.SIDEWALK), 255, 0).astype(np.uint8)
