# SPDX-License-Identifier: Apache-2.0
"""Which sample comes when: a sequence that depends on seed and place in it only."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from simdistill_ros.core.boxes import NUSCENES_CLASSES
from simdistill_training.data.index import DatasetIndex, Int64Array


def class_balanced_positions(
    index: DatasetIndex, samples: Int64Array, min_points: int, rng: np.random.Generator
) -> Int64Array:
    """Return positions among `samples`, some repeated, so that classes are seen equally often.

    A sample belongs to every class it shows. Each class that occurs gets the same number of draws
    from its samples, with replacement; together as many as there are (class, sample) pairs.
    """
    positions = []
    for label in range(len(NUSCENES_CLASSES)):
        is_seen = index.box_points >= min_points
        boxes = np.flatnonzero((index.box_labels == label) & is_seen)
        owners = np.unique(np.searchsorted(index.box_offsets, boxes, side="right") - 1)
        positions.append(np.flatnonzero(np.isin(samples, owners)))
    present = [of_class for of_class in positions if len(of_class)]
    if not present:
        return np.arange(len(samples), dtype=np.int64)
    draws = max(1, sum(len(of_class) for of_class in present) // len(present))
    drawn = [rng.choice(of_class, draws) for of_class in present]
    return np.asarray(np.concatenate(drawn), dtype=np.int64)


class TrainingSequence:
    """Yield (draw, position) keys of `SampleDataset`, the same for the same seed.

    The sequence is a chain of shuffled passes. `start` skips what a resumed training has seen;
    ranks of a distributed training take turns, so together they see the sequence of one process.
    """

    def __init__(
        self,
        index: DatasetIndex,
        samples: Int64Array,
        *,
        draws: int,
        seed: int,
        class_balanced: bool = False,
        min_points: int = 1,
        rank: int = 0,
        ranks: int = 1,
        start: int = 0,
    ) -> None:
        """Define the sequence.

        Args:
            index: The dataroot's index.
            samples: Samples of the split.
            draws: Length of the whole sequence, all ranks together.
            seed: Seed.
            class_balanced: Draw by class instead of every sample once a pass.
            min_points: Points a box needs to make its sample one of its class.
            rank: Which process this is.
            ranks: Number of processes.
            start: Draws, all ranks together, that were already used.
        """
        self._index, self._samples = index, samples
        self._draws, self._seed = draws, seed
        self._class_balanced, self._min_points = class_balanced, min_points
        self._rank, self._ranks, self._start = rank, ranks, start

    def __len__(self) -> int:
        """Return the length of this rank's whole sequence, what was skipped included."""
        return self._draws // self._ranks

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Yield this rank's keys that are left."""
        first = 0
        for number in range(self._draws):
            positions = self._pass(number)
            last = min(first + len(positions), len(self) * self._ranks)
            for draw in range(max(first, self._start), last):
                if draw % self._ranks == self._rank:
                    yield draw, int(positions[draw - first])
            first = last
            if first >= len(self) * self._ranks:
                return

    def _pass(self, number: int) -> Int64Array:
        rng = np.random.default_rng([self._seed, number])
        positions = np.arange(len(self._samples), dtype=np.int64)
        if self._class_balanced:
            positions = class_balanced_positions(self._index, self._samples, self._min_points, rng)
        return np.asarray(rng.permutation(positions))
