# SPDX-License-Identifier: Apache-2.0
"""Read a network from whatever holds one: a run folder, a checkpoint, a model package."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from simdistill_ros.core.model_card import ModelCard, load_model_card
from simdistill_ros.core.network.build import load_student
from simdistill_training.checkpoint import CARD_FILE, CheckpointError, load_checkpoint
from simdistill_training.config import DataConfig, Role
from simdistill_training.networks import restore_network


@dataclass(frozen=True)
class LoadedModel:
    """A network in eval mode and what belongs to it; `data` is None for a package."""

    network: nn.Module
    card: ModelCard
    role: Role
    data: DataConfig | None


def load_model(path: Path) -> LoadedModel:
    """Read a run folder, a checkpoint or a model package.

    Raises:
        CheckpointError: If it is none of them.
        ModelCardError: If the package's card or weights cannot be used.
    """
    is_run = path.is_file() or (path / "checkpoints").is_dir()
    if is_run:
        checkpoint = load_checkpoint(path)
        network = restore_network(checkpoint)
        experiment = checkpoint.experiment
        return LoadedModel(network, checkpoint.card, experiment.role, experiment.data)
    if not (path / CARD_FILE).is_file():
        raise CheckpointError(f"{path}: expected a run folder, a checkpoint or a model package")
    card = load_model_card(path)
    return LoadedModel(load_student(card), card, "student", None)
