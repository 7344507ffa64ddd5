# SPDX-License-Identifier: Apache-2.0
"""How much of each object the six cameras see, by rays to points on its surface."""

from __future__ import annotations

import numpy as np

from simdistill_ros.core.frames import inverse, transform_points
from simdistill_ros.scenes.mesh import Mesh
from simdistill_ros.scenes.rig import Camera
from simdistill_ros.scenes.shapes import FloatArray
from simdistill_ros.scenes.world import Moment

SAMPLES = 48


def surface_points(mesh: Mesh, rng: np.random.Generator, count: int = SAMPLES) -> FloatArray:
    """Return points (count, 3) drawn evenly over the mesh's area, in its own frame."""
    corners = mesh.vertices[mesh.faces]
    edges = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(edges, axis=1)
    faces = rng.choice(len(area), size=count, p=area / area.sum())
    a, b = rng.random((2, count))
    flip = a + b > 1.0
    a, b = np.where(flip, 1 - a, a), np.where(flip, 1 - b, b)
    first = corners[faces, 0]
    return np.asarray(
        first + a[:, None] * (corners[faces, 1] - first) + b[:, None] * (corners[faces, 2] - first)
    )


def visible_fractions(
    moment: Moment,
    cameras: tuple[Camera, ...],
    size_wh_px: tuple[int, int],
    actors: list[int],
    points_global: FloatArray,
) -> FloatArray:
    """Return the visible share of each actor.

    A surface point counts when it falls into an image and the ray to it first meets the same
    actor; parts hidden by
    the actor itself count as visible.

    Args:
        moment: The world at the time of the keyframe.
        cameras: All cameras; each is taken at the moment's time.
        size_wh_px: Image width and height.
        actors: A indices into the world's actors.
        points_global: (A, K, 3) surface points of each, global frame.

    Returns:
        (A,) fractions in [0, 1].
    """
    count, samples = points_global.shape[:2]
    points = points_global.reshape(-1, 3)
    origins, seen = np.zeros_like(points), np.zeros(len(points), bool)
    global_from_ego = moment.world.global_from_ego(moment.time_s)
    for camera in cameras:
        global_from_cam = global_from_ego @ camera.ego_from_cam
        inside = _in_image(points, inverse(global_from_cam), camera, size_wh_px) & ~seen
        origins[inside] = global_from_cam[:3, 3]
        seen |= inside
    rays = points - origins
    rays /= np.maximum(np.linalg.norm(rays, axis=1, keepdims=True), 1e-9)
    hits = moment.trace(origins.astype(np.float32), rays.astype(np.float32))
    owner = np.full(len(points), -2, np.int32)
    owner[hits.found] = moment.world.owner[hits.face[hits.found]]
    wanted = np.repeat(np.asarray(actors, np.int32), samples)
    return np.asarray((seen & (owner == wanted)).reshape(count, samples).mean(axis=1))


def _in_image(
    points: FloatArray, cam_from_global: FloatArray, camera: Camera, size_wh_px: tuple[int, int]
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    local = transform_points(cam_from_global, points)
    depth = np.maximum(local[:, 2], 1e-6)
    u = camera.image_from_cam[0, 0] * local[:, 0] / depth + camera.image_from_cam[0, 2]
    v = camera.image_from_cam[1, 1] * local[:, 1] / depth + camera.image_from_cam[1, 2]
    width, height = size_wh_px
    return np.asarray(
        (local[:, 2] > 0.1) & (u > -0.5) & (u < width - 0.5) & (v > -0.5) & (v < height - 0.5)
    )


def visibility_token(fraction: float) -> str:
    """Return nuScenes' visibility token: 1 for 0-40 %, 2 for 40-60 %, 3 for 60-80 %, 4 above."""
    return str(1 + int(np.searchsorted([0.4, 0.6, 0.8], fraction, side="right")))
