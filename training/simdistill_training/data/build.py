# SPDX-License-Identifier: Apache-2.0
"""Experiment → datasets and loaders."""

from __future__ import annotations

from pathlib import Path

from torch.utils.data import DataLoader

from simdistill_ros.core.model_card import ModelCard
from simdistill_training.batch import Batch
from simdistill_training.config import DataConfig, ExperimentConfig
from simdistill_training.data.dataset import SampleDataset, SampleOptions
from simdistill_training.data.index import DatasetIndex, find_or_build_index
from simdistill_training.data.loader import batch_loader
from simdistill_training.data.sampling import TrainingSequence
from simdistill_training.data.splits import samples_of_split


def open_index(data: DataConfig) -> DatasetIndex:
    """Return the index of the experiment's dataroot, built where needed."""
    return find_or_build_index(Path(data.dataroot), data.version, Path(data.cache))


def training_dataset(
    experiment: ExperimentConfig, card: ModelCard, index: DatasetIndex
) -> SampleDataset:
    """Return the training split with augmentation."""
    data = experiment.data
    options = SampleOptions(
        card=card,
        lidar=data.lidar if needs_points(experiment) else None,
        min_points=data.min_points,
        images=data.images,
        scene=data.scene,
        random_sweeps=True,
        skip_broken=data.skip_broken,
        seed=experiment.run.seed,
        views=data.views,
    )
    dataroot = Path(data.dataroot)
    samples = samples_of_split(index, dataroot, data.version, data.train)
    return SampleDataset(index, dataroot, samples, options)


def evaluation_dataset(
    experiment: ExperimentConfig, card: ModelCard, index: DatasetIndex, split: str
) -> SampleDataset:
    """Return a split as the vehicle would see it; points for teachers only."""
    data = experiment.data
    options = SampleOptions(
        card=card,
        lidar=data.lidar if experiment.role == "teacher" else None,
        min_points=data.min_points,
        skip_broken=data.skip_broken,
    )
    dataroot = Path(data.dataroot)
    samples = samples_of_split(index, dataroot, data.version, split)
    return SampleDataset(index, dataroot, samples, options)


def needs_points(experiment: ExperimentConfig) -> bool:
    """Tell whether the training looks at LiDAR points."""
    is_distilled = experiment.distillation is not None
    return experiment.role == "teacher" or is_distilled or experiment.losses.depth_weight > 0


def training_loader(
    experiment: ExperimentConfig,
    dataset: SampleDataset,
    *,
    steps_done: int = 0,
    rank: int = 0,
    ranks: int = 1,
) -> DataLoader[Batch | None]:
    """Return the training's batches of this process, after `steps_done` optimiser steps."""
    run = experiment.run
    draws_per_step = run.batch_size * run.accumulate * ranks
    sequence = TrainingSequence(
        dataset.index,
        dataset.samples,
        draws=experiment.schedule.steps * draws_per_step,
        seed=run.seed,
        class_balanced=experiment.data.class_balanced,
        min_points=experiment.data.min_points,
        rank=rank,
        ranks=ranks,
        start=steps_done * draws_per_step,
    )
    return batch_loader(
        dataset,
        sequence,
        batch_size=run.batch_size,
        workers=experiment.data.workers,
        drop_last=True,
    )


def evaluation_loader(
    experiment: ExperimentConfig, dataset: SampleDataset, *, rank: int = 0, ranks: int = 1
) -> DataLoader[Batch | None]:
    """Return the batches of this process's share of a dataset, in order."""
    return batch_loader(
        dataset,
        range(rank, len(dataset), ranks),
        batch_size=experiment.run.batch_size,
        workers=experiment.data.workers,
        drop_last=False,
    )
