# SPDX-License-Identifier: Apache-2.0
"""Supervised losses: heatmaps, box codes and depth.

Every normaliser is summed over all processes of a distributed run and divided by their number, so
that the averaged gradients are those of one process with the joined batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, distributed
from torch.nn import functional

from simdistill_training.targets import TaskTargets, codes_at_cells

HeadMaps = Sequence[Mapping[str, Tensor]]
CODE_WEIGHTS = (1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.2, 0.2)


@dataclass(frozen=True)
class DetectionWeights:
    """Weights of the supervised losses.

    Attributes:
        heatmap: Weight of the heatmaps.
        boxes: Weight of the box codes.
        codes: Weight of each of the ten code numbers.
    """

    heatmap: float = 1.0
    boxes: float = 0.25
    codes: tuple[float, ...] = CODE_WEIGHTS

    def __post_init__(self) -> None:
        """Refuse negative weights and a wrong number of them.

        Raises:
            ValueError: If there are other than ten code weights or one is negative.
        """
        if len(self.codes) != len(CODE_WEIGHTS):
            raise ValueError(f"loss weights: expected ten code weights, got {len(self.codes)}")
        if min(self.heatmap, self.boxes, *self.codes) < 0:
            raise ValueError(f"loss weights: expected none below zero, got {self}")


def detection_losses(
    head_maps: HeadMaps, targets: Sequence[TaskTargets], weights: DetectionWeights
) -> dict[str, Tensor]:
    """Return the weighted losses of all tasks by name, `task<n>/heatmap` and `task<n>/boxes`.

    Args:
        head_maps: Per task, maps (B, channels, X, Y); `heatmap` holds logits.
        targets: Per task.
        weights: Weights of the parts.
    """
    counts = [(task.heatmap.eq(1).sum(), task.mask.sum()) for task in targets]
    sums = summed_over_processes(torch.stack([torch.stack(pair) for pair in counts]).float())
    losses = {}
    for number, (maps, task) in enumerate(zip(head_maps, targets, strict=True)):
        peaks, objects = sums[number]
        heatmap = gaussian_focal_loss(maps["heatmap"].float(), task.heatmap)
        boxes = code_distance(codes_at_cells(maps, task.cell_index), task, weights.codes)
        losses[f"task{number}/heatmap"] = weights.heatmap * heatmap.sum() / share(peaks, floor=1.0)
        # The tiny addend is part of the published normaliser.
        losses[f"task{number}/boxes"] = weights.boxes * boxes.sum() / share(objects + 1e-4)
    return losses


def gaussian_focal_loss(logits: Tensor, heatmap: Tensor) -> Tensor:
    """Return the loss of every cell, computed on logits so that it never overflows.

    Cells of value 1 are positives with (1 - p)^2; others are negatives with p^2 (1 - value)^4.
    """
    probability = logits.sigmoid()
    positive = functional.softplus(-logits) * (1 - probability) ** 2
    negative = functional.softplus(logits) * probability**2 * (1 - heatmap) ** 4
    return torch.where(heatmap.eq(1), positive, negative)


def code_distance(codes: Tensor, targets: TaskTargets, code_weights: Sequence[float]) -> Tensor:
    """Return weighted absolute differences (B, S, 10), zero where no box or number is known."""
    known = targets.mask[..., None] & targets.codes.isfinite()
    difference = (codes - targets.codes.nan_to_num()).abs() * known
    return difference * codes.new_tensor(code_weights)


def depth_loss(
    depth: Tensor, labels: Tensor, form: Literal["binary", "categorical"] = "binary"
) -> Tensor:
    """Return how badly depth distributions explain measured depths, a mean over labelled pixels.

    Args:
        depth: (..., D, Hf, Wf), probabilities over D.
        labels: (..., Hf, Wf) int64, bin of the measured depth, -1 where there is none.
        form: `binary` sums the binary cross entropies of all bins; `categorical` is the negative
            log probability of the true bin.
    """
    is_known = labels >= 0
    rows = depth.movedim(-3, -1)[is_known].float().clamp(1e-7, 1 - 1e-6)  # (K, D)
    truth = labels[is_known]
    if form == "categorical":
        loss = -rows.gather(1, truth[:, None]).log().sum()
    else:
        one_hot = functional.one_hot(truth, depth.shape[-3]).to(rows.dtype)
        with torch.autocast(rows.device.type, enabled=False):
            loss = functional.binary_cross_entropy(rows, one_hot, reduction="sum")
    return loss / share(summed_over_processes(is_known.sum().float()), floor=1.0)


def summed_over_processes(count: Tensor) -> Tensor:
    """Return a count summed over the processes of a distributed run; as it is without one."""
    if _process_count() > 1:
        count = count.clone()
        distributed.all_reduce(count)
    return count


def share(total: Tensor, floor: float = 0.0) -> Tensor:
    """Return one process's share of a sum over all processes that is at least `floor`."""
    return total.clamp(min=floor) / _process_count()


def _process_count() -> int:
    is_running = distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size() if is_running else 1
