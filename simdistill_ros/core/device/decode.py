# SPDX-License-Identifier: Apache-2.0
"""Head maps → boxes as tensor operations of fixed shape; the rules are `core/decode`'s.

All tasks are decoded at once, so that a frame costs a few dozen kernels, and only what is left of
each task's best candidates leaves the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, log, pi, sqrt

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from simdistill_ros.core.boxes import Detections
from simdistill_ros.core.decode import BEV_FRAME
from simdistill_ros.core.device.suppression import (
    circle_suppresses,
    greedy_keep,
    rotated_suppresses,
)
from simdistill_ros.core.model_card import ModelCard
from simdistill_ros.core.model_card_parts import CircleNmsCard, RotatedNmsCard

# Rounds of suppression before the first look; chains of boxes that long are rare, and go on after.
ROUNDS = 12
REGRESSIONS = ("reg", "height", "dim", "rot", "vel")
# Columns of a decoded box: centre, size, yaw, velocity, logit of the score, label.
BOX_COLUMNS = 11
INDEX_BITS = 32
HeadTensors = Sequence[dict[str, Tensor]]


@dataclass(frozen=True)
class Candidates:
    """Boxes before suppression, best score first; all tasks padded to the same number.

    Attributes:
        boxes: (T, M, BOX_COLUMNS) float32, bev frame.
        is_box: (T, M); the others are padding.
        suppresses: (T, M, M) as [better, worse].
        is_finite: () bool; whether all head maps were.
    """

    boxes: Tensor
    is_box: Tensor
    suppresses: Tensor
    is_finite: Tensor


class DeviceDecoder:
    """Decode the head maps of one model on one device."""

    def __init__(self, card: ModelCard, device: torch.device) -> None:
        """Keep the card's constants on the device."""
        self._card = card
        sizes = [len(task.classes) for task in card.tasks]
        spans = (card.decode.center_x_m, card.decode.center_y_m, card.decode.center_z_m)
        low, high = np.array(spans, dtype=np.float32).T
        self._low, self._high = (torch.tensor(side, device=device) for side in (low, high))
        first = np.cumsum([0, *sizes[:-1]])
        self._first_label = torch.tensor(first, dtype=torch.float32, device=device)[:, None]
        self._first_m = torch.tensor((card.bev.x_m[0], card.bev.y_m[0]), device=device)
        self._classes = max(sizes)
        cells = card.head_shape_xy[0] * card.head_shape_xy[1]
        self._count = min(card.decode.max_candidates, self._classes * cells)
        self._circles = _tasks_with(CircleNmsCard, card, device)
        self._rotated = _tasks_with(RotatedNmsCard, card, device)
        self._radius_m = torch.tensor(_radii_m(card), device=device)
        max_iou, scales = _overlaps(card)
        self._max_iou, self._scales = max_iou.to(device), scales.to(device)
        self._pairs = torch.triu_indices(self._count, self._count, 1, device=device)

    def candidates(self, heads: HeadTensors, logit_threshold: Tensor) -> Candidates:
        """Return the candidates of one snapshot.

        Args:
            heads: Per task of the card, its maps (1, channels, X, Y) by name.
            logit_threshold: () float32, on the device; see `logit`.
        """
        logits = self._logits(heads)  # (T, classes, X, Y)
        is_candidate = ((logits > logit_threshold) & self._is_peak(logits)).flatten(1)
        best = _best(logits.flatten(1), is_candidate, self._count)
        is_box = is_candidate.gather(1, best)
        width = logits.shape[-1]
        cells = logits.shape[-2] * width
        label, cell = best // cells, best % cells
        values = torch.cat(
            [task[name][0].flatten(1) for task in heads for name in REGRESSIONS]
        ).float()
        values = values.view(len(heads), -1, cells)  # (T, 10, X * Y)
        is_finite = values.isfinite().all() & self._is_finite(heads)
        picked = values.gather(2, cell[:, None].expand(-1, values.shape[1], -1)).transpose(1, 2)
        boxes, regressed = self._boxes(picked, cell // width, cell % width)
        is_box = is_box & ((regressed >= self._low) & (regressed <= self._high)).all(-1)
        is_box = is_box & (is_box.cumsum(1) <= self._card.decode.max_before_nms)
        suppresses = self._suppresses(boxes, label)
        score_logit = logits.flatten(1).gather(1, best)
        labels = label.float() + self._first_label
        boxes = torch.cat([boxes, score_logit[..., None], labels[..., None]], -1)
        return Candidates(boxes, is_box, suppresses, is_finite)

    def decode(self, heads: HeadTensors, logit_threshold: Tensor) -> tuple[Candidates, Tensor]:
        """Return the candidates, and the boxes that suppression leaves as one tensor.

        See `packed` for the tensor.
        """
        candidates = self.candidates(heads, logit_threshold)
        kept, is_final = greedy_keep(candidates.suppresses, candidates.is_box, ROUNDS)
        return candidates, self.packed(candidates, kept, is_final)

    def settled(self, candidates: Candidates) -> Tensor:
        """Return the packed boxes after as many rounds of suppression as it takes at most."""
        rounds = candidates.is_box.shape[1] + 1
        kept, is_final = greedy_keep(candidates.suppresses, candidates.is_box, rounds)
        return self.packed(candidates, kept, is_final)

    def packed(self, candidates: Candidates, kept: Tensor, is_final: Tensor) -> Tensor:
        """Return the kept boxes as one tensor that is copied to the host.

        Returns:
            (1 + T * max_after_nms, BOX_COLUMNS + 1) float32. The first row says whether suppression
            has settled and whether the head maps are finite; the others are boxes and whether they
            are some.
        """
        rank = kept.cumsum(1)
        kept = kept & (rank <= self._card.decode.max_after_nms)
        count = min(self._card.decode.max_after_nms, kept.shape[1])
        # The kept ones first, in their order.
        order = (
            torch.where(kept, rank, kept.shape[1] + 1).sort(dim=1, stable=True).indices[:, :count]
        )
        rows = torch.cat([candidates.boxes, kept[..., None].float()], -1)
        rows = rows.gather(1, order[..., None].expand(-1, -1, BOX_COLUMNS + 1)).flatten(0, 1)
        state = rows.new_zeros(1, BOX_COLUMNS + 1)
        state[0, 0], state[0, 1] = is_final.float(), candidates.is_finite.float()
        return torch.cat([state, rows])

    def _logits(self, heads: HeadTensors) -> Tensor:
        """Return float32 logits (T, classes, X, Y), -inf where a task has fewer classes."""
        shape = heads[0]["heatmap"].shape
        logits = heads[0]["heatmap"].new_full(
            (len(heads), self._classes, *shape[2:]), -inf, dtype=torch.float32
        )
        for index, task in enumerate(heads):
            logits[index, : task["heatmap"].shape[1]] = task["heatmap"][0]
        return logits

    def _is_finite(self, heads: HeadTensors) -> Tensor:
        return torch.stack([task["heatmap"].isfinite().all() for task in heads]).all()

    def _is_peak(self, logits: Tensor) -> Tensor:
        window = self._card.decode.peak_window
        if window == 1:
            return torch.ones_like(logits, dtype=torch.bool)
        return logits >= max_pool2d(logits, window, stride=1, padding=window // 2)

    def _boxes(self, picked: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return boxes (T, M, 9) at cells, and the centres that the head regressed (T, M, 3)."""
        card = self._card
        reg, height, dim, rot, velocity = torch.split(picked, [2, 1, 3, 2, 2], -1)
        sizes = dim.exp()
        yaw = torch.atan2(rot[..., :1], rot[..., 1:])
        if card.legacy.lidar_box_convention:
            sizes = torch.cat([sizes[..., 1:2], sizes[..., :1], sizes[..., 2:]], -1)
            yaw = (-yaw - pi / 2 + pi) % (2 * pi) - pi
        centre_height = height - sizes[..., 2:] / 2 if card.legacy.raised_height else height
        cells = torch.stack([x, y], -1).float() + reg
        centers_xy = cells * card.head_cell_m + self._first_m
        boxes = torch.cat([centers_xy, centre_height, sizes, yaw, velocity], -1)
        return boxes, torch.cat([centers_xy, height], -1)

    def _suppresses(self, boxes: Tensor, label: Tensor) -> Tensor:
        """Return (T, M, M) of boxes (T, M, 9) whose labels count within their task."""
        count = boxes.shape[1]
        suppresses = torch.zeros(len(boxes), count, count, dtype=torch.bool, device=boxes.device)
        if len(self._circles):
            centers = boxes[self._circles, :, :2]
            suppresses[self._circles] = circle_suppresses(centers, self._radius_m)
        if len(self._rotated):
            scale = self._scales.gather(1, label[self._rotated])[..., None]
            own = boxes[self._rotated]
            footprints = torch.cat([own[..., :2], own[..., 3:5] * scale, own[..., 6:7]], -1)
            suppresses[self._rotated] = rotated_suppresses(footprints, self._max_iou, self._pairs)
        return suppresses


def detections_of(packed: Tensor, card: ModelCard, stamp_ns: int) -> Detections:
    """Return the detections of packed boxes on the host, bev frame, best score first.

    Raises:
        ValueError: If a head map was not finite.
    """
    values = packed.numpy().astype(np.float64)
    if not values[0, 1]:
        raise ValueError("head maps: expected finite numbers, got NaN or infinity")
    rows = values[1:][values[1:, BOX_COLUMNS] > 0]
    scores = (1 + np.tanh(rows[:, 9] / 2)) / 2  # as `core/decode` has it, in float64
    order = np.argsort(-scores, kind="stable")
    rows, scores = rows[order], scores[order]
    return Detections(
        frame=BEV_FRAME,
        stamp_ns=stamp_ns,
        centers_m=rows[:, :3],
        sizes_lwh_m=rows[:, 3:6],
        yaws_rad=rows[:, 6],
        velocities_mps=rows[:, 7:9],
        scores=scores,
        labels=rows[:, 10].astype(np.int64),
        class_names=card.classes,
    )


def logit(score: float) -> float:
    """Return the value that a head's logit must exceed for a score to exceed `score`."""
    if score <= 0:
        return -inf
    return inf if score >= 1 else log(score / (1 - score))


def is_settled(packed: Tensor) -> bool:
    """Tell whether suppression had come to its end."""
    return bool(packed[0, 0])


def _best(logits: Tensor, is_candidate: Tensor, count: int) -> Tensor:
    """Return the indices (T, count) of the best logits, equal ones by index, candidates first.

    The bits of a float, with all but the sign of negative ones turned, read as an integer sort as
    the float does. With the index below them every key differs, so that the order does not depend
    on how the device sorts.
    """
    masked = torch.where(is_candidate, logits, -inf) + 0.0  # which turns -0 into 0
    bits = masked.view(torch.int32)
    ordered = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).long()
    index = torch.arange(logits.shape[1], device=logits.device)
    keys = (ordered << INDEX_BITS) + (logits.shape[1] - 1 - index)
    return keys.topk(count, dim=1).indices


def _tasks_with(kind: type, card: ModelCard, device: torch.device) -> Tensor:
    """Return the indices of the tasks with one kind of suppression."""
    indices = [index for index, task in enumerate(card.tasks) if isinstance(task.nms, kind)]
    return torch.tensor(indices, dtype=torch.long, device=device)


def _radii_m(card: ModelCard) -> list[float]:
    """Return the radius of each task with circle suppression."""
    rules = [task.nms for task in card.tasks if isinstance(task.nms, CircleNmsCard)]
    is_squared = card.legacy.squared_circle_distance
    return [sqrt(rule.radius_m) if is_squared else rule.radius_m for rule in rules]


def _overlaps(card: ModelCard) -> tuple[Tensor, Tensor]:
    """Return the largest overlap of each task with rotated boxes, and its classes' scales."""
    rules = [task.nms for task in card.tasks if isinstance(task.nms, RotatedNmsCard)]
    scales = torch.ones(len(rules), max(len(task.classes) for task in card.tasks))
    for row, rule in enumerate(rules):
        scales[row, : len(rule.scale)] = torch.tensor(rule.scale)
    return torch.tensor([rule.iou for rule in rules]), scales
