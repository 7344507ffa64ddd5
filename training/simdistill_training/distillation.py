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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from simdistill_ros.core.network.convolutions import ConvNorm
from simdistill_ros.core.network.student import BevFeatures
from simdistill_training import legacy_losses
from simdistill_training.losses import CODE_WEIGHTS, HeadMaps, share, summed_over_processes
from simdistill_training.targets import TaskTargets, codes_at_cells, object_mask
from simdistill_training.teacher.outputs import TeacherOutputs

AdapterKind = Literal["none", "linear", "conv"]
MaskKind = Literal["none", "objects", "teacher", "objects_or_teacher"]
NormKind = Literal["none", "teacher_scale", "standardised"]
DistanceKind = Literal["squared", "absolute", "channel_distribution"]
POSITIVE_SCORE = 0.1
STD_FLOOR = 1e-4


@dataclass(frozen=True)
class Ramp:
    """Weight over the course of training, as a factor.

    Attributes:
        rise_from: Progress (0..1) until which the factor is 0.
        rise_to: Progress from which the factor is 1; between, it rises linearly.
        fall_from: Progress from which it falls linearly to `end` at progress 1.
        end: Factor at progress 1.
    """

    rise_from: float = 0.0
    rise_to: float = 0.0
    fall_from: float = 1.0
    end: float = 1.0

    def __post_init__(self) -> None:
        """Refuse an order that is no ramp.

        Raises:
            ValueError: If the points are not in order within 0..1 or `end` is negative.
        """
        if not (0 <= self.rise_from <= self.rise_to <= self.fall_from <= 1 and self.end >= 0):
            raise ValueError(
                f"ramp: expected 0 <= rise_from <= rise_to <= fall_from <= 1, end >= 0; got {self}"
            )

    def factor(self, progress: float) -> float:
        """Return the factor at a progress of 0..1."""
        if progress < self.rise_to:
            return max(0.0, (progress - self.rise_from) / (self.rise_to - self.rise_from))
        if progress <= self.fall_from:
            return 1.0
        return 1 + (self.end - 1) * (progress - self.fall_from) / (1 - self.fall_from)


@dataclass(frozen=True)
class FeatureTerm:
    """One feature term.

    Attributes:
        enabled: Whether the term exists; a disabled one has no adapter either.
        weight: Weight in the total.
        adapter: What makes the student's map comparable: nothing, a 1x1 convolution, or 3x3
            convolution, norm and ReLU. Needed where channel counts differ.
        normalise: `teacher_scale` divides both maps by the teacher's deviation per channel;
            `standardised` gives each map zero mean and deviation one per channel.
        mask: Where differences count: everywhere, at objects, where the teacher scores, or both.
        background: Weight of everything outside the mask, relative to inside.
        distance: Of the maps; `channel_distribution` compares where in the BEV each channel has
            its mass (Kullback-Leibler), and takes no mask.
        temperature: Of `channel_distribution`.
        ramp: Weight over time.
    """

    enabled: bool = True
    weight: float = 1.0
    adapter: AdapterKind = "none"
    normalise: NormKind = "none"
    mask: MaskKind = "none"
    background: float = 0.0
    distance: DistanceKind = "squared"
    temperature: float = 1.0
    ramp: Ramp = field(default_factory=Ramp)

    def __post_init__(self) -> None:
        """Refuse negative weights and a mask that would not be used.

        Raises:
            ValueError: If a value is out of range or two options exclude each other.
        """
        if min(self.weight, self.background) < 0 or self.temperature <= 0:
            raise ValueError(
                f"distillation: expected weights >= 0 and a temperature > 0, got {self}"
            )
        if self.distance == "channel_distribution" and self.mask != "none":
            raise ValueError(
                f"distillation: distance channel_distribution takes no mask, got {self.mask}"
            )


@dataclass(frozen=True)
class PredictionTerm:
    """The prediction term.

    Attributes:
        enabled: Whether the term exists.
        class_weight: Weight of the heatmaps.
        box_weight: Weight of the boxes.
        beta: Power of the score difference in the quality focal loss.
        codes: Weights of the ten code numbers.
        trust_scores: Weigh each box by the teacher's score at its cell.
        ramp: Weight over time.
    """

    enabled: bool = True
    class_weight: float = 1.0
    box_weight: float = 0.25
    beta: float = 2.0
    codes: tuple[float, ...] = CODE_WEIGHTS
    trust_scores: bool = False
    ramp: Ramp = field(default_factory=Ramp)

    def __post_init__(self) -> None:
        """Refuse negative weights.

        Raises:
            ValueError: If a weight is negative or there are other than ten code weights.
        """
        if min(self.class_weight, self.box_weight, self.beta, *self.codes) < 0:
            raise ValueError(f"distillation.mmd_prediction: expected none below zero, got {self}")
        if len(self.codes) != len(CODE_WEIGHTS):
            raise ValueError(
                f"distillation.mmd_prediction.codes: expected ten weights, got {len(self.codes)}"
            )


@dataclass(frozen=True)
class LegacyTerms:
    """Published defects, for parity studies. All off means the working form.

    Attributes:
        cmd_over_all_elements: Mask inside the square, unclipped, mean over all elements, times 100.
        prediction_as_published: Double sigmoid for classes, all slots for boxes.
    """

    cmd_over_all_elements: bool = False
    prediction_as_published: bool = False


@dataclass(frozen=True)
class DistillationConfig:
    """All terms; see the module."""

    imd: FeatureTerm = field(default_factory=FeatureTerm)
    cmd: FeatureTerm = field(default_factory=lambda: FeatureTerm(adapter="conv", mask="objects"))
    mmd_feature: FeatureTerm = field(default_factory=FeatureTerm)
    mmd_prediction: PredictionTerm = field(default_factory=PredictionTerm)
    legacy: LegacyTerms = field(default_factory=LegacyTerms)

    @property
    def enabled(self) -> tuple[str, ...]:
        """Names of the terms that are switched on."""
        names = (item.name for item in fields(self) if item.name != "legacy")
        return tuple(name for name in names if getattr(self, name).enabled)


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
            adapted, truth = adapter(pairs[name][0]).float(), pairs[name][1].detach().float()
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
    return scores if kind == "teacher" else torch.maximum(objects, scores)


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
    scale = teacher.std(dims, keepdim=True).clamp(min=STD_FLOOR)
    if kind == "teacher_scale":
        return student / scale, teacher / scale
    own_scale = student.std(dims, keepdim=True).clamp(min=STD_FLOOR)
    return (
        (student - student.mean(dims, keepdim=True)) / own_scale,
        (teacher - teacher.mean(dims, keepdim=True)) / scale,
    )


def channel_divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return the divergence of each channel's distribution over the cells, mean over (B, C)."""
    ours = (student.flatten(2) / temperature).log_softmax(-1)
    theirs = (teacher.flatten(2) / temperature).log_softmax(-1)
    divergence = functional.kl_div(ours, theirs, reduction="none", log_target=True).sum(-1)
    return temperature**2 * divergence.mean()


def class_imitation(student: HeadMaps, teacher: HeadMaps, beta: float) -> Tensor:
    """Return the quality focal loss of all heatmaps on logits, per positive cell of the teacher.

    The target of each cell is the teacher's score; the loss is zero where both agree.
    """
    logits = _joined_heatmaps(student)
    quality = _joined_heatmaps(teacher).detach().sigmoid()
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


def _resized(mask: Tensor, maps: Tensor) -> Tensor:
    """Return the mask at the maps' size; a coarser cell takes the largest value inside."""
    if mask.shape[-2:] == maps.shape[-2:]:
        return mask
    return functional.adaptive_max_pool2d(mask, maps.shape[-2:])


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
