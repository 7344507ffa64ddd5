# SPDX-License-Identifier: Apache-2.0
"""A generated dataroot, and small experiments on it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from simdistill_ros.core.model_card import ModelCard, load_model_card
from simdistill_ros.scenes.config import GeneratorConfig
from simdistill_ros.scenes.generate import generate_dataroot
from simdistill_training.config import ExperimentConfig
from simdistill_training.data.dataset import SampleDataset, SampleOptions
from simdistill_training.data.index import DatasetIndex, find_or_build_index
from simdistill_training.data.splits import samples_of_split
from simdistill_training.smoke import smoke_card, smoke_experiment
from simdistill_training.strict import CONFIGS, read_config
from simdistill_training.train import Machine, train

REPOSITORY = Path(__file__).resolve().parents[3]
VERSION = "v1.0-mini"
CPU = Machine(accelerator="cpu", progress=False)


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def dataroot(tmp_path_factory) -> Path:
    """Two scenes of three keyframes: `sim_train` and `sim_val`, with LiDAR sweeps."""
    folder = tmp_path_factory.mktemp("scenes")
    config = GeneratorConfig(
        out=folder,
        scenes=2,
        val_scenes=1,
        width=192,
        height=108,
        duration_s=1.0,
        sweeps="lidar",
        version=VERSION,
        antialias="none",
        traffic=0.6,
    )
    generate_dataroot(config)
    return folder


@pytest.fixture(scope="session")
def real_dataroot() -> Path:
    """Two real scenes, where NUSCENES_DATAROOT has them."""
    default = REPOSITORY.parent / "shared" / "real" / "nuscenes"
    folder = Path(os.environ.get("NUSCENES_DATAROOT", default))
    if not (folder / VERSION / "sample.json").is_file():
        pytest.skip(f"no nuScenes data in {folder}; set NUSCENES_DATAROOT")
    return folder


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def index(dataroot, cache) -> DatasetIndex:
    return find_or_build_index(dataroot, VERSION, cache)


@pytest.fixture(scope="session")
def card() -> ModelCard:
    """The shrunk card of the shipped tiny model."""
    return smoke_card(load_model_card(REPOSITORY / "models" / "tiny"))


@pytest.fixture
def dataset(index, dataroot, card) -> SampleDataset:
    """The training scene as the vehicle sees it, with LiDAR."""
    samples = samples_of_split(index, dataroot, VERSION, "sim_train")
    return SampleDataset(index, dataroot, samples, SampleOptions(card))


@pytest.fixture(scope="session")
def experiment_named(dataroot, cache, card):
    """Return shipped experiments by name, shrunk to a few steps on the generated scenes."""

    def named(name: str, steps: int = 3) -> ExperimentConfig:
        experiment = smoke_experiment(read_config(ExperimentConfig, CONFIGS / f"{name}.yaml"), card)
        data = replace(
            experiment.data,
            dataroot=str(dataroot),
            version=VERSION,
            train="sim_train",
            val="sim_val",
            cache=str(cache),
        )
        return replace(
            experiment,
            data=data,
            start=replace(experiment.start, encoder=""),
            schedule=replace(experiment.schedule, steps=steps, warmup_steps=1),
            run=replace(experiment.run, log_every=1, checkpoint_every=2),
        )

    return named


@pytest.fixture(scope="session")
def teacher_run(experiment_named, card, tmp_path_factory) -> Path:
    """The run folder of a teacher that was trained for three steps."""
    folder = tmp_path_factory.mktemp("runs") / "teacher"
    train(experiment_named("teacher-tiny"), folder, card=card, machine=CPU)
    return folder
