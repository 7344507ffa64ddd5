# SPDX-License-Identifier: Apache-2.0
"""One experiment: everything that decides what is trained, on what, and how; one YAML file each.

Sizes of the network belong to the model card, which `model` names. Paths may be given on the
command line instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from simdistill_training.data.augmentation import ImageAugmentation, SceneAugmentation
from simdistill_training.data.lidar import LidarOptions
from simdistill_training.distillation import DistillationConfig
from simdistill_training.losses import DetectionWeights
from simdistill_training.schedule import ScheduleConfig
from simdistill_training.targets import TargetConfig
from simdistill_training.teacher.teacher import TeacherConfig

Role = Literal["teacher", "student"]
Precision = Literal["32-true", "16-mixed", "bf16-mixed"]


def _expect(condition: bool, key: str, expected: str, got: object) -> None:
    if not condition:
        raise ValueError(f"{key}: expected {expected}, got {got!r}")


@dataclass(frozen=True)
class DataConfig:
    """Which samples, and how they are changed for training.

    Attributes:
        dataroot: nuScenes-format folder.
        version: Name of its tables' folder.
        train: Split that is trained on: a name, or scenes separated by commas.
        val: Split that is validated on.
        cache: Folder for the index of the tables.
        lidar: LiDAR measurements per sample.
        min_points: LiDAR and radar points a box must hold to be trained on.
        class_balanced: Draw samples by class (CBGS) instead of each once a pass.
        images: Image augmentation.
        scene: Augmentation of points, boxes and cameras together.
        skip_broken: Leave samples with missing or damaged files out instead of stopping.
        workers: Loading processes; 0 loads in the training process.
        views: Augmented views that each sample has, the same for every seed, so that what the
            teacher makes of them can be kept; 0 augments anew each time.
    """

    dataroot: str
    version: str
    train: str
    val: str
    cache: str
    lidar: LidarOptions
    min_points: int
    class_balanced: bool
    images: ImageAugmentation
    scene: SceneAugmentation
    skip_broken: bool
    workers: int
    views: int = 0

    def __post_init__(self) -> None:
        """Refuse impossible numbers."""
        _expect(self.min_points >= 0, "data.min_points", "0 or more", self.min_points)
        _expect(self.workers >= 0, "data.workers", "0 or more", self.workers)
        _expect(self.views >= 0, "data.views", "0 or more", self.views)


@dataclass(frozen=True)
class StartConfig:
    """What the weights start from, and what of the encoder stays as it is.

    Attributes:
        encoder: "": random weights; `imagenet`: the package of weights for the card's encoder; or
            a safetensors file with the encoder's weights.
        weights: A run or a model package to start the whole network from, or a safetensors file
            with some of its parts, such as converted ones of a published teacher; "" for none.
            Whole networks may have seen images, depths and cells of other sizes, see `start_sizes`.
        inherited: Parts that begin with the teacher's weights, keys of `INHERITABLE`; they are
            trained on like the others.
        frozen_encoder_blocks: First blocks of the encoder that are not trained.
        frozen_encoder_norms: Keep the encoder's norm statistics; for small batches.
    """

    encoder: str
    weights: str
    frozen_encoder_blocks: int
    frozen_encoder_norms: bool
    inherited: tuple[Literal["encoder", "neck", "bev_encoder", "head"], ...] = ()

    def __post_init__(self) -> None:
        """Refuse impossible numbers."""
        blocks = self.frozen_encoder_blocks
        _expect(blocks >= 0, "start.frozen_encoder_blocks", "0 or more", blocks)


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW.

    Attributes:
        learning_rate: What the schedule's factor is multiplied with.
        weight_decay: Of all weights but those named below.
        encoder_factor: Factor on the learning rate of the image encoder.
        beta1: First moment's decay; the schedule may lower it.
        no_decay: Parameters whose name contains one of these are not decayed.
        clip_norm: Largest norm of the gradient; 0 for no limit.
    """

    learning_rate: float
    weight_decay: float
    encoder_factor: float
    beta1: float
    no_decay: tuple[str, ...]
    clip_norm: float

    def __post_init__(self) -> None:
        """Refuse numbers that cannot train."""
        _expect(self.learning_rate > 0, "learning_rate", "above 0", self.learning_rate)
        _expect(self.weight_decay >= 0, "weight_decay", "0 or more", self.weight_decay)
        _expect(self.encoder_factor >= 0, "encoder_factor", "0 or more", self.encoder_factor)
        _expect(0 <= self.beta1 < 1, "beta1", "0 up to 1", self.beta1)
        _expect(self.clip_norm >= 0, "clip_norm", "0 or more", self.clip_norm)


@dataclass(frozen=True)
class LossConfig:
    """Supervised losses.

    Attributes:
        detection: Weights of heatmaps and boxes.
        targets: How boxes become targets.
        depth_weight: Weight of LiDAR depth supervision of the depth heads; 0 for none.
        depth_form: `binary` or `categorical` cross entropy.
    """

    detection: DetectionWeights
    targets: TargetConfig
    depth_weight: float
    depth_form: Literal["binary", "categorical"]

    def __post_init__(self) -> None:
        """Refuse a negative weight."""
        _expect(self.depth_weight >= 0, "losses.depth_weight", "0 or more", self.depth_weight)


@dataclass(frozen=True)
class RunConfig:
    """How the training runs.

    Attributes:
        seed: Seed of weights, order and augmentation.
        batch_size: Samples per process and forward pass.
        accumulate: Forward passes per optimiser step.
        precision: Lightning's name of the arithmetic.
        ema_decay: Of the averaged weights, which are evaluated and shipped; 0 for none.
        sync_norms: Norm statistics over all processes; CUDA only.
        validate_every: Optimiser steps between validations; 0 validates at the end only.
        checkpoint_every: Optimiser steps between checkpoints.
        log_every: Optimiser steps between scalars.
        score_threshold: Boxes below are not scored in validation; None takes the card's.
    """

    seed: int
    batch_size: int
    accumulate: int
    precision: Precision
    ema_decay: float
    sync_norms: bool
    validate_every: int
    checkpoint_every: int
    log_every: int
    score_threshold: float | None

    def __post_init__(self) -> None:
        """Refuse impossible numbers."""
        for key in ("batch_size", "accumulate", "checkpoint_every", "log_every"):
            _expect(getattr(self, key) >= 1, f"run.{key}", "at least 1", getattr(self, key))
        _expect(self.seed >= 0, "run.seed", "0 or more", self.seed)
        _expect(self.validate_every >= 0, "run.validate_every", "0 or more", self.validate_every)
        _expect(0 <= self.ema_decay < 1, "run.ema_decay", "0 up to 1", self.ema_decay)


@dataclass(frozen=True)
class ExperimentConfig:
    """One experiment.

    Attributes:
        schema_version: Of this file.
        name: Of the experiment and its run folder.
        role: What is trained.
        model: Folder of the model card, or name of a shipped model.
        data: See `DataConfig`.
        start: See `StartConfig`.
        optimizer: See `OptimizerConfig`.
        schedule: See `ScheduleConfig`.
        losses: See `LossConfig`.
        run: See `RunConfig`.
        teacher: The teacher's parts; only in a teacher's experiment.
        teacher_checkpoint: The trained teacher to learn from; only with `distillation`.
        distillation: What is learnt from the teacher; None for a baseline.
        teacher_cache: Folder that keeps the teacher's maps of each view, so that each is computed
            once; needs `data.views`. "" computes them at every step.
    """

    schema_version: Literal[1]
    name: str
    role: Role
    model: str
    data: DataConfig
    start: StartConfig
    optimizer: OptimizerConfig
    schedule: ScheduleConfig
    losses: LossConfig
    run: RunConfig
    teacher: TeacherConfig | None
    teacher_checkpoint: str
    distillation: DistillationConfig | None
    teacher_cache: str = ""

    def __post_init__(self) -> None:
        """Refuse a teacher that distils, and distilling without anything to learn."""
        is_teacher = self.role == "teacher"
        _expect((self.teacher is not None) == is_teacher, "teacher",
                "parts for role teacher, null for role student", self.teacher)  # fmt: skip
        _expect(not (is_teacher and self.distillation is not None), "distillation",
                "null for role teacher", self.distillation)  # fmt: skip
        needed = self.distillation is not None and bool(self.distillation.enabled)
        _expect(needed or self.distillation is None, "distillation", "at least one term, or null",
                "none enabled")  # fmt: skip
        _expect(not (is_teacher and self.start.inherited), "start.inherited",
                "nothing for role teacher", self.start.inherited)  # fmt: skip
        _expect(not self.teacher_cache or self.data.views > 0, "data.views",
                "1 or more with a teacher_cache", self.data.views)  # fmt: skip
