# SPDX-License-Identifier: Apache-2.0
"""LIDAR_TOP: 32 rotating beams at 20 Hz, with range noise, reflectance and lost returns."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from simdistill_ros.core.frames import transform_points
from simdistill_ros.scenes.light import Float32
from simdistill_ros.scenes.mesh import Material
from simdistill_ros.scenes.shapes import FloatArray
from simdistill_ros.scenes.world import Moment

BEAMS = 32
STEPS = 1084
ELEVATIONS_RAD = np.radians(np.linspace(-30.67, 10.67, BEAMS))
MIN_RANGE_M = 1.0
MAX_RANGE_M = 100.0
RANGE_NOISE_M = 0.02


def beam_directions() -> Float32:
    """Return unit directions (STEPS * BEAMS, 3) in the lidar frame, ring index running fastest."""
    azimuth = np.arange(STEPS) * (2.0 * np.pi / STEPS)
    around, up = np.meshgrid(azimuth, ELEVATIONS_RAD, indexing="ij")
    # The sweep starts behind and turns clockwise seen from above, as on the real vehicle.
    x, y = -np.sin(around) * np.cos(up), -np.cos(around) * np.cos(up)
    directions = np.stack([x, y, np.sin(up)], axis=-1).reshape(-1, 3)
    return np.asarray(directions, dtype=np.float32)


def scan(moment: Moment, ego_from_lidar: FloatArray, rng: np.random.Generator) -> Float32:
    """Return one sweep (M, 5): x, y, z in the lidar frame (metres), intensity 0..255, ring.

    The whole sweep is taken at the moment's time.
    """
    global_from_lidar = moment.world.global_from_ego(moment.time_s) @ ego_from_lidar
    local = beam_directions()
    directions = local @ global_from_lidar[:3, :3].T.astype(np.float32)
    origins = np.empty_like(directions)
    origins[:] = global_from_lidar[:3, 3]
    hits = moment.trace(origins, directions)
    kept = np.flatnonzero(
        hits.found & (hits.distance_m > MIN_RANGE_M) & (hits.distance_m < MAX_RANGE_M)
    )
    distance, face = hits.distance_m[kept], hits.face[kept]
    points = np.asarray(origins[kept] + directions[kept] * distance[:, None], np.float32)
    reflectance = _reflectance(moment, face, points, distance)
    cosine = np.abs(np.einsum("mc,mc->m", moment.normals[face], directions[kept]))
    returned = _returned(moment.world.material[face], reflectance, cosine, distance, rng)
    distance = distance + rng.normal(0.0, RANGE_NOISE_M, len(distance)).astype(np.float32)
    intensity = 90.0 * reflectance * np.sqrt(cosine) * rng.uniform(0.8, 1.2, len(distance))
    intensity = np.where(moment.world.material[face] == Material.REFLECTOR, 180.0, intensity)
    sweep = np.concatenate(
        [
            local[kept] * distance[:, None],
            np.floor(np.clip(intensity, 0.0, 255.0))[:, None],
            (kept % BEAMS)[:, None],
        ],
        axis=1,
    )
    return np.asarray(sweep[returned], dtype=np.float32)


def _reflectance(
    moment: Moment, face: npt.NDArray[np.int32], points: Float32, distance: Float32
) -> Float32:
    world = moment.world
    reflectance = world.rgb[face].mean(axis=1)
    ground = np.flatnonzero(world.material[face] == Material.GROUND)
    if len(ground):
        footprint = distance[ground] * np.float32(0.003)
        reflectance[ground] = world.texture.sample(points[ground, :2], footprint).mean(axis=1)
    return np.asarray(reflectance, dtype=np.float32)


def _returned(
    material: npt.NDArray[np.uint8],
    reflectance: Float32,
    cosine: Float32,
    distance: Float32,
    rng: np.random.Generator,
) -> npt.NDArray[np.bool_]:
    """Draw which beams come back: weak echoes from far, dark, grazing or glassy faces get lost."""
    echo = (0.15 + reflectance) * np.sqrt(np.maximum(cosine, 0.01))
    reach_m = np.clip(45.0 + 90.0 * echo, 0.0, MAX_RANGE_M)
    chance = np.clip((reach_m - distance) / 12.0, 0.0, 1.0) * 0.985
    chance = np.where(material == Material.GLASS, chance * 0.35, chance)
    return np.asarray(rng.random(len(distance)) < chance)


def points_in_box(
    points_global: FloatArray,
    centre: FloatArray,
    size_lwh_m: tuple[float, float, float],
    yaw_rad: float,
) -> npt.NDArray[np.bool_]:
    """Tell which points (M, 3) lie in an upright box, faces included."""
    c, s = np.cos(yaw_rad), np.sin(yaw_rad)
    offset = points_global - centre
    local = offset @ np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    return np.asarray((np.abs(local) <= np.asarray(size_lwh_m) / 2).all(axis=1))


def sweep_in_global(sweep: Float32, global_from_lidar: FloatArray) -> FloatArray:
    """Return the sweep's points (M, 3) in the global frame."""
    return transform_points(global_from_lidar, sweep[:, :3].astype(np.float64))
