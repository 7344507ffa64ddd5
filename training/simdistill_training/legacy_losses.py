# SPDX-License-Identifier: Apache-2.0
"""Distillation losses in their published form, for parity studies only.

Their defects are deliberate here: scores go through a sigmoid twice, axes are mixed, boxes are
compared at empty slots, and a sine is treated as an angle. `distillation` has the working form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from simdistill_training.losses import CODE_WEIGHTS, gaussian_focal_loss
from simdistill_training.targets import TaskTargets, codes_at_cells

CLIP = 1e-4
POSITIVE_SCORE = 0.1
SMOOTH_L1_BETA = 1 / 9
SINE_INDEX = 6
WEIGHT = 0.25


def clipped_scores(logits: Tensor) -> Tensor:
    """Return scores kept off 0 and 1."""
    return logits.sigmoid().clamp(CLIP, 1 - CLIP)


def clipped_focal_loss(logits: Tensor, heatmap: Tensor) -> Tensor:
    """Return the focal loss of every cell with scores kept off 0 and 1."""
    scores = clipped_scores(logits)
    return gaussian_focal_loss(torch.logit(scores), heatmap)


def masked_feature_loss(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Return 100 times the mean square over all elements; the mask weighs by its square."""
    return 100 * functional.mse_loss(student * mask, teacher * mask)


def quality_focal_loss(logits: Tensor, quality: Tensor, normaliser: float = 1.0) -> Tensor:
    """Return the elementwise quality focal loss over a normaliser of at least one."""
    entropy = functional.binary_cross_entropy_with_logits(logits, quality, reduction="none")
    return entropy * (logits.sigmoid() - quality).abs() ** 2 / max(normaliser, 1.0)


def score_distillation(student_scores: Tensor, teacher_scores: Tensor) -> Tensor:
    """Return the class term of one task from scores (B, classes, X, Y), which are not logits.

    The teacher's scores go through a second sigmoid, the student's are taken for logits, and maps
    are viewed as (classes, -1, classes).
    """
    loss = student_scores.new_zeros(())
    classes = student_scores.shape[1]
    for student, teacher in zip(student_scores, teacher_scores, strict=True):
        rows = student.reshape(classes, -1, classes)
        quality = teacher.sigmoid().reshape(classes, -1, classes)
        positives = (quality > POSITIVE_SCORE).sum(1, keepdim=True).float().clamp(min=1)
        entropy = functional.binary_cross_entropy_with_logits(rows, quality, reduction="none")
        loss = loss + (entropy * (rows.sigmoid() - quality).abs() ** 2 / positives).sum()
    return WEIGHT * loss


def sine_differences(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Return codes with number 6 replaced as if it were an angle: sin(a - b) in two parts."""
    angle, other = first[..., SINE_INDEX], second[..., SINE_INDEX]
    replaced_first, replaced_second = first.clone(), second.clone()
    replaced_first[..., SINE_INDEX] = angle.sin() * other.cos()
    replaced_second[..., SINE_INDEX] = angle.cos() * other.sin()
    return replaced_first, replaced_second


def weighted_smooth_l1(
    first: Tensor, second: Tensor, code_weights: Sequence[float] = CODE_WEIGHTS
) -> Tensor:
    """Return the smooth absolute difference of weighted codes, elementwise."""
    difference = (first - second) * first.new_tensor(code_weights)
    return functional.smooth_l1_loss(
        difference, torch.zeros_like(difference), reduction="none", beta=SMOOTH_L1_BETA
    )


def box_distillation(student_codes: Tensor, teacher_codes: Tensor) -> Tensor:
    """Return the box term of one task from codes (B, S, 10) of all slots, empty ones included."""
    student, teacher = sine_differences(student_codes, teacher_codes)
    return WEIGHT * weighted_smooth_l1(student, teacher).sum() / student.shape[1]


def prediction_distillation(
    student_maps: Mapping[str, Tensor], teacher_maps: Mapping[str, Tensor], targets: TaskTargets
) -> tuple[Tensor, Tensor]:
    """Return the class and the box term of one task."""
    return (
        score_distillation(
            clipped_scores(student_maps["heatmap"]), clipped_scores(teacher_maps["heatmap"])
        ),
        box_distillation(
            codes_at_cells(student_maps, targets.cell_index),
            codes_at_cells(teacher_maps, targets.cell_index),
        ),
    )
