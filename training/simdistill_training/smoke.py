# SPDX-License-Identifier: Apache-2.0
"""Shrink any experiment to what a CPU does in a minute: every part stays, every size goes down."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from simdistill_ros.core.model_card import ModelCard, model_card_from_dict
from simdistill_training.checkpoint import plain_card
from simdistill_training.config import ExperimentConfig
from simdistill_training.teacher.teacher import PillarConfig, SparseConfig, TeacherConfig

INPUT_HW = (64, 176)
RESIZED_WIDTH_PX = 192
BEV_CELLS = 64
STEPS = 20
VOXELS_PER_CELL = 8  # along x and y, in the sparse encoder


def smoke_card(card: ModelCard) -> ModelCard:
    """Return a card of the same kind with a small input, a coarse grid and few channels."""
    data = plain_card(card)
    data["image"] |= {"input_hw": INPUT_HW, "resized_width_px": RESIZED_WIDTH_PX}
    data["encoder"] = _small_encoder(data["encoder"])
    data["neck"]["channels"] = 32
    data["lift"] |= {
        "context_channels": 32,
        "hidden_channels": 32,
        "hidden_layers": min(1, card.lift.hidden_layers),
        "downsample_strides": [1],
    }
    data["lift"]["depth_bins"]["step_m"] = 2.0
    data["bev"]["cell_m"] = (card.bev.x_m[1] - card.bev.x_m[0]) / BEV_CELLS
    for block in data["compensation"].values():
        block |= {"heads": 4, "points": 4}
    data["fuser"]["channels"] = 32
    stages = data["bev_encoder"]["stages"]
    for stage in stages:
        stage |= {"blocks": 1, "channels": 32}
    data["bev_encoder"]["neck"]["channels"] = 32
    data["head"] = {"shared_channels": 32, "branch_channels": 16}
    data |= {"name": f"{card.name}-smoke", "weights": None, "training": None, "metrics": None}
    return model_card_from_dict(data)


def smoke_experiment(experiment: ExperimentConfig, card: ModelCard) -> ExperimentConfig:
    """Return the experiment with few steps, small batches and a small teacher.

    Args:
        experiment: What to shrink.
        card: The shrunk card, whose cells the teacher must fit.
    """
    run = replace(
        experiment.run,
        batch_size=2,
        accumulate=1,
        precision="32-true",
        sync_norms=False,
        ema_decay=min(experiment.run.ema_decay, 0.9),
        validate_every=0,
        checkpoint_every=10,
        log_every=5,
    )
    start = replace(experiment.start, weights="", frozen_encoder_blocks=0)
    is_taught = bool(experiment.teacher_checkpoint)
    return replace(
        experiment,
        name=f"{experiment.name}-smoke",
        data=replace(experiment.data, workers=0),
        start=start,
        schedule=replace(experiment.schedule, steps=STEPS, warmup_steps=min(5, STEPS)),
        run=run,
        teacher=smoke_teacher(experiment.teacher, card) if experiment.teacher else None,
        # Where the shrunk teacher's run is by default.
        teacher_checkpoint=f"{experiment.teacher_checkpoint}-smoke" * is_taught,
    )


def smoke_teacher(teacher: TeacherConfig, card: ModelCard) -> TeacherConfig:
    """Return a small teacher with the same kind of LiDAR encoder."""
    cell_m = card.bev.cell_m
    return replace(
        teacher,
        pillars=PillarConfig(
            cell_m=cell_m / 2,
            z_m=teacher.pillars.z_m,
            point_channels=16,
            stages=((1, 16, 2), (1, 32, 1)),
        ),
        sparse=SparseConfig(
            voxel_m=(cell_m / VOXELS_PER_CELL, cell_m / VOXELS_PER_CELL, 0.2),
            z_m=teacher.sparse.z_m,
            max_points=5,
            max_voxels_train=20_000,
            max_voxels=20_000,
            stage_channels=(8, 8, 16, 16),
            out_channels=16,
            blocks=1,
        ),
    )


def _small_encoder(encoder: dict[str, Any]) -> dict[str, Any]:
    if encoder["kind"] == "swin":
        return encoder | {"embed_channels": 24, "depths": [1, 1, 1, 1], "heads": [1, 2, 3, 6]}
    if encoder["kind"] == "resnet":
        return encoder | {"depths": [1, 1, 1, 1], "base_channels": 16}
    return encoder
