# SPDX-License-Identifier: Apache-2.0
"""What the student learns from the teacher beyond the ground truth.

Four terms, each with its own weight and switch:

    imd             intra-modal: the student's camera map imitates the teacher's camera map
    cmd             cross-modal: the simulated-LiDAR map imitates the teacher's LiDAR map
    mmd_feature     multi-modal: the fused map imitates the teacher's fused map
    mmd_prediction  multi-modal: heatmaps and boxes imitate the teacher's

Teacher tensors are detached always. The published forms, defects included, are in `legacy_losses`
and are chosen with `LegacyTerms`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from simdistill_ros.core.network.convolutions import ConvNorm
from simdistill_ros.core.network.student import BevFeatures
from simdistill_training import legacy_losses
from simdistill_training.distillation_config import (
    AdapterKind,
    DistillationConfig,
    FeatureTerm,
    LegacyTerms,
    PredictionTerm,
    Ramp,
)
from simdistill_training.imitation import (
    box_imitation,
    class_imitation,
    distillation_mask,
    feature_loss,
    largest_inside,
)
from simdistill_training.losses import HeadMaps
from simdistill_training.targets import TaskTargets, object_mask
from simdistill_training.teacher.outputs import TeacherOutputs

__all__ = [
    "DistillationConfig",
    "Distiller",
    "FeatureTerm",
    "LegacyTerms",
    "MapChannels",
    "PredictionTerm",
    "Ramp",
]


@dataclass(frozen=True)
class MapChannels:
    """Channels of the maps (camera, LiDAR, fused) of one network."""

    camera: int
    lidar: int
    fused: int


class Distiller(nn.Module):
    """Compares a student with the teacher; holds the adapters, which are trained with it."""

    def __init__(
        self, config: DistillationConfig, student: MapChannels, teacher: MapChannels
    ) -> None:
        """Build the adapters of the enabled terms.

        Raises:
            ValueError: If a term without adapter would compare different channel counts.
        """
        super().__init__()
        self.config = config
        self.adapters = nn.ModuleDict()
        for name, part in (("imd", "camera"), ("cmd", "lidar"), ("mmd_feature", "fused")):
            term: FeatureTerm = getattr(config, name)
            if term.enabled:
                self.adapters[name] = _adapter(
                    name, term.adapter, getattr(student, part), getattr(teacher, part)
                )

    def forward(
        self,
        student: BevFeatures,
        student_heads: HeadMaps,
        teacher: TeacherOutputs,
        targets: Sequence[TaskTargets],
        progress: float = 1.0,
    ) -> dict[str, Tensor]:
        """Return the weighted losses of the enabled terms by name.

        Args:
            student: Maps (B, C, X, Y) of the student's branches, and fused.
            student_heads: Its head maps per task.
            teacher: The teacher's maps; no gradient reaches them.
            targets: Targets of every task, for masks and box cells.
            progress: Share of the training that is done, 0..1, for the ramps.
        """
        losses = {}
        pairs = {
            "imd": (student.camera, teacher.camera_bev),
            "cmd": (student.simulated_lidar, teacher.lidar_bev),
            "mmd_feature": (student.fused, teacher.fused_bev),
        }
        for name, adapter in self.adapters.items():
            term: FeatureTerm = getattr(self.config, name)
            truth = pairs[name][1].detach().float()
            adapted = _as_coarse_as(truth, adapter(pairs[name][0]).float())
            if name == "cmd" and self.config.legacy.cmd_over_all_elements:
                mask = _resized(object_mask(targets, clipped=False), adapted)
                loss = legacy_losses.masked_feature_loss(adapted, truth, mask)
            else:
                mask = _resized(distillation_mask(term.mask, targets, teacher.heads), adapted)
                loss = feature_loss(adapted, truth, mask, term)
            losses[name] = term.weight * term.ramp.factor(progress) * loss
        if self.config.mmd_prediction.enabled:
            factor = self.config.mmd_prediction.ramp.factor(progress)
            parts = self._prediction_losses(student_heads, teacher.heads, targets)
            losses |= {name: factor * loss for name, loss in parts.items()}
        return losses

    def _prediction_losses(
        self, student: HeadMaps, teacher: HeadMaps, targets: Sequence[TaskTargets]
    ) -> dict[str, Tensor]:
        term = self.config.mmd_prediction
        if self.config.legacy.prediction_as_published:
            pairs = [
                legacy_losses.prediction_distillation(ours, theirs, task)
                for ours, theirs, task in zip(student, teacher, targets, strict=True)
            ]
            classes, boxes = (torch.stack(values).sum() for values in zip(*pairs, strict=True))
        else:
            classes = class_imitation(student, teacher, term.beta)
            boxes = classes.new_zeros(())
            if term.box_weight > 0:
                boxes = box_imitation(student, teacher, targets, term)
        return {
            "mmd_prediction/classes": term.class_weight * classes,
            "mmd_prediction/boxes": term.box_weight * boxes,
        }


def _as_coarse_as(truth: Tensor, maps: Tensor) -> Tensor:
    """Return a student's maps with the teacher's cells; a coarser cell takes the mean inside."""
    if maps.shape[-2:] == truth.shape[-2:]:
        return maps
    return functional.adaptive_avg_pool2d(maps, (truth.shape[-2], truth.shape[-1]))


def _resized(mask: Tensor, maps: Tensor) -> Tensor:
    """Return the mask at the maps' size; a coarser cell takes the largest value inside."""
    return largest_inside(mask, maps.shape[-2:])


def _adapter(name: str, kind: AdapterKind, in_channels: int, out_channels: int) -> nn.Module:
    if kind == "linear":
        return nn.Conv2d(in_channels, out_channels, 1)
    if kind == "conv":
        return ConvNorm(in_channels, out_channels)
    if in_channels != out_channels:
        raise ValueError(
            f"distillation.{name}: expected an adapter (linear or conv), because the student has "
            f"{in_channels} channels and the teacher {out_channels}; got none"
        )
    return nn.Identity()
