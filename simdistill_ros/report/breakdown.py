# SPDX-License-Identifier: Apache-2.0
"""Objects found, mistaken and missed: by distance, by visibility, by class."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from simdistill_ros.core.boxes import NUSCENES_CLASSES, IntArray
from simdistill_ros.core.frames import FloatArray
from simdistill_ros.report.matching import mistaken_classes
from simdistill_ros.report.run_data import RunData

BoolArray = npt.NDArray[np.bool_]
DISTANCES_M = (0.0, 10.0, 20.0, 30.0, 40.0, 50.0)
VISIBILITIES = {1: "0-40 %", 2: "40-60 %", 3: "60-80 %", 4: "80-100 %"}
NOTHING = len(NUSCENES_CLASSES)  # the last row and column of the confusion matrix


@dataclass(frozen=True)
class Group:
    """Objects that have a distance or a visibility in common, above the run's score cut.

    Attributes:
        name: Which.
        found: Found as what they are.
        mistaken: Only a box of another class stands there.
        missed: Nothing stands there.
        false: Submitted boxes without an object; None where the property is the objects' alone.
    """

    name: str
    found: int
    mistaken: int
    missed: int
    false: int | None = None

    @property
    def objects(self) -> int:
        """Number of objects."""
        return self.found + self.mistaken + self.missed

    @property
    def recall(self) -> float | None:
        """Found over objects; None without any."""
        return self.found / self.objects if self.objects else None

    @property
    def precision(self) -> float | None:
        """Found over submitted; None without any."""
        if self.false is None or not self.found + self.false:
            return None
        return self.found / (self.found + self.false)


@dataclass(frozen=True)
class _Facts:
    """One row an object, and one a false box, of the whole run."""

    labels: IntArray
    taken_for: IntArray
    distances_m: FloatArray
    visibilities: IntArray
    false_labels: IntArray
    false_distances_m: FloatArray


def _collect(run: RunData) -> _Facts:
    columns: list[list[Any]] = [[], [], [], [], [], []]
    for sample in run.samples:
        boxes, truths = run.boxes[sample.token], run.truths[sample.token]
        matching = run.matchings[sample.token]
        taken_for = mistaken_classes(boxes, truths, matching, run.cut)
        shown = boxes.counted & (boxes.scores >= run.cut)
        false = shown & (matching.truth_of_box < 0)
        parts = (
            truths.labels[truths.counted],
            taken_for[truths.counted],
            truths.distances_m[truths.counted],
            truths.visibilities[truths.counted],
            boxes.labels[false],
            boxes.distances_m[false],
        )
        for column, part in zip(columns, parts, strict=True):
            column.append(part)
    return _Facts(*(np.concatenate(column) for column in columns))


@dataclass(frozen=True)
class RunGroups:
    """All objects of a run, grouped in three ways; hidden objects and near ones come first."""

    by_distance: list[Group]
    by_visibility: list[Group]
    by_class: list[Group]

    @staticmethod
    def of(run: RunData) -> RunGroups:
        """Return the groups of a run, above its score cut."""
        facts = _collect(run)
        return RunGroups(_by_distance(facts), _by_visibility(facts), _by_class(facts))


def _bands(facts: _Facts) -> Iterator[tuple[str, BoolArray, BoolArray]]:
    """Yield each distance's name, objects and false boxes."""
    for near, far in itertools.pairwise(DISTANCES_M):
        inside = (facts.distances_m >= near) & (facts.distances_m < far)
        false = (facts.false_distances_m >= near) & (facts.false_distances_m < far)
        yield f"{near:.0f}-{far:.0f} m", inside, false


def _by_distance(facts: _Facts) -> list[Group]:
    return [_group(name, facts, inside, int(false.sum())) for name, inside, false in _bands(facts)]


def _by_visibility(facts: _Facts) -> list[Group]:
    return [
        _group(name, facts, facts.visibilities == level, None)
        for level, name in VISIBILITIES.items()
    ]


def _by_class(facts: _Facts) -> list[Group]:
    return [
        _group(name, facts, facts.labels == label, int((facts.false_labels == label).sum()))
        for label, name in enumerate(NUSCENES_CLASSES)
    ]


def total(groups: Sequence[Group]) -> Group:
    """Return the sum of groups."""
    return Group(
        name="all",
        found=sum(group.found for group in groups),
        mistaken=sum(group.mistaken for group in groups),
        missed=sum(group.missed for group in groups),
        false=sum(group.false or 0 for group in groups),
    )


def confusions(run: RunData) -> dict[str, IntArray]:
    """Return a matrix of all objects, then one of each distance and visibility that has any.

    Each is (11, 11) counts: what objects are (rows) against what they were taken for (columns). The
    last column is objects with nothing there. The last row is boxes where no object of their class
    is: it includes those that stand at a mistaken object. By visibility, which is the objects'
    alone, it is empty.
    """
    facts = _collect(run)
    objects, boxes = np.ones_like(facts.labels, bool), np.ones_like(facts.false_labels, bool)
    matrices = {"all": _confusion(facts, objects, boxes)}
    for name, inside, false in _bands(facts):
        matrices[name] = _confusion(facts, inside, false)
    for level, name in VISIBILITIES.items():
        matrices[f"{name} visible"] = _confusion(facts, facts.visibilities == level, ~boxes)
    return {name: counts for name, counts in matrices.items() if counts.any() or name == "all"}


def _confusion(facts: _Facts, objects: BoolArray, false: BoolArray) -> IntArray:
    counts = np.zeros((NOTHING + 1, NOTHING + 1), dtype=np.int64)
    columns = np.where(facts.taken_for < 0, NOTHING, facts.taken_for)
    np.add.at(counts, (facts.labels[objects], columns[objects]), 1)
    false_labels = facts.false_labels[false]
    np.add.at(counts, (np.full(len(false_labels), NOTHING), false_labels), 1)
    return counts


def _group(name: str, facts: _Facts, chosen: BoolArray, false: int | None) -> Group:
    labels, taken_for = facts.labels[chosen], facts.taken_for[chosen]
    found = int((taken_for == labels).sum())
    missed = int((taken_for < 0).sum())
    return Group(name, found, len(labels) - found - missed, missed, false)
