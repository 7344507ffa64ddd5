# SPDX-License-Identifier: Apache-2.0
"""Suppression of boxes as tensor operations of fixed shape; the rules are `core/suppression`'s.

All functions take boxes best score first, (..., M, values) for any number of tasks at once.
"""

from __future__ import annotations

import torch
from torch import Tensor


def circle_suppresses(centers_xy_m: Tensor, radius_m: Tensor) -> Tensor:
    """Tell which box lies within a radius of which better one, (..., M, M) as [better, worse].

    Args:
        centers_xy_m: (..., M, 2).
        radius_m: (...), one a task.
    """
    between = centers_xy_m[..., :, None, :] - centers_xy_m[..., None, :, :]
    return _only_worse(between.square().sum(-1) <= radius_m.square()[..., None, None])


def rotated_suppresses(boxes_bev: Tensor, max_iou: Tensor, pairs: Tensor) -> Tensor:
    """Tell which box overlaps which better one too much, (T, M, M) as [better, worse].

    Args:
        boxes_bev: (T, M, 5) as (x, y, length, width, yaw), metres and radians.
        max_iou: (T,); a box at it is kept.
        pairs: (2, M * (M - 1) / 2), all [better, worse]: `torch.triu_indices(M, M, 1)`.
    """
    tasks, count, _ = boxes_bev.shape
    overlap = rotated_iou(boxes_bev[:, pairs[0]], boxes_bev[:, pairs[1]])
    suppresses = torch.zeros(tasks, count, count, dtype=torch.bool, device=boxes_bev.device)
    suppresses[:, pairs[0], pairs[1]] = overlap > max_iou[:, None]
    return suppresses


def rotated_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Return the intersection over union of rotated rectangles, elementwise over (..., 5).

    In the frame of `others`, the outline of `boxes` is walked and every point of it is moved to the
    nearest point of the other rectangle. The area that the moved outline encloses is the overlap:
    what lies outside collapses onto the edges and encloses nothing. So there are no cases, and
    edges that lie on each other do no harm.
    """
    x, y = _corners_in(boxes, others)
    half_x, half_y = others[..., 2:3] / 2, others[..., 3:4] / 2
    overlap = _clamped_area(x, y, half_x, half_y)
    areas = boxes[..., 2] * boxes[..., 3] + others[..., 2] * others[..., 3]
    return overlap / (areas - overlap).clamp(min=1e-12)


def greedy_keep(suppresses: Tensor, is_box: Tensor, rounds: int) -> tuple[Tensor, Tensor]:
    """Keep each box that no better kept one suppresses.

    Greedy suppression is the one assignment that satisfies its own rule. Starting from all boxes,
    each round settles at least the best unsettled box of each task, and in practice almost all.

    Args:
        suppresses: (T, M, M) as [better, worse].
        is_box: (T, M); others neither stay nor suppress.
        rounds: How often to apply the rule.

    Returns:
        Which boxes are kept, (T, M), and whether that is final, () bool.
    """
    edges = suppresses.to(torch.float32)
    kept = previous = is_box
    for _ in range(rounds):
        previous = kept
        is_suppressed = (kept[:, None].to(torch.float32) @ edges)[:, 0] > 0
        kept = is_box & ~is_suppressed
    return kept, (kept == previous).all()


def _only_worse(related: Tensor) -> Tensor:
    return related.triu(diagonal=1)


def _corners_in(boxes: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
    """Return x and y (..., 4) of rectangles' corners in the frames of others, anticlockwise."""
    offset_x, offset_y = boxes[..., 0] - frames[..., 0], boxes[..., 1] - frames[..., 1]
    cos, sin = frames[..., 4].cos(), frames[..., 4].sin()
    center_x, center_y = cos * offset_x + sin * offset_y, cos * offset_y - sin * offset_x
    turn = boxes[..., 4] - frames[..., 4]
    cos, sin = turn.cos() / 2, turn.sin() / 2
    length_x, length_y = cos * boxes[..., 2], sin * boxes[..., 2]
    width_x, width_y = -sin * boxes[..., 3], cos * boxes[..., 3]
    x = (length_x + width_x, width_x - length_x, -length_x - width_x, length_x - width_x)
    y = (length_y + width_y, width_y - length_y, -length_y - width_y, length_y - width_y)
    return torch.stack(x, -1) + center_x[..., None], torch.stack(y, -1) + center_y[..., None]


def _clamped_area(x: Tensor, y: Tensor, half_x: Tensor, half_y: Tensor) -> Tensor:
    """Return the area that polygons, clamped to |x| <= half_x and |y| <= half_y, enclose.

    Between the places where an edge crosses these four lines the clamped edge is straight, so that
    its ends are enough. Elementwise over (..., corners).
    """
    edge_x, edge_y = x.roll(-1, -1) - x, y.roll(-1, -1) - y
    in_x, out_x = _crossings(x, edge_x, half_x)
    in_y, out_y = _crossings(y, edge_y, half_y)
    early, late = torch.maximum(in_x, in_y), torch.minimum(out_x, out_y)
    places = (
        torch.minimum(in_x, in_y),
        torch.minimum(early, late),
        torch.maximum(early, late),
        torch.maximum(out_x, out_y),
        torch.ones_like(x),
    )
    doubled = torch.zeros_like(x)
    start_x, start_y = _clamped(x, half_x), _clamped(y, half_y)
    for place in places:
        end_x = _clamped(x + place * edge_x, half_x)
        end_y = _clamped(y + place * edge_y, half_y)
        doubled = doubled + start_x * end_y - start_y * end_x
        start_x, start_y = end_x, end_y
    return doubled.sum(-1) / 2


def _crossings(start: Tensor, edge: Tensor, half: Tensor) -> tuple[Tensor, Tensor]:
    """Return where, from 0 to 1 along an edge, it enters and leaves the band of +-half."""
    moving = torch.where(edge.abs() < 1e-9, 1e-9, edge)
    one, other = ((-half - start) / moving).clamp(0, 1), ((half - start) / moving).clamp(0, 1)
    return torch.minimum(one, other), torch.maximum(one, other)


def _clamped(values: Tensor, half: Tensor) -> Tensor:
    return torch.minimum(torch.maximum(values, -half), half)
