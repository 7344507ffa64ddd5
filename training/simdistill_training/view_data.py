# SPDX-License-Identifier: Apache-2.0
"""Draw what the network will see: inputs with boxes and LiDAR, the scene from above, targets."""

from __future__ import annotations

from pathlib import Path

import cv2

from simdistill_ros.command_line.terminal import progress
from simdistill_ros.core.model_card import ModelCard
from simdistill_training.config import ExperimentConfig
from simdistill_training.data.build import evaluation_dataset, open_index, training_dataset
from simdistill_training.data.dataset import SampleDataset, SampleOptions
from simdistill_training.data.loader import collate
from simdistill_training.pictures import best_target, sample_picture
from simdistill_training.targets import center_targets


def view_data(
    experiment: ExperimentConfig, card: ModelCard, folder: Path, *, count: int, augmented: bool
) -> list[Path]:
    """Write pictures of evenly spaced samples of the training split.

    Args:
        experiment: Whose data.
        card: The network's sizes.
        folder: Where the pictures go.
        count: How many.
        augmented: As in training; else as the vehicle would see them.

    Returns:
        The files.

    Raises:
        BrokenSampleError: If a file is missing or damaged.
    """
    index = open_index(experiment.data)
    dataset = training_dataset(experiment, card, index)
    if not augmented:
        dataset = evaluation_dataset(experiment, card, index, experiment.data.train)
    dataset = _with_points(dataset, experiment)
    folder.mkdir(parents=True, exist_ok=True)
    count = min(count, len(dataset))
    files = []
    for number in progress(range(count), "view-data", count):
        sample = dataset[(number, number * len(dataset) // count)]
        batch = collate([sample])
        if batch is None:
            continue
        targets = center_targets(batch.boxes, card, experiment.losses.targets)
        picture = sample_picture(card, batch, 0, best_target(targets, 0))
        file = folder / f"{number:03d}-{batch.tokens[0]}.png"
        cv2.imwrite(str(file), picture[..., ::-1])
        files.append(file)
    return files


def _with_points(dataset: SampleDataset, experiment: ExperimentConfig) -> SampleDataset:
    old = dataset.options
    options = SampleOptions(
        card=old.card,
        lidar=experiment.data.lidar,
        min_points=old.min_points,
        images=old.images,
        scene=old.scene,
        random_sweeps=old.random_sweeps,
        skip_broken=old.skip_broken,
        seed=old.seed,
    )
    return SampleDataset(dataset.index, dataset.dataroot, dataset.samples, options)
