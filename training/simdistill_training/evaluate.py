# SPDX-License-Identifier: Apache-2.0
"""Head maps → nuScenes submission → scores, by the vehicle's decoding and the replay's scoring."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from simdistill_ros.command_line.terminal import progress_bar
from simdistill_ros.core.boxes import Detections, transform_detections
from simdistill_ros.core.decode import decode_head_maps
from simdistill_ros.core.frames import EGO_FRAME, inverse
from simdistill_ros.core.model_card import ModelCard
from simdistill_ros.replay.evaluation import evaluate_submission
from simdistill_ros.replay.nuscenes_reader import load_nuscenes
from simdistill_ros.replay.submission import Record, records_from_detections, write_submission
from simdistill_training.batch import Batch
from simdistill_training.config import Role
from simdistill_training.data.dataset import SampleDataset
from simdistill_training.data.index import LIDAR, pose_matrix
from simdistill_training.data.loader import batch_loader

HeadMaps = Sequence[Mapping[str, Tensor]]
Records = dict[str, list[Record]]


def detections_of_batch(
    head_maps: HeadMaps, card: ModelCard, stamps_ns: Sequence[int], threshold: float | None
) -> list[Detections]:
    """Return each sample's boxes in the ego frame, as the vehicle's detector would.

    Args:
        head_maps: Per task, maps (B, channels, X, Y).
        card: The model card.
        stamps_ns: (B,) stamps of the newest cameras.
        threshold: Boxes must score above it; None takes the card's.
    """
    arrays = [{name: maps.float().cpu().numpy() for name, maps in t.items()} for t in head_maps]
    ego_from_bev = card.bev.ego_from_bev.matrix()
    detections = []
    for number, stamp_ns in enumerate(stamps_ns):
        own = [{name: maps[number] for name, maps in task.items()} for task in arrays]
        boxes = decode_head_maps(own, card, stamp_ns=stamp_ns, score_threshold=threshold)
        detections.append(transform_detections(ego_from_bev, boxes, EGO_FRAME))
    return detections


class RecordMaker:
    """Turns head maps of batches of one dataset into submission records."""

    def __init__(self, dataset: SampleDataset, threshold: float | None = None) -> None:
        """Prepare for a dataset; `threshold` None takes the card's."""
        self.dataset, self._threshold = dataset, threshold
        tokens = dataset.index.tokens[dataset.samples]
        self._sample_of = {str(t): int(s) for t, s in zip(tokens, dataset.samples, strict=True)}

    @property
    def tokens(self) -> list[str]:
        """Tokens of all samples, in order."""
        return list(self._sample_of)

    def __call__(self, head_maps: HeadMaps, tokens: Sequence[str]) -> Records:
        """Return token → records."""
        dataset, index = self.dataset, self.dataset.index
        samples = [self._sample_of[token] for token in tokens]
        detections = detections_of_batch(
            head_maps,
            dataset.options.card,
            [dataset.stamp_ns(sample) for sample in samples],
            self._threshold,
        )
        records: Records = {}
        for token, sample, boxes in zip(tokens, samples, detections, strict=True):
            global_from_ego = dataset.global_from_ego(sample)
            ego_at_sample_from_global = inverse(pose_matrix(index.poses[sample, LIDAR]))
            records[token] = records_from_detections(
                boxes,
                token,
                global_from_frame=global_from_ego,
                ego_from_frame=ego_at_sample_from_global @ global_from_ego,
            )
        return records


def score_records(
    records: Records, tokens: Sequence[str], *, nusc: Any, folder: Path, role: Role
) -> dict[str, Any]:
    """Write `results_nusc.json` and `metrics.json` into a folder and return the scores.

    Args:
        records: Token → records; a sample without any counts as one without boxes.
        tokens: The samples that count.
        nusc: The devkit's tables.
        folder: Where the files go.
        role: Says in the submission whether LiDAR was used.
    """
    submission = folder / "results_nusc.json"
    results = {token: records.get(token, []) for token in tokens}
    write_submission(submission, results, use_lidar=role == "teacher")
    metrics = evaluate_submission(nusc, submission, tokens, folder / "evaluation")
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    return metrics


def evaluate_network(
    heads_of: Callable[[Batch], HeadMaps],
    dataset: SampleDataset,
    *,
    version: str,
    folder: Path,
    role: Role,
    batch_size: int = 1,
    workers: int = 0,
    device: str = "cpu",
    threshold: float | None = None,
) -> dict[str, Any]:
    """Return the benchmark's scores of a network on a dataset, and leave its submission.

    Args:
        heads_of: Runs the network, in eval mode, on a batch of the device.
        dataset: Samples without augmentation.
        version: Of the dataroot's tables.
        folder: Where `results_nusc.json` and `metrics.json` go.
        role: Of the network.
        batch_size: Samples at a time.
        workers: Loading processes.
        device: Where the network is.
        threshold: Boxes must score above it; None takes the card's.
    """
    nusc = load_nuscenes(dataset.dataroot, version)
    make_records = RecordMaker(dataset, threshold)
    with progress_bar("evaluate", len(dataset)) as bar:
        records = records_of_network(
            heads_of,
            make_records,
            range(len(dataset)),
            batch_size=batch_size,
            workers=workers,
            device=device,
            on_samples=bar.update,
        )
    return score_records(records, make_records.tokens, nusc=nusc, folder=folder, role=role)


def records_of_network(
    heads_of: Callable[[Batch], HeadMaps],
    make_records: RecordMaker,
    positions: Iterable[int],
    *,
    batch_size: int,
    workers: int,
    device: str,
    on_samples: Callable[[int], object] = lambda _: None,
) -> Records:
    """Return the records that a network gives for some samples of a dataset.

    Args:
        heads_of: Runs the network, in eval mode, on a batch of the device.
        make_records: Of the dataset.
        positions: Which of its samples.
        batch_size: Samples at a time.
        workers: Loading processes.
        device: Where the network is.
        on_samples: Told how many more samples are done.
    """
    loader = batch_loader(
        make_records.dataset, positions, batch_size=batch_size, workers=workers, drop_last=False
    )
    records: Records = {}
    with torch.inference_mode():
        for batch in loader:
            if batch is None:
                continue
            records |= make_records(heads_of(batch.to(device)), batch.tokens)
            on_samples(len(batch))
    return records
