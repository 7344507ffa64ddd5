# SPDX-License-Identifier: Apache-2.0
"""Learn a few samples by heart: the quickest proof that data, network, losses and scores agree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from simdistill_ros.command_line.terminal import progress_bar
from simdistill_ros.core.model_card import ModelCard
from simdistill_training.batch import Batch
from simdistill_training.ceiling import perfect_heads_of
from simdistill_training.config import ExperimentConfig
from simdistill_training.data.build import needs_points, open_index
from simdistill_training.data.dataset import SampleDataset, SampleOptions
from simdistill_training.data.loader import collate
from simdistill_training.data.splits import samples_of_split
from simdistill_training.evaluate import HeadMaps, evaluate_network
from simdistill_training.module import ExperimentModule
from simdistill_training.schedule import ScheduleConfig, learning_rate_factor
from simdistill_training.train import build_module

CEILINGS = ("mAP", "NDS", "mAP_of_present_classes")


def overfit(
    experiment: ExperimentConfig,
    card: ModelCard,
    folder: Path,
    *,
    tokens: tuple[str, ...] = (),
    count: int = 2,
    steps: int = 400,
    device: str = "cpu",
) -> dict[str, Any]:
    """Train on a few samples without augmentation and return the scores on the same samples.

    With them, as `ceiling`, come the mAP and NDS that perfect head maps have there.

    Args:
        experiment: Network, losses and learning rate; its schedule and augmentation do not apply.
        card: The network's sizes.
        folder: Where submission and scores go.
        tokens: Which samples; none takes `count` evenly spaced ones of the training split.
        count: How many samples when no tokens are given.
        steps: Optimiser steps, all samples in each.
        device: Where to train.

    Raises:
        ValueError: If a token is not in the training split.
    """
    dataset = few_samples(experiment, card, tokens, count)
    torch.manual_seed(experiment.run.seed)
    # Averaged weights would lag behind so short a training.
    experiment = replace(experiment, run=replace(experiment.run, ema_decay=0.0))
    module = build_module(experiment, card).to(device).train()
    teacher = module._teacher[0]
    if teacher is not None:
        teacher.to(device)
    batch = collate([dataset[position] for position in range(len(dataset))])
    if batch is None:
        raise ValueError("overfit: expected usable samples, but all have broken files")
    _learn(module, batch.to(device), experiment, steps)
    module.eval()

    def scores_of(heads_of: Callable[[Batch], HeadMaps], below: Path) -> dict[str, Any]:
        return evaluate_network(
            heads_of,
            dataset,
            version=experiment.data.version,
            folder=below,
            role=experiment.role,
            device=device,
            threshold=experiment.run.score_threshold,
        )

    ceiling = scores_of(lambda own: perfect_heads_of(module, own), folder / "ceiling")
    return {**scores_of(module.heads_of, folder), "ceiling": {n: ceiling[n] for n in CEILINGS}}


def few_samples(
    experiment: ExperimentConfig, card: ModelCard, tokens: tuple[str, ...], count: int
) -> SampleDataset:
    """Return the chosen samples of the training split, without augmentation."""
    data, index = experiment.data, open_index(experiment.data)
    dataroot = Path(data.dataroot)
    samples = samples_of_split(index, dataroot, data.version, data.train)
    names = index.tokens[samples]
    missing = sorted(set(tokens) - set(names.tolist()))
    if missing:
        raise ValueError(f"overfit: {', '.join(missing)} not in split {data.train!r}")
    chosen = samples[np.isin(names, tokens)]
    if not tokens:
        chosen = samples[np.linspace(0, len(samples) - 1, count).round().astype(int)]
    options = SampleOptions(
        card=card,
        lidar=data.lidar if needs_points(experiment) else None,
        min_points=data.min_points,
    )
    return SampleDataset(index, dataroot, chosen, options)


def _learn(module: ExperimentModule, batch: Any, experiment: ExperimentConfig, steps: int) -> None:
    optimizer = module.configure_optimizers()
    assert isinstance(optimizer, torch.optim.Optimizer)
    schedule = ScheduleConfig(steps=steps, kind="cosine", warmup_steps=min(20, steps))
    with progress_bar("overfit", steps) as bar:
        for step in range(steps):
            factor = learning_rate_factor(schedule, step) * experiment.optimizer.learning_rate
            for group in optimizer.param_groups:
                group["lr"] = factor * group["rate_factor"]
            losses = module.losses(batch, step / steps)
            total = torch.stack(list(losses.values())).sum()
            optimizer.zero_grad()
            torch.autograd.backward(total)
            if experiment.optimizer.clip_norm:
                parameters = [p for group in optimizer.param_groups for p in group["params"]]
                torch.nn.utils.clip_grad_norm_(parameters, experiment.optimizer.clip_norm)
            optimizer.step()
            bar.set_postfix(total=f"{float(total.detach()):.3f}", refresh=False)
            bar.update(1)
