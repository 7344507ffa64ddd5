# SPDX-License-Identifier: Apache-2.0
"""Greedy suppression of boxes that a better box already stands for; vectorised numpy.

All functions take boxes best score first and return the indices of the kept ones, in that order.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from simdistill_ros.core.frames import FloatArray

IndexArray = npt.NDArray[np.intp]
BoolArray = npt.NDArray[np.bool_]
FARTHEST_M = 1e6  # no two boxes are farther apart; keeps what a broken network gives finite
NEXT_CORNER = np.array([1, 2, 3, 0])
CORNER_X = np.array([[1.0], [-1.0], [-1.0], [1.0]])
CORNER_Y = np.array([[1.0], [1.0], [-1.0], [-1.0]])
# Rectangles that lie on each other would count common sides twice, or never, as rounding has it.
SHRINK = 1e-9
PARALLEL = 1e-12
LOOK_AHEAD = 2  # boxes looked at first, as a multiple of those that are wanted


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
    groups: Sequence[FloatArray], max_ious: Sequence[float], max_kept: int | None = None
) -> list[IndexArray]:
    """Apply `rotated_nms` to each group of boxes with its own limit; much faster than in turn.

    Args:
        groups: Boxes as of `rotated_nms`, (M, 5) each.
        max_ious: A limit a group.
        max_kept: The best kept ones of each group are enough.
    """
    if max_kept is None:
        return _rotated_survivors(groups, max_ious)
    # No box depends on worse ones, so that the best few are often all that must be looked at.
    heads = [boxes[: LOOK_AHEAD * max_kept] for boxes in groups]
    kept = _rotated_survivors(heads, max_ious)
    for index, (boxes, head) in enumerate(zip(groups, heads, strict=True)):
        if len(kept[index]) < max_kept and len(head) < len(boxes):
            kept[index] = _rotated_survivors([boxes], [max_ious[index]])[0]
    return [indices[:max_kept] for indices in kept]


def _rotated_survivors(groups: Sequence[FloatArray], max_ious: Sequence[float]) -> list[IndexArray]:
    boxes_bev = np.concatenate(groups)
    group = np.repeat(np.arange(len(groups)), [len(boxes) for boxes in groups])
    limits = np.array(max_ious)[group]
    better, worse = _near_pairs(boxes_bev, group)
    overlaps = rotated_iou(boxes_bev[better], boxes_bev[worse]) > limits[better]
    better, worse = better[overlaps], worse[overlaps]
    alive = np.ones(len(boxes_bev), dtype=np.bool_)
    while better.size:
        # Boxes that overlap no better living one stay, and all that overlap them fall.
        may_fall = np.zeros(len(boxes_bev), dtype=np.bool_)
        may_fall[worse] = True
        alive[worse[~may_fall[better]]] = False
        is_open = alive[better] & alive[worse]
        better, worse = better[is_open], worse[is_open]
    return [np.flatnonzero(alive[group == index]) for index in range(len(groups))]


def rotated_iou(boxes: FloatArray, others: FloatArray) -> FloatArray:
    """Return the intersection over union of P pairs of rotated rectangles, (P,).

    The outline of what two rectangles share is made of those parts of each one's sides that lie in
    the other; the area inside is the sum of the sides' cross products, cut to those parts.

    Args:
        boxes: (P, 5) as (x, y, length, width, yaw), metres and radians.
        others: (P, 5), likewise.
    """
    turn_rad = others[:, 4] - boxes[:, 4]
    turn = np.cos(turn_rad), np.sin(turn_rad)  # of the other, seen from the box
    x_m, y_m = _turned(others[:, 0] - boxes[:, 0], others[:, 1] - boxes[:, 1], -boxes[:, 4])
    half, other_half = boxes[:, 2:4].T / 2, others[:, 2:4].T / 2 * (1 - SHRINK)
    # Corners (4, P) of each in the frame of the other; the box's frame is where areas are added.
    along, across = CORNER_X * other_half[0], CORNER_Y * other_half[1]
    other_x = x_m + turn[0] * along - turn[1] * across
    other_y = y_m + turn[1] * along + turn[0] * across
    own_x, own_y = CORNER_X * half[0], CORNER_Y * half[1]
    seen_x = turn[0] * (own_x - x_m) + turn[1] * (own_y - y_m)
    seen_y = turn[0] * (own_y - y_m) - turn[1] * (own_x - x_m)
    shared = _share_inside(seen_x, seen_y, other_half) * _side_products(own_x, own_y)
    shared += _share_inside(other_x, other_y, half) * _side_products(other_x, other_y)
    intersection = np.maximum(shared.sum(0) / 2, 0.0)
    areas = boxes[:, 2] * boxes[:, 3] + others[:, 2] * others[:, 3]
    return np.asarray(intersection / np.maximum(areas - intersection, 1e-12))


def _turned(x: FloatArray, y: FloatArray, angle_rad: FloatArray) -> tuple[FloatArray, FloatArray]:
    cos, sin = np.cos(angle_rad), np.sin(angle_rad)
    return cos * x - sin * y, sin * x + cos * y


def _side_products(x: FloatArray, y: FloatArray) -> FloatArray:
    """Return the cross product of the ends of each side of corners (4, P), (4, P)."""
    return np.asarray(x * y[NEXT_CORNER] - y * x[NEXT_CORNER])


def _share_inside(x: FloatArray, y: FloatArray, half: FloatArray) -> FloatArray:
    """Return how much of each side lies in the rectangle |x| <= half[0], |y| <= half[1], (4, P)."""
    begin, end = np.zeros_like(x), np.ones_like(x)
    for start, size in ((x, half[0]), (y, half[1])):
        side = start[NEXT_CORNER] - start
        side = np.where(np.abs(side) < PARALLEL, PARALLEL, side)
        first, second = (-size - start) / side, (size - start) / side
        begin = np.maximum(begin, np.minimum(first, second))
        end = np.minimum(end, np.maximum(first, second))
    return np.asarray(np.maximum(end - begin, 0.0))


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
