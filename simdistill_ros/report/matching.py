# SPDX-License-Identifier: Apache-2.0
"""Which submitted box found which object, by the benchmark's rule at two metres.

In descending score each box takes the nearest free object of its class within the radius. Boxes
with lower scores never change what those above them took, so one matching serves every score cut.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simdistill_ros.core.boxes import IntArray
from simdistill_ros.core.frames import FloatArray
from simdistill_ros.report.scored_boxes import ScoredBoxes

RADIUS_M = 2.0


@dataclass(frozen=True)
class Matching:
    """One sample's pairs.

    Attributes:
        truth_of_box: (M,) index of the object that each submitted box found, or -1.
        box_of_truth: (G,) index of the submitted box that found each object, or -1.
    """

    truth_of_box: IntArray
    box_of_truth: IntArray


def match(boxes: ScoredBoxes, truths: ScoredBoxes) -> Matching:
    """Return the pairs of one sample; only boxes that count take part."""
    result = Matching(np.full(len(boxes), -1), np.full(len(truths), -1))
    distances = _distances(boxes, truths)
    same = boxes.labels[:, None] == truths.labels[None]
    distances[~(same & boxes.counted[:, None] & truths.counted[None])] = np.inf
    # Among equal scores the later box comes first, as in the devkit.
    for index in np.argsort(boxes.scores, kind="stable")[::-1]:
        if len(truths) and distances[index].min() < RADIUS_M:
            nearest = int(distances[index].argmin())
            result.truth_of_box[index] = nearest
            result.box_of_truth[nearest] = index
            distances[:, nearest] = np.inf
    return result


def mistaken_classes(
    boxes: ScoredBoxes, truths: ScoredBoxes, matching: Matching, cut: float
) -> IntArray:
    """Return for each object what it was taken for above a score cut.

    Returns:
        (G,) its own label when it was found, the label of the best-scored free box of another class
        within the radius, or -1 when nothing is there.
    """
    shown = boxes.counted & (boxes.scores >= cut)
    found = is_found(boxes, matching, cut)
    free = shown & (matching.truth_of_box < 0)
    result = np.where(found, truths.labels, -1)
    distances = _distances(boxes, truths)
    for index in np.argsort(boxes.scores, kind="stable")[::-1]:
        if free[index]:
            candidates = np.where((result < 0) & truths.counted, distances[index], np.inf)
            if len(candidates) and candidates.min() < RADIUS_M:
                result[int(candidates.argmin())] = boxes.labels[index]
    return np.asarray(result)


def is_found(
    boxes: ScoredBoxes, matching: Matching, cut: float
) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Return (G,) whether each object was found by a box at or above a score cut."""
    scores = np.append(boxes.scores, -np.inf)  # index -1: found by none
    return np.asarray(scores[matching.box_of_truth] >= cut)


def best_cut(scores: FloatArray, is_match: FloatArray, objects: int) -> float | None:
    """Return the score cut with the highest F1 over all boxes, or None when nothing matched."""
    if not is_match.any():
        return None
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(is_match[order])
    f1 = 2 * hits / (np.arange(1, len(hits) + 1) + objects)
    return float(scores[order][int(np.argmax(f1))])


def _distances(boxes: ScoredBoxes, truths: ScoredBoxes) -> FloatArray:
    offsets = boxes.centers_m[:, None, :2] - truths.centers_m[None, :, :2]
    return np.asarray(np.linalg.norm(offsets, axis=-1))
