# SPDX-License-Identifier: Apache-2.0
"""Triangle primitives from which every object is built.

A shape is a pair (vertices (V, 3) in metres, faces (F, 3) vertex indices). Winding does not
matter: shading turns
every normal towards its viewer.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int32]
Shape = tuple[FloatArray, IntArray]
Point = Sequence[float]

_HEXAHEDRON_FACES = np.array(
    [
        [0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1],
        [2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3],
    ],
    dtype=np.int32,
)  # fmt: skip


def box(center: Point, size: Point) -> Shape:
    """Return an axis-aligned box of `size` (x, y, z) metres around `center`."""
    half = np.asarray(size, dtype=np.float64) / 2.0
    corners = np.array([[x, y, z] for z in (-1, 1) for x in (-1, 1) for y in (-1, 1)]) * half
    return corners + np.asarray(center, dtype=np.float64), _HEXAHEDRON_FACES.copy()


def frustum(lower: Point, upper: Point) -> Shape:
    """Return a hexahedron between two level rectangles.

    Args:
        lower: (x0, x1, half_width, z) of the lower rectangle, which spans y =
            -half_width..half_width; metres.
        upper: The same for the upper rectangle.
    """
    corners = [
        [x, side * half_width, z]
        for x0, x1, half_width, z in (lower, upper)
        for x in (x0, x1)
        for side in (-1.0, 1.0)
    ]
    return np.array(corners, dtype=np.float64), _HEXAHEDRON_FACES.copy()


def tube(
    start: Point, end: Point, radius: float, end_radius: float | None = None, sides: int = 8
) -> Shape:
    """Return a closed cylinder or truncated cone from `start` to `end`; radii in metres."""
    first, last = np.asarray(start, dtype=np.float64), np.asarray(end, dtype=np.float64)
    axis = (last - first) / max(float(np.linalg.norm(last - first)), 1e-9)
    helper = np.array([0.0, 0.0, 1.0]) if abs(axis[2]) < 0.9 else np.array([1.0, 0.0, 0.0])
    side = np.cross(helper, axis)
    side /= np.linalg.norm(side)
    other = np.cross(axis, side)
    angles = (np.arange(sides) + 0.5) * (2.0 * np.pi / sides)
    ring = np.cos(angles)[:, None] * side + np.sin(angles)[:, None] * other  # (sides, 3)
    far_radius = radius if end_radius is None else end_radius
    vertices = np.concatenate([first + ring * radius, last + ring * far_radius, [first, last]])
    index = np.arange(sides)
    after = (index + 1) % sides
    faces = np.concatenate(
        [
            np.stack([index, after, index + sides], 1),
            np.stack([after, after + sides, index + sides], 1),
            np.stack([after, index, np.full(sides, 2 * sides)], 1),
            np.stack([index + sides, after + sides, np.full(sides, 2 * sides + 1)], 1),
        ]
    )
    return vertices, faces.astype(np.int32)


def ball(center: Point, radii: Point, rings: int = 5, sides: int = 8) -> Shape:
    """Return an ellipsoid of `radii` (x, y, z) metres with `rings` bands of latitude."""
    latitudes = np.linspace(-np.pi / 2, np.pi / 2, rings + 1)
    angles = np.arange(sides) * (2.0 * np.pi / sides)
    grid = np.stack(
        [
            np.cos(latitudes)[:, None] * np.cos(angles)[None, :],
            np.cos(latitudes)[:, None] * np.sin(angles)[None, :],
            np.broadcast_to(np.sin(latitudes)[:, None], (rings + 1, sides)),
        ],
        axis=-1,
    ).reshape(-1, 3)
    vertices = grid * np.asarray(radii, dtype=np.float64) + np.asarray(center, dtype=np.float64)
    return vertices, _grid_faces(rings + 1, sides)


def slab(profile_xz: Sequence[Point], half_width: float, bevel: float = 0.0) -> Shape:
    """Extrude a side view across y, with bevelled flanks.

    Args:
        profile_xz: (P, 2) outline in x and z, metres; must be star-shaped about its mean point.
        half_width: Half of the width across y, metres.
        bevel: How far the outline shrinks at the outer faces, metres; 0 for square edges.
    """
    outline = np.asarray(profile_xz, dtype=np.float64)
    middle = outline.mean(axis=0)
    spokes = outline - middle
    reach = np.linalg.norm(spokes, axis=1, keepdims=True)
    small = middle + spokes * np.maximum(1.0 - bevel / np.maximum(reach, 1e-6), 0.1)
    inner = max(half_width - bevel, 0.0)
    rings = [(small, -half_width), (outline, -inner), (outline, inner), (small, half_width)]
    count = len(outline)
    points = [np.stack([ring[:, 0], np.full(count, y), ring[:, 1]], 1) for ring, y in rings]
    hubs = np.array([[middle[0], -half_width, middle[1]], [middle[0], half_width, middle[1]]])
    vertices = np.concatenate([*points, hubs])
    index = np.arange(count)
    after = (index + 1) % count
    caps = [
        np.stack([index, after, np.full(count, 4 * count)], 1),
        np.stack([index + 3 * count, after + 3 * count, np.full(count, 4 * count + 1)], 1),
    ]
    return vertices, np.concatenate([_grid_faces(4, count), *caps]).astype(np.int32)


def panel(corners: Sequence[Point]) -> Shape:
    """Return a flat quadrilateral through four (x, y, z) corners given in order."""
    faces = np.array([[0, 1, 2], [0, 2, 3]], dtype=np.int32)
    return np.asarray(corners, dtype=np.float64), faces


def moved(shape: Shape, offset: Point, yaw_rad: float = 0.0, pitch_rad: float = 0.0) -> Shape:
    """Rotate about y by `pitch_rad` (positive lowers +x), about z by `yaw_rad`, then shift."""
    vertices, faces = shape
    cp, sp, cy, sy = np.cos(pitch_rad), np.sin(pitch_rad), np.cos(yaw_rad), np.sin(yaw_rad)
    pitch = np.array([[cp, 0.0, sp], [0.0, 1.0, 0.0], [-sp, 0.0, cp]])
    yaw = np.array([[cy, -sy, 0.0], [sy, cy, 0.0], [0.0, 0.0, 1.0]])
    return vertices @ (yaw @ pitch).T + np.asarray(offset, dtype=np.float64), faces


def _grid_faces(rows: int, columns: int) -> IntArray:
    """Triangulate a (rows, columns) grid of vertices that closes in the column direction."""
    row, column = np.meshgrid(np.arange(rows - 1), np.arange(columns), indexing="ij")
    here = (row * columns + column).ravel()
    right = (row * columns + (column + 1) % columns).ravel()
    lower = np.stack([here, right, here + columns], 1)
    upper = np.stack([right, right + columns, here + columns], 1)
    return np.asarray(np.concatenate([lower, upper]), dtype=np.int32)
