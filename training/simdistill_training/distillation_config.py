# SPDX-License-Identifier: Apache-2.0
"""Which terms distillation has, how much each weighs, and in which form."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Literal

from simdistill_training.losses import CODE_WEIGHTS

AdapterKind = Literal["none", "linear", "conv"]
MaskKind = Literal["none", "objects", "teacher", "objects_or_teacher"]
NormKind = Literal["none", "teacher_scale", "standardised"]
DistanceKind = Literal["squared", "absolute", "channel_distribution"]


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
