# SPDX-License-Identifier: Apache-2.0
"""Head maps → detections in the bev frame: best cells, box values, suppression per task.

Head maps of a task, each (channels, X, Y): `heatmap` logits per class; `reg` offset of the centre
from its cell's lower corner, in cells; `height` of the centre, metres; `dim` log of length, width,
height; `rot` sine and cosine of the yaw; `vel` metres per second, bev frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from simdistill_ros.core.boxes import Detections
from simdistill_ros.core.frames import FloatArray, wrap_angle
from simdistill_ros.core.model_card import ModelCard
from simdistill_ros.core.model_card_parts import CircleNmsCard, TaskCard
from simdistill_ros.core.suppression import IndexArray, circle_nms, rotated_nms_of_groups

BEV_FRAME = "bev"
Map = npt.NDArray[np.floating[Any]]
TaskMaps = Mapping[str, Map]
LOGIT_MARGIN = 1e-3  # far above the rounding of logits and scores


def head_map_channels(classes: int) -> dict[str, int]:
    """Return the channels of each head map of a task of `classes` classes."""
    return {"heatmap": classes, "reg": 2, "height": 1, "dim": 3, "rot": 2, "vel": 2}


def decode_head_maps(
    head_maps: Sequence[TaskMaps],
    card: ModelCard,
    *,
    stamp_ns: int,
    score_threshold: float | None = None,
) -> Detections:
    """Return the boxes of one snapshot.

    Args:
        head_maps: Per task of the card, its maps (channels, X, Y) by name.
        card: The model card.
        stamp_ns: Stamp of the snapshot.
        score_threshold: Boxes must score above it; None takes the card's.

    Returns:
        Boxes in the bev frame, house convention, best score first.

    Raises:
        ValueError: If a task or map is missing, or a map has another shape or is not finite.
    """
    if len(head_maps) != len(card.tasks):
        raise ValueError(f"head maps: expected {len(card.tasks)} tasks, got {len(head_maps)}")
    threshold = card.decode.score_threshold if score_threshold is None else score_threshold
    candidates = []
    first_label = 0
    for task, maps in zip(card.tasks, head_maps, strict=True):
        candidates.append(
            task_candidates(
                maps,
                card,
                task,
                first_label=first_label,
                stamp_ns=stamp_ns,
                score_threshold=threshold,
            )
        )
        first_label += len(task.classes)
    firsts = np.cumsum([0, *map(len, candidates[:-1])])
    survivors = zip(firsts, suppressed(candidates, card), strict=True)
    kept = np.concatenate([first + indices for first, indices in survivors])
    joined = _concatenated(candidates)
    return joined.select(kept[np.argsort(-joined.scores[kept], kind="stable")])


def task_candidates(
    maps: TaskMaps,
    card: ModelCard,
    task: TaskCard,
    *,
    first_label: int,
    stamp_ns: int,
    score_threshold: float,
) -> Detections:
    """Return a task's boxes before suppression, best score first, bev frame.

    Raises:
        ValueError: As `decode_head_maps`.
    """
    maps = _checked(maps, len(task.classes), card.head_shape_xy)
    cells, scores = _peaks(maps["heatmap"], score_threshold, card.decode.peak_window)
    best = np.argsort(-scores, kind="stable")[: card.decode.max_candidates]
    label, x, y = np.unravel_index(cells[best], maps["heatmap"].shape)
    centers, sizes, yaws = _boxes_at(maps, x, y, card)
    spans = (card.decode.center_x_m, card.decode.center_y_m, card.decode.center_z_m)
    low, high = np.array(spans).T
    # The published range is that of the height the head regresses; see `raised_height`.
    regressed = np.column_stack([centers[:, :2], _values_at(maps["height"], x, y)[0]])
    inside = ((regressed >= low) & (regressed <= high)).all(1)
    return Detections(
        frame=BEV_FRAME,
        stamp_ns=stamp_ns,
        centers_m=centers[inside],
        sizes_lwh_m=sizes[inside],
        yaws_rad=yaws[inside],
        velocities_mps=_values_at(maps["vel"], x, y).T[inside],
        scores=scores[best][inside],
        labels=label[inside] + first_label,
        class_names=card.classes,
    )


def suppressed(candidates: Sequence[Detections], card: ModelCard) -> list[IndexArray]:
    """Return, per task, the indices of the candidates that survive the task's suppression."""
    kept: dict[int, IndexArray] = {}
    turned: dict[int, tuple[FloatArray, float]] = {}
    first_label = 0
    for index, (task, boxes) in enumerate(zip(card.tasks, candidates, strict=True)):
        best = slice(card.decode.max_before_nms)
        centers_xy_m = boxes.centers_m[best, :2]
        if isinstance(task.nms, CircleNmsCard):
            is_squared = card.legacy.squared_circle_distance
            radius_m = sqrt(task.nms.radius_m) if is_squared else task.nms.radius_m
            kept[index] = circle_nms(centers_xy_m, radius_m, card.decode.max_after_nms)
        else:
            scale = np.array(task.nms.scale)[boxes.labels[best] - first_label]
            sizes_m = boxes.sizes_lwh_m[best, :2] * scale[:, None]
            boxes_bev = np.column_stack([centers_xy_m, sizes_m, boxes.yaws_rad[best]])
            turned[index] = boxes_bev, task.nms.iou
        first_label += len(task.classes)
    if turned:
        groups, limits = zip(*turned.values(), strict=True)
        survivors = rotated_nms_of_groups(groups, limits, card.decode.max_after_nms)
        kept |= dict(zip(turned, survivors, strict=True))
    return [kept[index] for index in range(len(candidates))]


def _boxes_at(
    maps: TaskMaps, x: IndexArray, y: IndexArray, card: ModelCard
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return centres (M, 3), sizes (M, 3) and yaws (M,) of the boxes at cells."""
    offsets = _values_at(maps["reg"], x, y)
    sizes = np.exp(_values_at(maps["dim"], x, y).T)
    sine, cosine = _values_at(maps["rot"], x, y)
    yaws = np.arctan2(sine, cosine)
    if card.legacy.lidar_box_convention:
        sizes = sizes[:, [1, 0, 2]]
        yaws = wrap_angle(-yaws - np.pi / 2)
    heights = _values_at(maps["height"], x, y)[0]
    if card.legacy.raised_height:
        heights = heights - sizes[:, 2] / 2
    cell_m = card.head_cell_m
    x_m = (x + offsets[0]) * cell_m + card.bev.x_m[0]
    y_m = (y + offsets[1]) * cell_m + card.bev.y_m[0]
    return np.column_stack([x_m, y_m, heights]), sizes, yaws


def _values_at(values: Map, x: IndexArray, y: IndexArray) -> FloatArray:
    """Return a map's values (channels, M) at cells, in double precision."""
    return np.asarray(values[:, x, y], dtype=np.float64)


def _sigmoid(logits: Map) -> FloatArray:
    return np.asarray((1 + np.tanh(logits.astype(np.float64) / 2)) / 2)


def _peaks(logits: Map, score_threshold: float, window: int) -> tuple[IndexArray, FloatArray]:
    """Return the cells that score above the threshold and are the best of those around them.

    Args:
        logits: (classes, X, Y).
        score_threshold: Only cells above it.
        window: Size of the square of cells around each one in which none may score higher.

    Returns:
        Ascending indices into the flattened logits, and the scores.
    """
    # Scores are exact, but computed only where the logit promises one above the threshold.
    share = min(max(score_threshold, 1e-12), 1 - 1e-12)
    cells = np.flatnonzero(logits > np.log(share / (1 - share)) - LOGIT_MARGIN)
    scores = _sigmoid(logits.ravel()[cells])
    is_peak = scores > score_threshold
    if window > 1:
        half = window // 2
        padding = ((0, 0), (half, half), (half, half))
        padded = np.pad(logits, padding, constant_values=-np.inf)
        windows = np.lib.stride_tricks.sliding_window_view(padded, (1, window, window))
        around = _sigmoid(windows[np.unravel_index(cells, logits.shape)])  # (M, 1, window, window)
        is_peak &= scores >= around.max(axis=(1, 2, 3))
    return cells[is_peak], scores[is_peak]


def _checked(maps: TaskMaps, classes: int, shape_xy: tuple[int, int]) -> dict[str, Map]:
    channels = head_map_channels(classes)
    missing = sorted(channels.keys() - maps.keys())
    if missing:
        raise ValueError(f"head maps: expected {sorted(channels)}, got none for {missing}")
    checked = {}
    for name, count in channels.items():
        values = np.asarray(maps[name])
        if values.shape != (count, *shape_xy):
            raise ValueError(
                f"head map {name}: expected shape {(count, *shape_xy)}, got {values.shape}"
            )
        # NaN and infinity show in the extremes, which are found without a map of flags.
        if not (np.isfinite(values.min()) and np.isfinite(values.max())):
            raise ValueError(f"head map {name}: expected finite numbers, got NaN or infinity")
        checked[name] = values
    return checked


def _concatenated(parts: Sequence[Detections]) -> Detections:
    fields = ("centers_m", "sizes_lwh_m", "yaws_rad", "velocities_mps", "scores", "labels")
    joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in fields}
    return replace(parts[0], **joined)
