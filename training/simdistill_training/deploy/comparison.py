# SPDX-License-Identifier: Apache-2.0
"""How far one path from images to boxes is from another, gathered frame by frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from simdistill_ros.core.golden import NEAR_M, NEAR_SCORE
from simdistill_ros.core.map_errors import error_spread, largest_error
from simdistill_ros.replay.submission import Record

Arrays = Mapping[str, npt.NDArray[Any]]
COUNTS = ("expected", "found", "actual", "known")


@dataclass
class TensorError:
    """Errors of one tensor over all frames.

    Attributes:
        largest: Largest absolute error.
        relative: Largest error relative to the tensor's largest value or to one, as in the
            self-test; infinite for a missing tensor, another shape and values that are not finite.
        spread: Largest spread of errors; see `core/map_errors`.
        total: Sum of the frames' mean absolute errors.
        frames: How many frames were compared.
    """

    largest: float = 0.0
    relative: float = 0.0
    spread: float = 0.0
    total: float = 0.0
    frames: int = 0

    @property
    def mean(self) -> float:
        """Mean absolute error."""
        return self.total / max(self.frames, 1)

    def add(self, expected: npt.NDArray[Any], actual: npt.NDArray[Any] | None) -> None:
        """Count one frame's tensor."""
        self.frames += 1
        if actual is None or actual.shape != expected.shape or not np.isfinite(actual).all():
            self.largest = self.relative = self.spread = self.total = np.inf
            return
        actual, expected = actual.astype(np.float32), expected.astype(np.float32)
        errors = np.abs(actual - expected)
        self.largest = max(self.largest, float(errors.max()))
        self.relative = max(self.relative, largest_error(expected, actual))
        self.spread = max(self.spread, error_spread(expected, actual))
        self.total += float(errors.mean(dtype=np.float64))


@dataclass
class Comparison:
    """A path beside its reference.

    Attributes:
        name: Of the path.
        reference: Name of what it is compared with.
        tensors: Errors by tensor.
        boxes: Boxes of the reference, and how many of them were found; boxes of the path, and how
            many of them the reference has.
        records: The path's submission records by sample token.
        least_score: Boxes below need no partner. Those of one side that score just above the
            threshold may score just below it on the other, where they are not seen at all.
        scores: The benchmark's, of the path.
        deltas: The path's mAP and NDS less the reference's.
        failures: Why the path is not good enough; empty when it is.
    """

    name: str
    reference: str
    tensors: dict[str, TensorError] = field(default_factory=dict)
    boxes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTS, 0))
    records: dict[str, list[Record]] = field(default_factory=dict)
    least_score: float = 0.0
    scores: dict[str, float] = field(default_factory=dict)
    deltas: dict[str, float] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def add_tensors(self, expected: Arrays, actual: Arrays) -> None:
        """Count one frame's tensors; only those that the path has to show are asked for."""
        for name, values in expected.items():
            self.tensors.setdefault(name, TensorError()).add(values, actual.get(name))

    def add_boxes(self, expected: Sequence[Record], actual: Sequence[Record], token: str) -> None:
        """Count one frame's boxes."""
        self.records[token] = list(actual)
        sure, actually_sure = self._sure(expected), self._sure(actual)
        counts = len(sure), found(sure, actual), len(actually_sure), found(actually_sure, expected)
        for name, count in zip(COUNTS, counts, strict=True):
            self.boxes[name] += count

    def _sure(self, records: Sequence[Record]) -> list[Record]:
        return [record for record in records if record["detection_score"] >= self.least_score]

    @property
    def found_share(self) -> float:
        """Share of both sides' boxes that the other side has."""
        boxes = self.boxes
        total = boxes["expected"] + boxes["actual"]
        return (boxes["found"] + boxes["known"]) / total if total else 1.0

    def as_dict(self) -> dict[str, Any]:
        """Return the numbers as plain data."""
        return {
            "path": self.name,
            "reference": self.reference,
            "tensors": {
                name: {
                    "largest": e.largest,
                    "relative": e.relative,
                    "spread": e.spread,
                    "mean": e.mean,
                }
                for name, e in self.tensors.items()
            },
            "boxes": self.boxes,
            "found_share": self.found_share,
            "scores": self.scores,
            "deltas": self.deltas,
            "failures": self.failures,
        }


def found(boxes: Sequence[Record], among: Sequence[Record]) -> int:
    """Return how many boxes have one of the same class, place and score among others."""
    if not boxes or not among:
        return 0
    centers, scores, names = _columns(boxes)
    other_centers, other_scores, other_names = _columns(among)
    is_same = (
        (np.linalg.norm(centers[:, None] - other_centers[None], axis=-1) < NEAR_M)
        & (np.abs(scores[:, None] - other_scores[None]) < NEAR_SCORE)
        & (names[:, None] == other_names[None])
    )
    return int(is_same.any(axis=1).sum())


def _columns(
    records: Sequence[Record],
) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
    return (
        np.array([record["translation"] for record in records]),
        np.array([record["detection_score"] for record in records]),
        np.array([record["detection_name"] for record in records]),
    )
