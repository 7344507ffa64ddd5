# SPDX-License-Identifier: Apache-2.0
"""Radiance of ray hits: procedural materials, shadows, sky light, reflections, haze."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from simdistill_ros.scenes.light import Float32, cloudy_sky, sky_radiance
from simdistill_ros.scenes.mesh import Material
from simdistill_ros.scenes.world import Hits, Moment

_SHADOW_OFFSET_M = np.float32(0.015)
_WINDOW_RGB = np.array([0.035, 0.045, 0.055], np.float32)


@dataclass(frozen=True)
class Rays:
    """M rays of one camera.

    Attributes:
        origins: (M, 3) global metres.
        directions: (M, 3) unit vectors.
        pixel_rad: Angle that one ray stands for.
        jitter: (M, 2) values in [-1, 1] for soft light; may be empty under hard light.
        frame_hw: Image size when the rays are all pixels of an image in row order, else None.
    """

    origins: Float32
    directions: Float32
    pixel_rad: float
    jitter: Float32
    frame_hw: tuple[int, int] | None = None


def cell_hash(a: npt.NDArray[np.int32], b: npt.NDArray[np.int32]) -> Float32:
    """Return a repeatable pseudo-random value in [0, 1) for each pair of integers."""
    mixed = a.astype(np.uint32) * np.uint32(73856093) ^ b.astype(np.uint32) * np.uint32(19349663)
    mixed = (mixed ^ (mixed >> np.uint32(13))) * np.uint32(1274126177)
    return np.asarray((mixed >> np.uint32(8)).astype(np.float32) * np.float32(1.0 / 2**24))


def radiance(moment: Moment, rays: Rays, hits: Hits, noise: Float32) -> Float32:
    """Return linear colours (M, 3); rays without a hit show the sky."""
    colour = np.empty((len(hits.face), 3), np.float32)
    missed = np.flatnonzero(~hits.found)
    if len(missed):
        colour[missed] = cloudy_sky(moment.world.light, rays.directions[missed], noise)
    index = np.flatnonzero(hits.found)
    if len(index):
        colour[index] = _surface(moment, rays, hits, index)
    return colour


def _surface(moment: Moment, rays: Rays, hits: Hits, index: npt.NDArray[np.intp]) -> Float32:
    world, light = moment.world, moment.world.light
    face, distance = hits.face[index], hits.distance_m[index]
    directions = rays.directions[index]
    points = rays.origins[index] + directions * distance[:, None]
    normals = moment.normals[face]
    facing = np.einsum("mc,mc->m", normals, directions)
    normals = normals * np.where(facing > 0, np.float32(-1), np.float32(1))[:, None]
    cosine = np.abs(facing)
    material = world.material[face]
    albedo = world.rgb[face]
    footprint = distance * np.float32(rays.pixel_rad)
    glazed = _apply_patterns(moment, albedo, material, face, points, normals, footprint, cosine)
    lit = _sunlight(moment, points, normals, rays, index)
    up = normals[:, 2] * np.float32(0.5) + np.float32(0.5)
    sky = (light.sky_rgb * np.float32(0.6) + light.horizon_rgb * np.float32(0.4)) * np.float32(
        light.ambient
    )
    bounce = light.horizon_rgb * np.float32(0.22) + light.sun_rgb * np.float32(0.06)
    incoming = bounce + (sky - bounce) * up[:, None]
    incoming += lit[:, None] * light.sun_rgb
    colour: Float32 = albedo * incoming
    _add_reflections(moment, colour, material, glazed, directions, normals, cosine, lit)
    lamps = np.flatnonzero(material == Material.LAMP)
    colour[lamps] += albedo[lamps] * np.float32(light.lamp_gain)
    through = np.exp(distance * np.float32(-light.haze_per_m))[:, None]
    colour *= through
    colour += light.horizon_rgb * (np.float32(1.0) - through)
    return colour


def _sunlight(
    moment: Moment,
    points: Float32,
    normals: Float32,
    rays: Rays,
    index: npt.NDArray[np.intp],
) -> Float32:
    """Return the cosine-weighted share of direct light at each point; `index` is its ray."""
    light = moment.world.light
    cosine = np.clip(normals @ light.sun_direction, 0.0, None)
    toward = np.flatnonzero(cosine > 0.0)
    origins = points[toward] + normals[toward] * _SHADOW_OFFSET_M
    directions = np.empty_like(origins)
    directions[:] = light.sun_direction
    if light.sun_spread > 0.0:
        directions[:, :2] += rays.jitter[index[toward]] * np.float32(light.sun_spread * 1.4)
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    blocked = moment.occluded(origins, directions)
    if light.sun_spread > 0.0 and rays.frame_hw is not None:
        share = np.ones(rays.frame_hw, np.float32)
        share.ravel()[index[toward[blocked]]] = 0.0
        cosine *= cv2.blur(share, (5, 5)).ravel()[index]
    else:
        cosine[toward[blocked]] = 0.0
    return np.asarray(cosine, dtype=np.float32)


def _apply_patterns(
    moment: Moment,
    albedo: Float32,
    material: npt.NDArray[np.uint8],
    face: npt.NDArray[np.int32],
    points: Float32,
    normals: Float32,
    footprint: Float32,
    cosine: Float32,
) -> npt.NDArray[np.intp]:
    """Write procedural albedo in place; return the indices of facade windows, which reflect."""
    ground = np.flatnonzero(material == Material.GROUND)
    if len(ground):
        stretched = footprint[ground] / np.sqrt(np.maximum(cosine[ground], 0.02))
        albedo[ground] = moment.world.texture.sample(points[ground, :2], stretched)
    leaves = np.flatnonzero(material == Material.FOLIAGE)
    if len(leaves):
        cell = np.maximum(footprint[leaves] * 2.0, 0.12)[:, None]
        grid = np.floor(points[leaves] / cell).astype(np.int32)
        albedo[leaves] *= (0.45 + 1.0 * cell_hash(grid[:, 0] + 31 * grid[:, 2], grid[:, 1]))[
            :, None
        ]
    stone = np.flatnonzero(material == Material.MASONRY)
    if len(stone):
        grid = np.floor(points[stone] / np.float32(0.35)).astype(np.int32)
        albedo[stone] *= (0.86 + 0.26 * cell_hash(grid[:, 0] + 17 * grid[:, 2], grid[:, 1]))[
            :, None
        ]
    walls = np.flatnonzero(material == Material.FACADE)
    if not len(walls):
        return walls
    params = moment.world.param[face[walls]]
    window = _facade(albedo, walls, params, points[walls], normals[walls], footprint[walls])
    return walls[window]


def _facade(
    albedo: Float32,
    walls: npt.NDArray[np.intp],
    params: Float32,
    points: Float32,
    normals: Float32,
    footprint: Float32,
) -> npt.NDArray[np.bool_]:
    """Draw windows, a shop storey and weathering; return which wall points are glass."""
    along = points[:, 0] * -normals[:, 1] + points[:, 1] * normals[:, 0]
    u, v = along / params[:, 2], points[:, 2] / params[:, 1]
    column, row = np.floor(u).astype(np.int32), np.floor(v).astype(np.int32)
    fu, fv = u - column, v - row
    shop = row <= 0
    upper = (fu > 0.24) & (fu < 0.76) & (fv > 0.30) & (fv < 0.82)
    wide = (fu > 0.08) & (fu < 0.92) & (fv > 0.22) & (fv < 0.74)
    vertical = np.abs(normals[:, 2]) < 0.5
    glass = np.where(shop, wide, upper) & vertical
    random = cell_hash(column, row)
    stain = cell_hash(
        np.floor(along * 3.1).astype(np.int32), np.floor(points[:, 2] * 3.1).astype(np.int32)
    )
    albedo[walls] *= (0.95 + 0.1 * stain)[:, None]
    frame = (
        np.where(
            shop,
            (fu > 0.04) & (fu < 0.96) & (fv > 0.16) & (fv < 0.78),
            (fu > 0.20) & (fu < 0.80) & (fv > 0.25) & (fv < 0.86),
        )
        & vertical
        & ~glass
    )
    albedo[walls[frame]] = albedo[walls[frame]] * 0.4 + 0.25
    sign = shop & vertical & (fv > 0.80) & (fv < 0.95) & (random > 0.35)
    hue = np.stack([random, (random * 7.3) % 1.0, (random * 3.1) % 1.0], axis=1)
    albedo[walls[sign]] = (0.04 + 0.6 * hue**2)[sign]
    blind = glass & (random > 0.72) & (fv > 0.5)
    albedo[walls[glass]] = _WINDOW_RGB * (0.5 + 1.5 * random[glass])[:, None]
    albedo[walls[blind]] = np.float32(0.35)
    return np.asarray(glass & ~blind & (footprint < 0.6))


def _add_reflections(
    moment: Moment,
    colour: Float32,
    material: npt.NDArray[np.uint8],
    glazed: npt.NDArray[np.intp],
    directions: Float32,
    normals: Float32,
    cosine: Float32,
    lit: Float32,
) -> None:
    """Add mirrored sky on paint and glass, and the sun's highlight."""
    light = moment.world.light
    painted = np.flatnonzero(material == Material.PAINT)
    glass = np.concatenate([np.flatnonzero(material == Material.GLASS), glazed])
    for index, base, grazing, gloss in ((painted, 0.03, 0.45, 24.0), (glass, 0.14, 0.75, 120.0)):
        if not len(index):
            continue
        normal = normals[index]
        along = np.einsum("mc,mc->m", directions[index], normal)
        mirror = directions[index] - (2.0 * along)[:, None] * normal
        fresnel = base + (grazing - base) * (1.0 - cosine[index]) ** 4
        # Streets are canyons: a mirrored ray that stays low meets walls, not sky.
        open_sky = np.clip(mirror[:, 2] * 3.0 + 0.35, 0.25, 1.0)
        sky = sky_radiance(light, mirror) * open_sky[:, None]
        colour[index] += sky * fresnel[:, None]
        if light.sun_spread < 0.1:
            peak = np.clip(mirror @ light.sun_direction, 0.0, 1.0) ** gloss * (lit[index] > 0)
            colour[index] += (0.5 * peak)[:, None] * light.sun_rgb
