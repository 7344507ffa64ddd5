# SPDX-License-Identifier: Apache-2.0
"""Greedy suppression of boxes that a better box already stands for; vectorised numpy.

All functions take boxes best score first and return the indices of the kept ones, in that order.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from simdistill_ros.core.frames import FloatArray

IndexArray = npt.NDArray[np.intp]
BoolArray = npt.NDArray[np.bool_]


def circle_nms(centers_xy_m: FloatArray, radius_m: float) -> IndexArray:
    """Keep boxes farther than `radius_m` from every better kept one.

    Args:
        centers_xy_m: (M, 2), best score first.
        radius_m: Distance; a box exactly at it is suppressed.
    """
    return _greedy(_squared_distances(centers_xy_m) <= radius_m**2)


def rotated_nms(boxes_bev: FloatArray, max_iou: float) -> IndexArray:
    """Keep boxes whose overlap with every better kept one is at most `max_iou`.

    Args:
        boxes_bev: (M, 5) as (x, y, length, width, yaw), metres and radians, best score first.
        max_iou: Intersection over union above which the worse box is suppressed.
    """
    suppresses = np.zeros((len(boxes_bev), len(boxes_bev)), dtype=np.bool_)
    reach_m = np.hypot(boxes_bev[:, 2], boxes_bev[:, 3]) / 2
    near = _squared_distances(boxes_bev[:, :2]) <= (reach_m[:, None] + reach_m[None]) ** 2
    better, worse = np.nonzero(np.triu(near, k=1))
    suppresses[better, worse] = rotated_iou(boxes_bev[better], boxes_bev[worse]) > max_iou
    return _greedy(suppresses)


def rotated_iou(boxes: FloatArray, others: FloatArray) -> FloatArray:
    """Return the intersection over union of P pairs of rotated rectangles, (P,).

    Args:
        boxes: (P, 5) as (x, y, length, width, yaw), metres and radians.
        others: (P, 5), likewise.
    """
    origin = boxes[:, None, :2]  # near the pair, for precision
    corners, other_corners = _corners(boxes) - origin, _corners(others) - origin
    crossings, are_crossings = _edge_crossings(corners, other_corners)
    points = np.concatenate([corners, other_corners, crossings], axis=1)  # (P, 24, 2)
    valid = np.concatenate(
        [
            _is_inside(corners, others, origin),
            _is_inside(other_corners, boxes, origin),
            are_crossings,
        ],
        axis=1,
    )
    intersection = _convex_area(points, valid)
    areas = boxes[:, 2] * boxes[:, 3] + others[:, 2] * others[:, 3]
    return np.asarray(intersection / np.maximum(areas - intersection, 1e-12))


def _squared_distances(centers_xy_m: FloatArray) -> FloatArray:
    """Return (M, M); axis by axis, which is several times faster than a sum over pairs."""
    x, y = centers_xy_m.T
    return np.asarray((x[:, None] - x) ** 2 + (y[:, None] - y) ** 2)


def _greedy(suppresses: BoolArray) -> IndexArray:
    alive = np.ones(len(suppresses), dtype=np.bool_)
    for index in range(len(suppresses)):
        if alive[index]:
            alive[index + 1 :] &= ~suppresses[index, index + 1 :]
    return np.flatnonzero(alive)


def _corners(boxes: FloatArray) -> FloatArray:
    """Return (P, 4, 2) corners, counter-clockwise."""
    half = boxes[:, None, 2:4] / 2 * np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]])
    cos, sin = np.cos(boxes[:, 4:]), np.sin(boxes[:, 4:])
    turned = [cos * half[..., 0] - sin * half[..., 1], sin * half[..., 0] + cos * half[..., 1]]
    return np.asarray(np.stack(turned, axis=-1) + boxes[:, None, :2])


def _is_inside(points: FloatArray, boxes: FloatArray, origin: FloatArray) -> BoolArray:
    """Tell which of (P, 4, 2) points, relative to `origin`, lie in their pair's box."""
    offsets = points + origin - boxes[:, None, :2]
    cos, sin = np.cos(boxes[:, 4:]), np.sin(boxes[:, 4:])
    along = cos * offsets[..., 0] + sin * offsets[..., 1]
    across = -sin * offsets[..., 0] + cos * offsets[..., 1]
    tolerance = 1e-9
    is_along = np.abs(along) <= boxes[:, 2:3] / 2 + tolerance
    is_across = np.abs(across) <= boxes[:, 3:4] / 2 + tolerance
    return np.asarray(is_along & is_across)


def _edge_crossings(corners: FloatArray, others: FloatArray) -> tuple[FloatArray, BoolArray]:
    """Return the (P, 16, 2) crossings of all edge pairs and which of them exist."""
    start, edge = corners[:, :, None], (np.roll(corners, -1, axis=1) - corners)[:, :, None]
    other_start = others[:, None]
    other_edge = (np.roll(others, -1, axis=1) - others)[:, None]
    between = other_start - start
    cross = _cross(edge, other_edge)
    is_parallel = np.abs(cross) < 1e-12
    divisor = np.where(is_parallel, 1.0, cross)
    along = _cross(between, other_edge) / divisor
    other_along = _cross(between, edge) / divisor
    exists = ~is_parallel & (along >= 0) & (along <= 1) & (other_along >= 0) & (other_along <= 1)
    points = start + along[..., None] * edge
    return points.reshape(len(corners), 16, 2), exists.reshape(len(corners), 16)


def _cross(first: FloatArray, second: FloatArray) -> FloatArray:
    return np.asarray(first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0])


def _convex_area(points: FloatArray, valid: BoolArray) -> FloatArray:
    """Return the area of the convex polygon with the valid ones of (P, Q, 2) points, (P,)."""
    count = np.maximum(valid.sum(1), 1)[:, None]
    centroid = (points * valid[..., None]).sum(1) / count
    offsets = points - centroid[:, None]
    angles = np.where(valid, np.arctan2(offsets[..., 1], offsets[..., 0]), np.inf)
    order = np.argsort(angles, axis=1)
    polygon = np.take_along_axis(offsets, order[..., None], axis=1)
    is_valid = np.take_along_axis(valid, order, axis=1)
    polygon = np.where(is_valid[..., None], polygon, polygon[:, :1])  # closes without area
    area = 0.5 * _cross(polygon, np.roll(polygon, -1, axis=1)).sum(1)
    return np.where(valid.sum(1) >= 3, np.abs(area), 0.0)
