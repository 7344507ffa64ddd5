# SPDX-License-Identifier: Apache-2.0
"""How fast samples are loaded and steps are made, and how long the network waits for data.

The teacher is untrained here: its speed does not depend on what it knows.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from simdistill_ros.core.model_card import ModelCard
from simdistill_ros.scenes.config import GeneratorConfig
from simdistill_ros.scenes.generate import generate_dataroot
from simdistill_training.allocator import keep_freed_memory
from simdistill_training.batch import Batch
from simdistill_training.config import ExperimentConfig
from simdistill_training.data.build import open_index, training_dataset, training_loader
from simdistill_training.distillation import Distiller
from simdistill_training.environment import environment
from simdistill_training.module import ExperimentModule
from simdistill_training.networks import build_network, student_channels, teacher_channels
from simdistill_training.strict import CONFIGS, read_config
from simdistill_training.teacher.frozen import FrozenTeacher
from simdistill_training.teacher.teacher import Teacher
from simdistill_training.train import card_of

VERSION = "v1.0-mini"
IMAGE_WH_PX = (1600, 900)  # those of nuScenes
ROLES = ("teacher", "student-baseline", "student-simdistill")


def measure_speed(
    models: Iterable[str], out: Path, *, device: str, steps: int, workers: int, batch_size: int
) -> dict[str, Any]:
    """Return samples and steps a second of the shipped experiments.

    Args:
        models: Which, such as `tiny`.
        out: Where a small dataroot is generated.
        device: Where the networks run.
        steps: Optimiser steps that are timed, after one that is not.
        workers: Loading processes.
        batch_size: Samples a step.
    """
    keep_freed_memory()
    dataroot = _scenes(out)
    results: dict[str, Any] = {"environment": environment(), "device": device, "experiments": {}}
    for model, role in itertools.product(models, ROLES):
        name = f"{role}-{model}"
        experiment = _experiment(name, dataroot, steps, workers, batch_size)
        results["experiments"][name] = _measure(experiment, card_of(experiment), device)
        print(name, results["experiments"][name], flush=True)
    return results


def _scenes(out: Path) -> Path:
    width, height = IMAGE_WH_PX
    folder = out / f"speed-scenes-{width}x{height}"
    if not (folder / VERSION / "splits.json").is_file():
        config = GeneratorConfig(
            out=folder,
            scenes=2,
            val_scenes=1,
            duration_s=2.0,
            width=width,
            height=height,
            version=VERSION,
            seed=5,
        )
        generate_dataroot(config)
    return folder


def _experiment(
    name: str, dataroot: Path, steps: int, workers: int, batch_size: int
) -> ExperimentConfig:
    experiment = read_config(ExperimentConfig, CONFIGS / f"{name}.yaml")
    data = replace(
        experiment.data,
        dataroot=str(dataroot),
        version=VERSION,
        train="sim_train",
        val="sim_val",
        cache=str(dataroot / "cache"),
        workers=workers,
    )
    return replace(
        experiment,
        data=data,
        start=replace(experiment.start, encoder=""),
        schedule=replace(experiment.schedule, steps=steps + 1, warmup_steps=0),
        run=replace(experiment.run, batch_size=batch_size, accumulate=1),
    )


def _measure(experiment: ExperimentConfig, card: ModelCard, device: str) -> dict[str, float]:
    dataset = training_dataset(experiment, card, open_index(experiment.data))

    def batches() -> Iterator[Batch | None]:
        return iter(training_loader(experiment, dataset))

    loading = batches()
    next(loading)
    started = time.perf_counter()
    samples = sum(len(batch) for batch in loading if batch is not None)
    loaded_per_s = samples / (time.perf_counter() - started)
    module = _module(experiment, card).to(device).train()
    waiting_s, working_s = _times(module, batches(), device)
    total_s = waiting_s + working_s
    return {
        "loader_samples_per_s": round(loaded_per_s, 2),
        "steps_per_s": round((experiment.schedule.steps - 1) / total_s, 3),
        "samples_per_s": round(samples / total_s, 2),
        "waiting_share": round(waiting_s / total_s, 4),
    }


def _module(experiment: ExperimentConfig, card: ModelCard) -> ExperimentModule:
    network = build_network(experiment, card)
    if experiment.distillation is None:
        return ExperimentModule(experiment, card, network)
    file = CONFIGS / f"{experiment.name.replace('student-simdistill', 'teacher')}.yaml"
    config = read_config(ExperimentConfig, file).teacher
    assert config is not None
    teacher = Teacher(card, config)
    distiller = Distiller(
        experiment.distillation, student_channels(card), teacher_channels(teacher)
    )
    return ExperimentModule(
        experiment, card, network, distiller=distiller, teacher=FrozenTeacher(teacher)
    )


def _times(
    module: ExperimentModule, batches: Iterator[Batch | None], device: str
) -> tuple[float, float]:
    """Return seconds spent waiting for batches and seconds spent on steps, without the first."""
    optimizer = module.configure_optimizers()
    assert isinstance(optimizer, torch.optim.Optimizer)
    module.on_fit_start()
    waiting_s = working_s = 0.0
    is_first = True
    while True:
        started = time.perf_counter()
        batch = next(batches, None)
        if batch is None:
            return waiting_s, working_s
        arrived = time.perf_counter()
        losses = module.losses(batch.to(device), 0.5)
        optimizer.zero_grad()
        torch.autograd.backward(torch.stack(list(losses.values())).sum())
        optimizer.step()
        if device != "cpu":
            torch.cuda.synchronize()
        if not is_first:
            waiting_s += arrived - started
            working_s += time.perf_counter() - arrived
        is_first = False
