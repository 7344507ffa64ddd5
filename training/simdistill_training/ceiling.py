# SPDX-License-Identifier: Apache-2.0
"""What a network without fault would score: head maps made of the targets themselves.

A grid cell holds one object of each task, so of two pedestrians in one cell no network of this grid
finds both, and neither does one that suppression takes the second from. Scores of samples learnt by
heart are to be read against this, not against 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from simdistill_ros.core.decode import head_map_channels
from simdistill_training.batch import Batch
from simdistill_training.module import ExperimentModule
from simdistill_training.targets import CODE_BRANCHES, CODE_SIZE, TaskTargets, center_targets

CERTAIN, IMPOSSIBLE = 8.0, -12.0  # logits


def perfect_heads_of(module: ExperimentModule, batch: Batch) -> list[dict[str, Tensor]]:
    """Return head maps (B, channels, X, Y) per task that say what a batch's targets say."""
    config = module.experiment.losses.targets
    targets = center_targets(batch.boxes, module.card, config, device=batch.images.device)
    return perfect_heads(targets)


def perfect_heads(targets: Sequence[TaskTargets]) -> list[dict[str, Tensor]]:
    """Return head maps that are certain of each target's cell and of nothing else.

    Velocities that nobody knows are zero.
    """
    return [_perfect_maps(task) for task in targets]


def _perfect_maps(task: TaskTargets) -> dict[str, Tensor]:
    heatmap = task.heatmap
    logits = heatmap.new_full(heatmap.shape, IMPOSSIBLE)
    logits[heatmap >= 1.0] = CERTAIN
    samples, classes, x_cells, y_cells = heatmap.shape
    codes = heatmap.new_zeros(samples, x_cells * y_cells, CODE_SIZE)
    sample, slot = task.mask.nonzero(as_tuple=True)
    codes[sample, task.cell_index[sample, slot]] = task.codes[sample, slot].nan_to_num()
    planes = codes.transpose(1, 2).reshape(samples, CODE_SIZE, x_cells, y_cells)
    channels = head_map_channels(classes)
    parts = torch.split(planes, [channels[name] for name in CODE_BRANCHES], dim=1)
    return {"heatmap": logits, **dict(zip(CODE_BRANCHES, parts, strict=True))}
