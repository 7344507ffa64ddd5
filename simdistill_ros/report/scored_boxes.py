# SPDX-License-Identifier: Apache-2.0
"""The boxes that the benchmark compares: submitted and annotated, global frame, by its own filters.

Loading and filtering are the devkit's. A box that its filters leave out (class range, no LiDAR or
radar point, bicycle rack) stays in the list with `counted` false, so that it can be shown.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from nuscenes.eval.common.config import config_factory
from nuscenes.eval.common.loaders import (
    add_center_dist,
    filter_eval_boxes,
    load_gt_of_sample_tokens,
    load_prediction_of_sample_tokens,
)
from nuscenes.eval.detection.data_classes import DetectionBox
from nuscenes.eval.detection.utils import category_to_detection_name

from simdistill_ros.core.boxes import NUSCENES_CLASSES, IntArray
from simdistill_ros.core.frames import FloatArray
from simdistill_ros.replay.evaluation import CONFIG

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ScoredBoxes:
    """Boxes of one sample in the global frame, in the order of the submission or annotation.

    Attributes:
        centers_m: (M, 3) geometric centres.
        sizes_lwh_m: (M, 3) length, width, height.
        rotations_wxyz: (M, 4) global_from_box.
        velocities_mps: (M, 2) over ground; NaN where unknown.
        scores: (M,) in [0, 1]; 1 for ground truth.
        labels: (M,) index into `NUSCENES_CLASSES`.
        distances_m: (M,) in the xy plane from the vehicle at the sample's time.
        visibilities: (M,) nuScenes' level 1..4 of ground truth; 0 where unknown.
        counted: (M,) whether the benchmark counts the box.
    """

    centers_m: FloatArray
    sizes_lwh_m: FloatArray
    rotations_wxyz: FloatArray
    velocities_mps: FloatArray
    scores: FloatArray
    labels: IntArray
    distances_m: FloatArray
    visibilities: IntArray
    counted: BoolArray

    def __len__(self) -> int:
        """Return the number of boxes."""
        return len(self.scores)


def load_scored_boxes(
    nusc: Any, submission: Path, tokens: Sequence[str]
) -> tuple[dict[str, ScoredBoxes], dict[str, ScoredBoxes]]:
    """Return sample token -> submitted boxes, and sample token -> ground truths.

    Raises:
        ValueError: If the devkit's ground truths are not the sample's annotations in order.
    """
    config = config_factory(CONFIG)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        submitted, _ = load_prediction_of_sample_tokens(
            str(submission), config.max_boxes_per_sample, DetectionBox, list(tokens)
        )
        truths = load_gt_of_sample_tokens(nusc, list(tokens), DetectionBox)
        lists = [_counted(nusc, boxes, config.class_range) for boxes in (submitted, truths)]
    visibilities = {token: _visibilities(nusc, token) for token in tokens}
    return (
        {token: _arrays(*lists[0][token], None) for token in tokens},
        {token: _arrays(*lists[1][token], visibilities[token]) for token in tokens},
    )


def _counted(nusc: Any, boxes: Any, ranges: Any) -> dict[str, tuple[list[Any], set[int]]]:
    """Return token -> all boxes, and the identities of those that pass the devkit's filters."""
    if not boxes.all:  # the devkit's filter does not take nothing
        return {token: ([], set()) for token in boxes.sample_tokens}
    boxes = add_center_dist(nusc, boxes)
    everything = {token: list(boxes[token]) for token in boxes.sample_tokens}
    kept = filter_eval_boxes(nusc, boxes, ranges)
    return {token: (all_, {id(box) for box in kept[token]}) for token, all_ in everything.items()}


def _visibilities(nusc: Any, token: str) -> list[int]:
    annotations = (nusc.get("sample_annotation", t) for t in nusc.get("sample", token)["anns"])
    return [
        int(annotation["visibility_token"] or 0)
        for annotation in annotations
        if category_to_detection_name(annotation["category_name"]) is not None
    ]


def _arrays(boxes: list[Any], kept: set[int], visibilities: list[int] | None) -> ScoredBoxes:
    levels = [0] * len(boxes) if visibilities is None else visibilities
    if len(levels) != len(boxes):
        raise ValueError(f"expected {len(levels)} annotations from the devkit, got {len(boxes)}")

    def rows(values: list[Any], width: int) -> FloatArray:
        return np.array(values, dtype=np.float64).reshape(-1, width)

    sizes_wlh = rows([box.size for box in boxes], 3)
    return ScoredBoxes(
        centers_m=rows([box.translation for box in boxes], 3),
        sizes_lwh_m=sizes_wlh[:, [1, 0, 2]],
        rotations_wxyz=rows([box.rotation for box in boxes], 4),
        velocities_mps=rows([box.velocity for box in boxes], 2),
        # The devkit marks ground truth by the score -1.
        scores=np.array([s if s >= 0 else 1.0 for s in (b.detection_score for b in boxes)]),
        labels=np.array(
            [NUSCENES_CLASSES.index(box.detection_name) for box in boxes], dtype=np.int64
        ),
        distances_m=np.array([box.ego_dist for box in boxes], dtype=np.float64),
        visibilities=np.array(levels, dtype=np.int64),
        counted=np.array([id(box) in kept for box in boxes], dtype=bool),
    )
