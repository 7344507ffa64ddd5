# SPDX-License-Identifier: Apache-2.0
"""How far a student's maps and predictions are from the teacher's, one function a distance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from simdistill_training.distillation_config import (
    FeatureTerm,
    MaskKind,
    NormKind,
    PredictionTerm,
)
from simdistill_training.losses import HeadMaps, share, summed_over_processes
from simdistill_training.targets import TaskTargets, codes_at_cells, object_mask

POSITIVE_SCORE = 0.1
STD_FLOOR = 1e-4
# A channel that hardly varies says little: its deviation counts as at least this share of the mean.
RELATIVE_STD_FLOOR = 0.05


def distillation_mask(
    kind: MaskKind, targets: Sequence[TaskTargets], teacher_heads: HeadMaps
) -> Tensor:
    """Return the weight of each cell, (B, 1, X, Y) in 0..1, by the kind of mask."""
    objects = object_mask(targets)
    if kind == "none":
        return torch.ones_like(objects)
    if kind == "objects":
        return objects
    best = [maps["heatmap"].detach().float().amax(1, keepdim=True) for maps in teacher_heads]
    scores = torch.stack(best).amax(0).sigmoid()
    if kind == "teacher":
        return scores
    return torch.maximum(largest_inside(objects, scores.shape[-2:]), scores)


def largest_inside(maps: Tensor, shape_xy: Sequence[int]) -> Tensor:
    """Return maps (B, C, X, Y) with the cells of another shape, each the largest value inside."""
    if tuple(maps.shape[-2:]) == tuple(shape_xy):
        return maps
    return functional.adaptive_max_pool2d(maps, tuple(shape_xy))


def feature_loss(student: Tensor, teacher: Tensor, mask: Tensor, term: FeatureTerm) -> Tensor:
    """Return the distance of two maps (B, C, X, Y), a mean over channels and the mask's weight."""
    student, teacher = normalised_pair(student, teacher, term.normalise)
    if term.distance == "channel_distribution":
        return channel_divergence(student, teacher, term.temperature)
    difference = student - teacher
    per_cell = difference.square() if term.distance == "squared" else difference.abs()
    per_cell = per_cell.mean(1, keepdim=True)
    loss = _weighted_mean(per_cell, mask)
    if term.background > 0:
        loss = loss + term.background * _weighted_mean(per_cell, 1 - mask)
    return loss


def normalised_pair(student: Tensor, teacher: Tensor, kind: NormKind) -> tuple[Tensor, Tensor]:
    """Return both maps (B, C, X, Y) normalised per channel over the batch and all cells."""
    if kind == "none":
        return student, teacher
    dims = (0, 2, 3)
    scale = _deviation(teacher, dims)
    if kind == "teacher_scale":
        return student / scale, teacher / scale
    own_scale = _deviation(student, dims)
    return (
        (student - student.mean(dims, keepdim=True)) / own_scale,
        (teacher - teacher.mean(dims, keepdim=True)) / scale,
    )


def _deviation(maps: Tensor, dims: tuple[int, ...]) -> Tensor:
    deviation = maps.std(dims, keepdim=True)
    floor = (RELATIVE_STD_FLOOR * deviation.mean()).clamp(min=STD_FLOOR)
    return torch.maximum(deviation, floor)


def channel_divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return the divergence of each channel's distribution over the cells, mean over (B, C)."""
    ours = (student.flatten(2) / temperature).log_softmax(-1)
    theirs = (teacher.flatten(2) / temperature).log_softmax(-1)
    divergence = functional.kl_div(ours, theirs, reduction="none", log_target=True).sum(-1)
    return temperature**2 * divergence.mean()


def class_imitation(student: HeadMaps, teacher: HeadMaps, beta: float) -> Tensor:
    """Return the quality focal loss of all heatmaps on logits, per positive cell of the teacher.

    The target of each cell is the teacher's score; the loss is zero where both agree. Of finer
    cells the highest score inside the teacher's counts.
    """
    quality = _joined_heatmaps(teacher).detach().sigmoid()
    logits = largest_inside(_joined_heatmaps(student), quality.shape[-2:])
    entropy = functional.binary_cross_entropy_with_logits(logits, quality, reduction="none")
    loss = entropy * (logits.sigmoid() - quality).abs() ** beta
    positives = summed_over_processes((quality > POSITIVE_SCORE).sum().float())
    return loss.sum() / share(positives, floor=1.0)


def box_imitation(
    student: HeadMaps, teacher: HeadMaps, targets: Sequence[TaskTargets], term: PredictionTerm
) -> Tensor:
    """Return the weighted difference of box codes at the cells of real objects, per object.

    Raises:
        ValueError: If the teacher predicts no boxes.
    """
    if any("reg" not in maps for maps in teacher):
        raise ValueError(
            "distillation.mmd_prediction.box_weight: expected 0, because the published head gives "
            f"heatmaps only; got {term.box_weight}"
        )
    total = student[0]["heatmap"].new_zeros((), dtype=torch.float32)
    weight_sum = torch.zeros_like(total)
    for ours, theirs, task in zip(student, teacher, targets, strict=True):
        weight = task.mask.float()
        if term.trust_scores:
            weight = weight * _scores_at_cells(theirs, task)
        difference = codes_at_cells(ours, task.cell_index) - codes_at_cells(
            theirs, task.cell_index
        ).detach().where(task.mask[..., None], 0.0)
        difference = difference.abs() * difference.new_tensor(term.codes)
        total = total + (difference.sum(-1) * weight).sum()
        weight_sum = weight_sum + weight.sum()
    return total / share(summed_over_processes(weight_sum), floor=1.0)


def _scores_at_cells(head_maps: Mapping[str, Tensor], targets: TaskTargets) -> Tensor:
    best = head_maps["heatmap"].detach().float().amax(1).flatten(1).sigmoid()  # (B, X * Y)
    return best.gather(1, targets.cell_index)


def _joined_heatmaps(heads: HeadMaps) -> Tensor:
    return torch.cat([maps["heatmap"].float() for maps in heads], dim=1)


def _weighted_mean(values: Tensor, weight: Tensor) -> Tensor:
    total = summed_over_processes(weight.sum())
    return (values * weight).sum() / share(total, floor=1.0)
