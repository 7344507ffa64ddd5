# SPDX-License-Identifier: Apache-2.0
"""Run one experiment, from its configuration to its last checkpoint; continue it after a kill."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning import Callback, LightningDataModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from simdistill_ros.command_line.terminal import wants_progress
from simdistill_ros.core.model_card import ModelCard, load_model_card
from simdistill_ros.core.network.student import Student
from simdistill_ros.replay.nuscenes_reader import load_nuscenes
from simdistill_ros.resources import model_folder
from simdistill_training.allocator import keep_freed_memory
from simdistill_training.batch import Batch
from simdistill_training.callbacks import LastCheckpoint, LossLog, ProgressBar
from simdistill_training.checkpoint import (
    LAST_CHECKPOINT,
    CheckpointError,
    load_checkpoint,
    plain_card,
    start_weights,
)
from simdistill_training.config import ExperimentConfig
from simdistill_training.data.build import (
    evaluation_dataset,
    evaluation_loader,
    open_index,
    training_dataset,
    training_loader,
)
from simdistill_training.distillation import DistillationConfig, Distiller
from simdistill_training.environment import environment
from simdistill_training.evaluate import RecordMaker
from simdistill_training.module import ExperimentModule, Validation
from simdistill_training.networks import (
    build_network,
    inherit,
    restore_network,
    student_channels,
    teacher_channels,
)
from simdistill_training.pictures import TrainingPictures
from simdistill_training.strict import config_as_dict
from simdistill_training.teacher.cache import TeacherCache, cache_folder
from simdistill_training.teacher.frozen import FrozenTeacher
from simdistill_training.teacher.own_size import covers_the_same, shows_the_same
from simdistill_training.teacher.teacher import Teacher

LOGGER = logging.getLogger(__name__)
CONFIG_FILE = "config.yaml"
# What a teacher and its student must have in common, besides what they see and where.
SHARED_CARD_PARTS = ("cameras", "tasks", "legacy")


@dataclass(frozen=True)
class Machine:
    """Where a training runs; everything else is the experiment's.

    Attributes:
        accelerator: Lightning's name: `auto`, `cpu`, `gpu`.
        devices: Devices a node.
        nodes: Nodes; SLURM and torchrun are recognised by Lightning.
        strategy: Lightning's name; `auto`, or `ddp` for several processes.
        progress: Show a progress bar, where there is a terminal.
    """

    accelerator: str = "auto"
    devices: int = 1
    nodes: int = 1
    strategy: str = "auto"
    progress: bool = True


class ExperimentData(LightningDataModule):
    """Loaders of an experiment; training goes on where the trainer's step is."""

    def __init__(self, experiment: ExperimentConfig, card: ModelCard) -> None:
        """Open the index and choose the samples."""
        super().__init__()
        index = open_index(experiment.data)
        self.experiment = experiment
        self.training = training_dataset(experiment, card, index)
        self.validation = evaluation_dataset(experiment, card, index, experiment.data.val)

    def train_dataloader(self) -> Any:
        """Return this process's batches that are left."""
        trainer = self.trainer
        assert trainer is not None
        return training_loader(
            self.experiment,
            self.training,
            steps_done=trainer.global_step,
            rank=trainer.global_rank,
            ranks=trainer.world_size,
        )

    def val_dataloader(self) -> Any:
        """Return this process's share of the validation split."""
        trainer = self.trainer
        assert trainer is not None
        return evaluation_loader(
            self.experiment, self.validation, rank=trainer.global_rank, ranks=trainer.world_size
        )

    def transfer_batch_to_device(
        self, batch: Any, device: torch.device, dataloader_idx: int
    ) -> Any:
        """Move a batch."""
        return batch.to(device) if isinstance(batch, Batch) else batch


def card_of(experiment: ExperimentConfig) -> ModelCard:
    """Return the card that the experiment names."""
    return load_model_card(model_folder(experiment.model))


def train(
    experiment: ExperimentConfig,
    folder: Path,
    *,
    card: ModelCard | None = None,
    resume: bool = False,
    machine: Machine | None = None,
) -> Path:
    """Train, and return the checkpoint.

    Args:
        experiment: What to do.
        folder: The run folder; made here.
        card: The network's sizes; None takes the experiment's model.
        resume: Go on from the folder's checkpoint where it has one.
        machine: Where to run; None uses one device.

    Raises:
        CheckpointError: If the folder already holds a run and `resume` is off, or if the run was
            made with another configuration, or if weights to start from do not fit.
        ValueError: If the teacher does not fit the student.
    """
    keep_freed_memory()
    card = card or card_of(experiment)
    machine = machine or Machine()
    last = folder / "checkpoints" / LAST_CHECKPOINT
    _check_folder(experiment, last, resume)
    module = build_module(experiment, card)
    data = ExperimentData(experiment, card)
    nusc = load_nuscenes(experiment.data.dataroot, experiment.data.version)
    maker = RecordMaker(data.validation, experiment.run.score_threshold)
    module.validation = Validation(maker, nusc, folder / "validation")
    trainer = make_trainer(experiment, folder, machine)
    if trainer.is_global_zero:
        _describe(experiment, card, folder)
    trainer.fit(
        module,
        datamodule=data,
        ckpt_path=str(last) if last.is_file() else None,
        weights_only=True,
    )
    return last


def build_module(experiment: ExperimentConfig, card: ModelCard) -> ExperimentModule:
    """Return the network in training with what it learns from.

    Raises:
        CheckpointError: If weights to start from do not fit.
        ValueError: If the teacher does not fit the student.
    """
    network = build_network(experiment, card)
    start_weights(network, experiment.start, card)
    distiller, teacher = None, None
    if experiment.distillation is not None or experiment.start.inherited:
        teacher = load_frozen_teacher(experiment, card)
        assert isinstance(network, Student)
        inherit(network, teacher.teacher, experiment.start.inherited)
    if experiment.distillation is not None and teacher is not None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(experiment.run.seed)
            distiller = Distiller(
                experiment.distillation, student_channels(card), teacher_channels(teacher.teacher)
            )
    cache = None
    if experiment.teacher_cache and teacher is not None:
        views = (card, experiment.data)
        cache = TeacherCache(cache_folder(Path(experiment.teacher_cache), teacher, views))
    return ExperimentModule(
        experiment, card, network, distiller=distiller, teacher=teacher, teacher_cache=cache
    )


def load_frozen_teacher(experiment: ExperimentConfig, card: ModelCard) -> FrozenTeacher:
    """Return the teacher to learn from.

    Raises:
        CheckpointError: If there is none, or its checkpoint does not cover it.
        ValueError: If it was trained for other cameras, views, grid or classes.
    """
    if not experiment.teacher_checkpoint:
        raise CheckpointError(
            "teacher_checkpoint: expected the run of a trained teacher; train it first "
            "(`simdistill train` with role teacher), or set distillation: null"
        )
    checkpoint = load_checkpoint(Path(experiment.teacher_checkpoint))
    teacher = restore_network(checkpoint)
    if not isinstance(teacher, Teacher):
        raise CheckpointError(f"{checkpoint.file}: expected a teacher's run, got a student's")
    theirs = checkpoint.card
    other = [n for n in SHARED_CARD_PARTS if getattr(theirs, n) != getattr(card, n)]
    if not shows_the_same(theirs.image, card.image):
        other.append("image, in more than its scale")
    if not covers_the_same(card, theirs):
        other.append("bev, lift.downsample_strides or bev_encoder, in more than finer cells")
    if other:
        raise ValueError(
            f"{checkpoint.file}: expected a teacher for the student's card {card.name}, "
            f"but its card {theirs.name} differs in {', '.join(other)}"
        )
    terms = experiment.distillation
    if terms is not None and theirs.head_shape_xy != card.head_shape_xy:
        _refuse_boxes_of_other_cells(terms)
    same_tables = theirs.image == card.image and _lifted_to(theirs) == _lifted_to(card)
    return FrozenTeacher(teacher, None if same_tables else theirs)


def _refuse_boxes_of_other_cells(terms: DistillationConfig) -> None:
    """Check that no term compares boxes, which are said from the cell they lie in."""
    if not terms.mmd_prediction.enabled:
        return
    asked = {
        "mmd_prediction.box_weight": terms.mmd_prediction.box_weight > 0,
        "legacy.prediction_as_published": terms.legacy.prediction_as_published,
    }
    names = ", ".join(name for name, is_asked in asked.items() if is_asked)
    if names:
        raise ValueError(
            f"distillation: expected no {names}, because the student's cells are finer than the "
            "teacher's and boxes are said from their cell; set it to 0 or false"
        )


def _lifted_to(card: ModelCard) -> tuple[object, ...]:
    return card.lift.stride, card.lift.depth_bins, card.bev


def make_trainer(experiment: ExperimentConfig, folder: Path, machine: Machine) -> Trainer:
    """Return Lightning's trainer for an experiment: one epoch that is the whole training."""
    run, schedule = experiment.run, experiment.schedule
    batches = schedule.steps * run.accumulate
    callbacks: list[Callback] = [
        LastCheckpoint(folder / "checkpoints", run.checkpoint_every),
        LossLog(folder / "losses.jsonl", run.log_every),
        TrainingPictures(),
    ]
    shows_bar = machine.progress and wants_progress()
    if shows_bar:
        callbacks.append(ProgressBar())
    return Trainer(
        accelerator=machine.accelerator,
        devices=machine.devices,
        num_nodes=machine.nodes,
        strategy=machine.strategy,
        precision=run.precision,
        max_epochs=1,
        max_steps=schedule.steps,
        accumulate_grad_batches=run.accumulate,
        gradient_clip_val=experiment.optimizer.clip_norm or None,
        sync_batchnorm=run.sync_norms,
        use_distributed_sampler=False,
        val_check_interval=min(run.validate_every * run.accumulate or batches, batches),
        num_sanity_val_steps=0,
        log_every_n_steps=run.log_every,
        logger=TensorBoardLogger(folder, name="", version="tensorboard"),
        callbacks=callbacks,
        enable_checkpointing=False,
        enable_progress_bar=shows_bar,
        enable_model_summary=False,
    )


def _check_folder(experiment: ExperimentConfig, last: Path, resume: bool) -> None:
    if not last.is_file():
        return
    if not resume:
        raise CheckpointError(
            f"{last}: the folder holds a run; add --resume or choose another --out"
        )
    before, now = config_as_dict(load_checkpoint(last).experiment), config_as_dict(experiment)
    changed = [key for key in now if now[key] != before.get(key)]
    if changed:
        raise CheckpointError(
            f"{last}: expected the configuration of the run, but {', '.join(changed)} differ; "
            "choose another --out"
        )


def _describe(experiment: ExperimentConfig, card: ModelCard, folder: Path) -> None:
    """Write what is needed to repeat the run."""
    folder.mkdir(parents=True, exist_ok=True)
    resolved = yaml.safe_dump(config_as_dict(experiment), sort_keys=False)
    (folder / CONFIG_FILE).write_text(resolved)
    (folder / "card.yaml").write_text(yaml.safe_dump(plain_card(card), sort_keys=False))
    (folder / "environment.json").write_text(json.dumps(environment(), indent=2) + "\n")
