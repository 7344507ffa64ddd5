# SPDX-License-Identifier: Apache-2.0
"""Head maps → detections in the bev frame: best cells, box values, suppression per task.

Head maps of a task, each (channels, X, Y): `heatmap` logits per class; `reg` offset of the centre
from its cell's lower corner, in cells; `height` of the centre, metres; `dim` log of length, width,
height; `rot` sine and cosine of the yaw; `vel` metres per second, bev frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from simdistill_ros.core.boxes import Detections
from simdistill_ros.core.frames import FloatArray, angles_of, wrap_angle
from simdistill_ros.core.model_card import ModelCard
from simdistill_ros.core.model_card_parts import CircleNmsCard, DecodeCard, TaskCard
from simdistill_ros.core.suppression import IndexArray, circle_nms, rotated_nms_of_groups

BEV_FRAME = "bev"
Map = npt.NDArray[np.floating[Any]]
TaskMaps = Mapping[str, Map]
# What a head says of a cell besides its scores: two, one, three, two and two channels.
REGRESSIONS = ("reg", "height", "dim", "rot", "vel")
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
    boxes, counts = candidates(
        head_maps, card, card.tasks, stamp_ns=stamp_ns, score_threshold=score_threshold
    )
    kept = suppressed(boxes, counts, card)
    return boxes.select(kept[np.argsort(-boxes.scores[kept], kind="stable")])


def candidates(
    head_maps: Sequence[TaskMaps],
    card: ModelCard,
    tasks: Sequence[TaskCard],
    *,
    stamp_ns: int,
    score_threshold: float | None = None,
) -> tuple[Detections, list[int]]:
    """Return the boxes of tasks before suppression: task after task, each best score first.

    Args:
        head_maps: Per task, its maps.
        card: The model card.
        tasks: Which tasks of the card those are; labels count from the first one's classes.
        stamp_ns: Stamp of the snapshot.
        score_threshold: As of `decode_head_maps`.

    Returns:
        The boxes, bev frame, and how many of them are each task's.

    Raises:
        ValueError: As `decode_head_maps`.
    """
    if len(head_maps) != len(tasks):
        raise ValueError(f"head maps: expected {len(tasks)} tasks, got {len(head_maps)}")
    threshold = card.decode.score_threshold if score_threshold is None else score_threshold
    # A call of numpy costs more than its work on so few cells: all tasks' boxes are made at once.
    with np.errstate(over="ignore", invalid="ignore"):  # of sums that only tell what is finite
        checked = [
            _checked(maps, len(task.classes), card.head_shape_xy)
            for task, maps in zip(tasks, head_maps, strict=True)
        ]
    cells = _concatenated([_best_cells(maps, card.decode, threshold) for maps in checked])
    centers, sizes, yaws = _boxes_at(cells, card)
    spans = (card.decode.center_x_m, card.decode.center_y_m, card.decode.center_z_m)
    low, high = np.array(spans).T
    # The published range is that of the height the head regresses; see `raised_height`.
    regressed = np.column_stack([centers[:, :2], cells.height])
    inside = ((regressed >= low) & (regressed <= high)).all(1)
    first_labels = np.cumsum([0, *(len(task.classes) for task in tasks[:-1])])
    boxes = Detections(
        frame=BEV_FRAME,
        stamp_ns=stamp_ns,
        centers_m=centers[inside],
        sizes_lwh_m=sizes[inside],
        yaws_rad=yaws[inside],
        velocities_mps=cells.vel.T[inside],
        scores=cells.scores[inside],
        labels=(cells.class_in_task + first_labels[cells.task])[inside],
        class_names=card.classes,
    )
    return boxes, np.bincount(cells.task[inside], minlength=len(tasks)).tolist()


def suppressed(boxes: Detections, counts: Sequence[int], card: ModelCard) -> IndexArray:
    """Return the indices of the boxes that survive their task's suppression, task after task.

    Args:
        boxes: Those of `candidates`, of all tasks.
        counts: How many are each task's.
        card: The model card.
    """
    kept: dict[int, IndexArray] = {}
    turned: dict[int, tuple[FloatArray, float]] = {}
    firsts = np.cumsum([0, *counts[:-1]]).tolist()
    first_label = 0
    for index, (task, first, count) in enumerate(zip(card.tasks, firsts, counts, strict=True)):
        best = slice(first, first + min(count, card.decode.max_before_nms))
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
    return np.concatenate([first + kept[index] for index, first in enumerate(firsts)])


@dataclass(frozen=True)
class _Cells:
    """The best cells of head maps, M of them.

    Attributes:
        task: (M,) index of the task.
        class_in_task: (M,) class, counted within the task.
        x: (M,) cell along x.
        y: (M,) cell along y.
        scores: (M,) in [0, 1].
        values: (10, M) what the other maps say there, in double precision, in `REGRESSIONS`' order.
    """

    task: IndexArray
    class_in_task: IndexArray
    x: IndexArray
    y: IndexArray
    scores: FloatArray
    values: FloatArray

    @property
    def height(self) -> FloatArray:
        """(M,) regressed heights, metres."""
        return np.asarray(self.values[2])

    @property
    def vel(self) -> FloatArray:
        """(2, M) velocities, metres per second."""
        return np.asarray(self.values[8:10])


def _best_cells(maps: TaskMaps, rule: DecodeCard, score_threshold: float) -> _Cells:
    """Return the best cells of one task, best score first; `task` is 0."""
    heatmap = maps["heatmap"]
    cells, scores = _peaks(heatmap, score_threshold, rule.peak_window)
    best = np.argsort(-scores, kind="stable")[: rule.max_candidates]
    class_in_task, x, y = np.unravel_index(cells[best], heatmap.shape)
    values = np.concatenate([maps[name][:, x, y] for name in REGRESSIONS], dtype=np.float64)
    return _Cells(np.zeros_like(x), class_in_task, x, y, scores[best], values)


def _concatenated(parts: Sequence[_Cells]) -> _Cells:
    """Return the cells of all tasks, each with its task's index."""
    return _Cells(
        task=np.repeat(np.arange(len(parts)), [len(part.scores) for part in parts]),
        class_in_task=np.concatenate([part.class_in_task for part in parts]),
        x=np.concatenate([part.x for part in parts]),
        y=np.concatenate([part.y for part in parts]),
        scores=np.concatenate([part.scores for part in parts]),
        values=np.concatenate([part.values for part in parts], axis=1),
    )


def _boxes_at(cells: _Cells, card: ModelCard) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return centres (M, 3), sizes (M, 3) and yaws (M,) of the boxes at cells."""
    values = cells.values
    sizes = np.exp(values[3:6].T)
    yaws = angles_of(values[6], values[7])
    if card.legacy.lidar_box_convention:
        sizes = sizes[:, [1, 0, 2]]
        yaws = wrap_angle(-yaws - np.pi / 2)
    heights = cells.height
    if card.legacy.raised_height:
        heights = heights - sizes[:, 2] / 2
    cell_m = card.head_cell_m
    x_m = (cells.x + values[0]) * cell_m + card.bev.x_m[0]
    y_m = (cells.y + values[1]) * cell_m + card.bev.y_m[0]
    return np.column_stack([x_m, y_m, heights]), sizes, yaws


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
        # A sum that is finite has finite terms; one that is not may have overflowed.
        if not (isfinite(values.sum()) or np.isfinite(values).all()):
            raise ValueError(f"head map {name}: expected finite numbers, got NaN or infinity")
        checked[name] = values
    return checked
