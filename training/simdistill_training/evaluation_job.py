# SPDX-License-Identifier: Apache-2.0
"""The evaluation of a run or a model package as a job that can be done in shards."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from simdistill_ros import __version__
from simdistill_ros.shards.local_workers import OpenJob
from simdistill_training.batch import Batch
from simdistill_training.checkpoint import plain_card
from simdistill_training.config import DataConfig, ExperimentConfig
from simdistill_training.data.dataset import SampleDataset, SampleOptions
from simdistill_training.data.index import find_or_build_index
from simdistill_training.data.splits import samples_of_split
from simdistill_training.data.tables import fingerprint
from simdistill_training.evaluate import RecordMaker, Records, records_of_network
from simdistill_training.load_model import LoadedModel, load_model
from simdistill_training.networks import HeadMaps, PixelNorm, heads_of
from simdistill_training.strict import read_config

DEFAULT_CACHE = "out/cache"


@dataclass(frozen=True)
class DataSource:
    """Which samples to evaluate."""

    dataroot: Path
    version: str
    split: str
    cache: Path


@dataclass(frozen=True)
class EvaluationJob:
    """What is evaluated, on what, and how; see `evaluate_model`."""

    path: Path
    source: DataSource
    threshold: float | None = None
    device: str = "cpu"
    batch_size: int = 1
    workers: int = 0
    threads: int | None = None

    def open(self, worker: int | None) -> OpenJob:
        """Load network and tables.

        Args:
            worker: Number of the process on its machine, which chooses among several GPUs; None to
                only know inputs and samples.

        Raises:
            ValueError: If model or data cannot be used.
            OSError: If files are missing.
        """
        if self.threads:
            torch.set_num_threads(self.threads)
        model = load_model(self.path)
        dataset = dataset_of(model, self.source)
        make_records = RecordMaker(dataset, self.threshold)
        inputs = self._inputs(model)
        device = device_of(self.device, worker)
        pixels, network = PixelNorm(model.card).to(device), model.network.to(device)
        position_of = {token: place for place, token in enumerate(make_records.tokens)}

        def heads(batch: Batch) -> HeadMaps:
            return heads_of(network, pixels(batch.images), batch)

        def run(tokens: tuple[str, ...]) -> Records:
            return records_of_network(
                heads,
                make_records,
                [position_of[token] for token in tokens],
                batch_size=self.batch_size,
                workers=self.workers,
                device=device,
            )

        return OpenJob(inputs=inputs, items=tuple(make_records.tokens), run=run)

    def _inputs(self, model: LoadedModel) -> dict[str, Any]:
        """Return what records depend on besides the images, whose tables stand for them."""
        source = self.source
        return {
            "program": __version__,
            "weights": hash_of_weights(model.network),
            "card": hash_of_data(plain_card(model.card)),
            "role": model.role,
            "tables": fingerprint(source.dataroot, source.version),
            "split": source.split,
            "score_threshold": self.threshold,
            "device": self.device.split(":")[0],
            "batch_size": self.batch_size,
        }


def find_source(
    model: LoadedModel,
    config: Path | None,
    *,
    dataroot: str | None,
    version: str | None,
    split: str | None,
) -> DataSource:
    """Return the samples that the command line, an experiment or the model's own run names.

    Raises:
        ValueError: If it is not known which data to use.
    """
    data: DataConfig | None = model.data
    if config:
        data = read_config(ExperimentConfig, config).data
    if data is not None:
        dataroot, version = dataroot or data.dataroot, version or data.version
        split = split or data.val
    if not (dataroot and version and split):
        raise ValueError("it does not say on what it was trained: give --dataroot, --version "
                         "and --split")  # fmt: skip
    cache = data.cache if data else DEFAULT_CACHE
    return DataSource(Path(dataroot), version, split, Path(cache))


def dataset_of(model: LoadedModel, source: DataSource) -> SampleDataset:
    """Return the samples as the model reads them; teachers see LiDAR as in their training."""
    index = find_or_build_index(source.dataroot, source.version, source.cache)
    options = SampleOptions(model.card, lidar=None)
    if model.role == "teacher" and model.data is not None:
        options = replace(options, lidar=model.data.lidar)
    samples = samples_of_split(index, source.dataroot, source.version, source.split)
    return SampleDataset(index, source.dataroot, samples, options)


def device_of(device: str, worker: int | None) -> str:
    """Return where a process runs its network: processes share the GPUs of "cuda" among them."""
    if worker is None:
        return "cpu"
    if device == "cuda" and torch.cuda.device_count() > 1:
        return f"cuda:{worker % torch.cuda.device_count()}"
    return device


def hash_of_weights(network: nn.Module) -> str:
    """Return a sha256 of all parameters and buffers that are stored."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)} ".encode())
        digest.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def hash_of_data(data: Mapping[str, Any]) -> str:
    """Return a sha256 of plain data."""
    return hashlib.sha256(json.dumps(data, sort_keys=True, default=str).encode()).hexdigest()
