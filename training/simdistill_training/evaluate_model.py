# SPDX-License-Identifier: Apache-2.0
"""Score a run or a model package, and turn a run into a package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from simdistill_ros.core.model_card import ModelCard, load_model_card
from simdistill_ros.core.model_card_parts import TrainingCard
from simdistill_ros.core.network.build import load_student
from simdistill_training.batch import Batch
from simdistill_training.checkpoint import (
    CARD_FILE,
    CheckpointError,
    load_checkpoint,
    write_package,
)
from simdistill_training.config import DataConfig, ExperimentConfig, Role
from simdistill_training.data.dataset import SampleDataset, SampleOptions
from simdistill_training.data.index import find_or_build_index
from simdistill_training.data.splits import samples_of_split
from simdistill_training.environment import git_commit
from simdistill_training.evaluate import evaluate_network
from simdistill_training.networks import HeadMaps, PixelNorm, heads_of, restore_network
from simdistill_training.strict import read_config

DEFAULT_CACHE = "out/cache"
SHIPPED_SCORES = ("mAP", "NDS", "mATE", "mASE", "mAOE", "mAVE", "mAAE")


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


def evaluate_model(
    path: Path,
    *,
    config: Path | None = None,
    dataroot: str | None = None,
    version: str | None = None,
    split: str | None = None,
    out: Path | None = None,
    threshold: float | None = None,
    device: str = "cpu",
    batch_size: int = 1,
    workers: int = 0,
) -> dict[str, Any]:
    """Return the benchmark's scores of a run or package; see `evaluate_network`.

    Args:
        path: Run folder, checkpoint or model package.
        config: Experiment that names the data, for packages.
        dataroot: Instead of the run's.
        version: Instead of the run's.
        split: Instead of the run's validation split.
        out: Folder of submission and scores.
        threshold: Boxes must score above it; None takes the card's.
        device: Where to run.
        batch_size: Samples at a time.
        workers: Loading processes.

    Raises:
        ValueError: If it is not known which data to use.
    """
    model = load_model(path)
    data = read_config(ExperimentConfig, config).data if config else model.data
    if data is not None:
        dataroot, version = dataroot or data.dataroot, version or data.version
        split = split or data.val
    if not (dataroot and version and split):
        raise ValueError(
            f"{path} does not say on what it was trained: give dataroot, version, split"
        )
    root = Path(dataroot)
    index = find_or_build_index(root, version, Path(data.cache if data else DEFAULT_CACHE))
    options = SampleOptions(model.card, lidar=None)
    if model.role == "teacher" and data is not None:
        options = replace(options, lidar=data.lidar)
    dataset = SampleDataset(index, root, samples_of_split(index, root, version, split), options)
    pixels = PixelNorm(model.card).to(device)
    network = model.network.to(device)

    def run(batch: Batch) -> HeadMaps:
        return heads_of(network, pixels(batch.images), batch)

    folder = path if path.is_dir() else path.parent
    return evaluate_network(
        run,
        dataset,
        version=version,
        folder=out or folder / f"evaluation-{split}",
        role=model.role,
        batch_size=batch_size,
        workers=workers,
        device=device,
        threshold=threshold,
    )


def package_run(
    run: Path,
    folder: Path,
    *,
    data: str,
    name: str | None = None,
    metrics: Mapping[str, Any] | None = None,
) -> ModelCard:
    """Write the model package of a student's run.

    Args:
        run: Run folder or checkpoint.
        folder: Where the package goes.
        data: What it was trained on, in words.
        name: Of the model; None keeps the card's.
        metrics: Scores; the summary goes into the card.

    Raises:
        CheckpointError: If it is a teacher's run.
    """
    checkpoint = load_checkpoint(run)
    if checkpoint.experiment.role != "student":
        raise CheckpointError(
            f"{checkpoint.file}: expected a student's run; teachers are not shipped"
        )
    card = checkpoint.card.model_copy(update={"name": name or checkpoint.card.name})
    commit = git_commit()
    return write_package(
        folder,
        card,
        restore_network(checkpoint),
        training=TrainingCard(commit=commit, data=data, seed=checkpoint.experiment.run.seed),
        metrics={key: float(metrics[key]) for key in SHIPPED_SCORES} if metrics else None,
    )
