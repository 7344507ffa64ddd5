# SPDX-License-Identifier: Apache-2.0
"""Samples → batches, in worker processes ahead of the network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader

from simdistill_ros.core.network.view_transform import batch_tables
from simdistill_training.batch import Batch
from simdistill_training.data.dataset import Sample, SampleDataset


def collate(samples: Sequence[Sample | None]) -> Batch | None:
    """Join samples into a batch; None where all were broken and skipped."""
    present = [sample for sample in samples if sample is not None]
    if not present:
        return None
    return Batch(
        images=torch.from_numpy(np.stack([sample.images for sample in present])),
        tables=batch_tables([sample.tables for sample in present]),
        points=tuple(torch.from_numpy(sample.points) for sample in present),
        input_from_bev=torch.from_numpy(
            np.stack([sample.input_from_bev for sample in present]).astype(np.float32)
        ),
        boxes=tuple(sample.boxes for sample in present),
        tokens=tuple(sample.token for sample in present),
        views=tuple(sample.view for sample in present),
    )


def batch_loader(
    dataset: SampleDataset,
    keys: Iterable[Any],
    *,
    batch_size: int,
    workers: int,
    drop_last: bool,
) -> DataLoader[Batch | None]:
    """Return a loader of the keys, in their order.

    Args:
        dataset: The samples.
        keys: Sampler: keys of the dataset; its length is the loader's.
        batch_size: Samples a batch.
        workers: Processes; 0 loads in this one.
        drop_last: Leave an incomplete last batch out.
    """
    if workers:
        # Here, because a forked process cannot end OpenCV's threads of its parent: it would hang.
        cv2.setNumThreads(0)
    return DataLoader(
        dataset,  # type: ignore[arg-type]
        batch_size=batch_size,
        sampler=keys,
        num_workers=workers,
        collate_fn=collate,
        drop_last=drop_last,
        prefetch_factor=4 if workers else None,
        persistent_workers=False,
    )
