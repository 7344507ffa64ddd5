# SPDX-License-Identifier: Apache-2.0
"""Run a student or a teacher on a batch: normalise the pixels, keep the maps between."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from simdistill_ros.core.model_card import ModelCard
from simdistill_ros.core.network.build import build_student
from simdistill_ros.core.network.student import BevFeatures, Lifted, Student
from simdistill_training.batch import Batch
from simdistill_training.checkpoint import Checkpoint, encoder_blocks, find_encoder, load_weights
from simdistill_training.config import ExperimentConfig, StartConfig
from simdistill_training.distillation import MapChannels
from simdistill_training.teacher.outputs import TeacherOutputs
from simdistill_training.teacher.teacher import Teacher

HeadMaps = list[dict[str, Tensor]]


# Part -> the student's modules and the teacher's that have the same sizes.
INHERITABLE = {
    "encoder": {"image_network.encoder": "encoder"},
    "neck": {"image_network.neck": "neck"},
    "bev_encoder": {"bev_network.encoder": "bev_encoder", "bev_network.neck": "bev_neck"},
    "head": {"bev_network.head": "head"},
}


class StudentOutputs(NamedTuple):
    """Depth and context of both branches, BEV maps, and head maps per task."""

    lifted: Lifted
    bev: BevFeatures
    heads: HeadMaps


class PixelNorm(nn.Module):
    """uint8 images to normalised ones, by the card's mean and deviation."""

    mean: Tensor
    std: Tensor

    def __init__(self, card: ModelCard) -> None:
        """Take the card's numbers."""
        super().__init__()
        shape = (1, 1, 3, 1, 1)
        self.register_buffer("mean", torch.tensor(card.image.mean).view(shape), persistent=False)
        self.register_buffer("std", torch.tensor(card.image.std).view(shape), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return (B, N, 3, H, W) float32 of (B, N, H, W, 3) uint8."""
        pixels = images.permute(0, 1, 4, 2, 3).float().div_(255.0)
        return (pixels - self.mean) / self.std


def run_student(student: Student, images: Tensor, batch: Batch) -> StudentOutputs:
    """Return everything the losses compare; `images` are normalised."""
    lifted: Lifted = student.image_network(images)
    pooled_camera, pooled_lidar = student.pool(lifted, batch.tables)
    bev = student.bev_network.features(pooled_camera, pooled_lidar)
    return StudentOutputs(lifted, bev, student.bev_network.heads(bev.fused))


def run_teacher(teacher: nn.Module, images: Tensor, batch: Batch) -> TeacherOutputs:
    """Return the teacher's maps; `images` are normalised."""
    outputs: TeacherOutputs = teacher(images, batch.tables, batch.points, batch.input_from_bev)
    return outputs


def heads_of(network: nn.Module, images: Tensor, batch: Batch) -> HeadMaps:
    """Return the head maps of a student or a teacher; `images` are normalised."""
    if isinstance(network, Teacher):
        return run_teacher(network, images, batch).heads
    heads: HeadMaps = network(images, batch.tables)
    return heads


def build_network(experiment: ExperimentConfig, card: ModelCard) -> Student | Teacher:
    """Return what the experiment trains, with seeded initial weights."""
    card = card.model_copy(update={"init_seed": experiment.run.seed})
    if experiment.teacher is not None:
        return Teacher(card, experiment.teacher)
    return build_student(card)


def restore_network(checkpoint: Checkpoint) -> Student | Teacher:
    """Return a run's network, in eval mode.

    Raises:
        CheckpointError: If the weights do not cover the network.
    """
    network = build_network(checkpoint.experiment, checkpoint.card)
    load_weights(network, checkpoint.network, checkpoint.file)
    return network.eval()


def student_channels(card: ModelCard) -> MapChannels:
    """Return the channels of the student's BEV maps."""
    lifted = card.lift.context_channels
    return MapChannels(camera=lifted, lidar=lifted, fused=card.fuser.channels)


def teacher_channels(teacher: Teacher) -> MapChannels:
    """Return the channels of the teacher's BEV maps."""
    return MapChannels(
        camera=teacher.camera_channels, lidar=teacher.lidar_channels, fused=teacher.fused_channels
    )


def inherit(student: Student, teacher: Teacher, parts: Iterable[str]) -> None:
    """Copy parts of the teacher into the student, in place.

    Args:
        student: The student.
        teacher: Its teacher.
        parts: Keys of `INHERITABLE`.

    Raises:
        CheckpointError: If a part of the two has other sizes.
    """
    for part in parts:
        for own, theirs in INHERITABLE[part].items():
            source = teacher.get_submodule(theirs).state_dict()
            load_weights(student.get_submodule(own), source, f"teacher, {theirs}")


def freeze_encoder(network: nn.Module, start: StartConfig) -> list[nn.Module]:
    """Stop the gradients that the experiment does not want.

    Returns:
        Modules that must stay in eval mode while the rest trains.

    Raises:
        ValueError: If the encoder has fewer blocks.
    """
    encoder = find_encoder(network)
    blocks = encoder_blocks(encoder)
    if start.frozen_encoder_blocks > len(blocks):
        raise ValueError(
            f"start.frozen_encoder_blocks: expected at most {len(blocks)}, "
            f"got {start.frozen_encoder_blocks}"
        )
    kept_in_eval: list[nn.Module] = []
    for block in blocks[: start.frozen_encoder_blocks]:
        block.requires_grad_(False)
        kept_in_eval.append(block)
    if start.frozen_encoder_norms:
        kept_in_eval += [m for m in encoder.modules() if isinstance(m, nn.BatchNorm2d)]
    return kept_in_eval
