# SPDX-License-Identifier: Apache-2.0
"""Greedy suppression of boxes that a better box already stands for; vectorised numpy.

All functions take boxes best score first and return the indices of the kept ones, in that order.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from simdistill_ros.core.frames import FloatArray, angles_of

IndexArray = npt.NDArray[np.intp]
BoolArray = npt.NDArray[np.bool_]
FARTHEST_M = 1e6  # no two boxes are farther apart; keeps what a broken network gives finite
NEXT_CORNER = np.array([1, 2, 3, 0])


def circle_nms(
    centers_xy_m: FloatArray, radius_m: float, max_kept: int | None = None
) -> IndexArray:
    """Keep boxes farther than `radius_m` from every better kept one.

    Args:
        centers_xy_m: (M, 2), best score first.
        radius_m: Distance; a box exactly at it is suppressed.
        max_kept: Stop after as many.
    """
    x, y = centers_xy_m.T
    alive = np.ones(len(x), dtype=np.bool_)
    kept: list[int] = []
    for index in range(len(x)):
        if len(kept) == max_kept:
            break
        if alive[index]:
            kept.append(index)
            rest = slice(index + 1, None)
            alive[rest] &= (x[index] - x[rest]) ** 2 + (y[index] - y[rest]) ** 2 > radius_m**2
    return np.array(kept, dtype=np.intp)


def rotated_nms(boxes_bev: FloatArray, max_iou: float) -> IndexArray:
    """Keep boxes whose overlap with every better kept one is at most `max_iou`.

    Args:
        boxes_bev: (M, 5) as (x, y, length, width, yaw), metres and radians, best score first.
        max_iou: Intersection over union above which the worse box is suppressed.
    """
    return rotated_nms_of_groups([boxes_bev], [max_iou])[0]


def rotated_nms_of_groups(
    groups: Sequence[FloatArray], max_ious: Sequence[float]
) -> list[IndexArray]:
    """Apply `rotated_nms` to each group of boxes with its own limit; much faster than in turn."""
    boxes_bev = np.concatenate(groups)
    group = np.repeat(np.arange(len(groups)), [len(boxes) for boxes in groups])
    limits = np.array(max_ious)[group]
    better, worse = _near_pairs(boxes_bev, group)
    may_overlap = _largest_iou(boxes_bev[better], boxes_bev[worse]) > limits[better] - 1e-6
    better, worse = better[may_overlap], worse[may_overlap]
    alive = np.ones(len(boxes_bev), dtype=np.bool_)
    while better.size:
        # Boxes that no better living one is near stay; their pairs are decided together.
        may_fall = np.zeros(len(boxes_bev), dtype=np.bool_)
        may_fall[worse] = True
        is_decided = ~may_fall[better]
        first, second = better[is_decided], worse[is_decided]
        falls = rotated_iou(boxes_bev[first], boxes_bev[second]) > limits[first]
        alive[second[falls]] = False
        is_open = ~is_decided & alive[better] & alive[worse]
        better, worse = better[is_open], worse[is_open]
    return [np.flatnonzero(alive[group == index]) for index in range(len(groups))]


def rotated_iou(boxes: FloatArray, others: FloatArray) -> FloatArray:
    """Return the intersection over union of P pairs of rotated rectangles, (P,).

    Args:
        boxes: (P, 5) as (x, y, length, width, yaw), metres and radians.
        others: (P, 5), likewise.
    """
    count = len(boxes)
    origin = boxes[:, None, :2]  # near the pair, for precision
    both = np.concatenate([boxes, others])
    both_origins = np.concatenate([origin, origin])
    both_corners = _corners(both) - both_origins
    corners, other_corners = both_corners[:count], both_corners[count:]
    crossings, are_crossings = _edge_crossings(corners, other_corners)
    points = np.concatenate([corners, other_corners, crossings], axis=1)  # (P, 24, 2)
    are_inside = _is_inside(both_corners, np.concatenate([others, boxes]), both_origins)
    valid = np.concatenate([are_inside[:count], are_inside[count:], are_crossings], axis=1)
    intersection = _convex_area(points, valid)
    areas = boxes[:, 2] * boxes[:, 3] + others[:, 2] * others[:, 3]
    return np.asarray(intersection / np.maximum(areas - intersection, 1e-12))


def _near_pairs(boxes_bev: FloatArray, group: IndexArray) -> tuple[IndexArray, IndexArray]:
    """Return the better and the worse box of each pair of a group whose circumcircles meet.

    Sweeping along x leaves a few of all pairs to look at.
    """
    count = len(group)
    reach_m = np.minimum(np.hypot(boxes_bev[:, 2], boxes_bev[:, 3]) / 2, FARTHEST_M)
    widest_m = np.zeros(group.max(initial=0) + 1)
    np.maximum.at(widest_m, group, reach_m)
    # Groups one behind the other, out of each other's reach; then along x.
    gap_m = np.ptp(boxes_bev[:, 0]) + 2 * widest_m.max() + 1.0 if count else 0.0
    places_m = boxes_bev[:, 0] + group * gap_m
    order = np.argsort(places_m, kind="stable")
    # Each box, in order of place, with those that follow within reach (and a little more).
    ends_m = (places_m + reach_m + widest_m[group] + 1e-3)[order]
    followers = np.searchsorted(places_m[order], ends_m) - np.arange(count) - 1
    start = np.repeat(np.arange(count), followers)
    steps = np.arange(len(start)) - np.repeat(np.cumsum(followers) - followers, followers)
    first, second = order[start], order[start + 1 + steps]
    gaps_m = boxes_bev[first, :2] - boxes_bev[second, :2]
    is_near = gaps_m[:, 0] ** 2 + gaps_m[:, 1] ** 2 <= (reach_m[first] + reach_m[second]) ** 2
    is_near &= group[first] == group[second]
    first, second = first[is_near], second[is_near]
    return np.minimum(first, second), np.maximum(first, second)


def _largest_iou(boxes: FloatArray, others: FloatArray) -> FloatArray:
    """Return a bound of `rotated_iou` that costs little: the others grow to lie along the boxes."""
    cos, sin = np.cos(boxes[:, 4]), np.sin(boxes[:, 4])
    turn_rad = others[:, 4] - boxes[:, 4]
    turn_cos, turn_sin = np.abs(np.cos(turn_rad)), np.abs(np.sin(turn_rad))
    gap_x, gap_y = (others[:, :2] - boxes[:, :2]).T
    length, width = others[:, 2:4].T
    shared = _shared(cos * gap_x + sin * gap_y, boxes[:, 2], turn_cos * length + turn_sin * width)
    shared *= _shared(cos * gap_y - sin * gap_x, boxes[:, 3], turn_sin * length + turn_cos * width)
    shared = np.minimum(shared, length * width)
    areas = boxes[:, 2] * boxes[:, 3] + length * width
    return np.asarray(shared / np.maximum(areas - shared, 1e-12))


def _shared(gap: FloatArray, length: FloatArray, other: FloatArray) -> FloatArray:
    """Return how much two intervals with centres `gap` apart have in common."""
    longest = np.minimum(np.minimum(length, other), (length + other) / 2 - np.abs(gap))
    return np.asarray(np.maximum(longest, 0.0))


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
    start, edge = corners[:, :, None], (corners[:, NEXT_CORNER] - corners)[:, :, None]
    other_start = others[:, None]
    other_edge = (others[:, NEXT_CORNER] - others)[:, None]
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
    angles = np.where(valid, angles_of(offsets[..., 1], offsets[..., 0]), np.inf)
    order = np.argsort(angles, axis=1)
    polygon = np.take_along_axis(offsets, order[..., None], axis=1)
    is_valid = np.take_along_axis(valid, order, axis=1)
    polygon = np.where(is_valid[..., None], polygon, polygon[:, :1])  # closes without area
    area = 0.5 * _cross(polygon, np.roll(polygon, -1, axis=1)).sum(1)
    return np.where(valid.sum(1) >= 3, np.abs(area), 0.0)
