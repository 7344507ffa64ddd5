# SPDX-License-Identifier: Apache-2.0
"""What a run's folder says: scores, curves, times, and every box with what it matched."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from simdistill_ros.replay.evaluation import DETAILS, evaluate_submission
from simdistill_ros.replay.nuscenes_reader import load_nuscenes, sample_record
from simdistill_ros.replay.sample_record import SampleRecord
from simdistill_ros.report.matching import Matching, best_cut, match
from simdistill_ros.report.scored_boxes import ScoredBoxes, load_scored_boxes

# More boxes a frame than this are no detections, they are noise that hides the pictures.
MANY = 40
# What the page shows beside the scores. A replay writes it into metrics.json, an evaluation without
# a node into a file of its own.
FACTS = "run.json"
_FACTS = ("run", "samples", "answered", "lost", "republished", "latency_ms", "stages_ms")


@dataclass(frozen=True)
class RunData:
    """One run.

    Attributes:
        folder: Where it lies.
        metrics: Its `metrics.json`.
        curves: Class and distance -> the devkit's details (precision over recall); may be empty.
        latencies_ms: Sample token -> from publishing its newest image to holding the answer.
        model_card: Text of the model card, "" where there is none.
        samples: What was scored, in order of time.
        boxes: Sample token -> submitted boxes.
        truths: Sample token -> ground truths.
        matchings: Sample token -> who found whom.
        cut: The score cut that the breakdowns use.
        cut_reason: Why this one.
    """

    folder: Path
    metrics: dict[str, Any]
    curves: dict[str, Any]
    latencies_ms: dict[str, float]
    model_card: str
    samples: list[SampleRecord]
    boxes: dict[str, ScoredBoxes]
    truths: dict[str, ScoredBoxes]
    matchings: dict[str, Matching]
    cut: float
    cut_reason: str

    @property
    def title(self) -> str:
        """What ran, and where its results lie."""
        return f"{self.metrics['run']['detector']} ({self.folder.resolve().name})"


def open_tables(folder: Path, dataroot: Path | None = None) -> Any:
    """Return the devkit's tables of the data a run was scored on.

    Args:
        folder: The run.
        dataroot: Its data; by default the links that scoring left in the run's folder.

    Raises:
        ValueError: If the folder holds no scored run or the data is not there.
    """
    version = read_metrics(folder)["run"]["version"]
    return load_nuscenes(dataroot or folder / "evaluation" / "dataroot", version)


def write_facts(
    folder: Path, *, samples: int, run: Mapping[str, Any], environment: Mapping[str, str]
) -> None:
    """Write what an evaluation without a node was, beside its `metrics.json`.

    Args:
        folder: The evaluation.
        samples: Number of samples that were scored.
        run: `detector`, `weights`, `mode`, `version`, `scenes` and what else is worth knowing.
        environment: Where it ran.
    """
    facts = {
        "samples": samples,
        "answered": samples,
        "lost": [],
        "republished": 0,
        "latency_ms": {},
        "stages_ms": {},
        "run": dict(run),
        "environment": dict(environment),
    }
    (folder / FACTS).write_text(json.dumps(facts, indent=2) + "\n")


def read_metrics(folder: Path) -> dict[str, Any]:
    """Return a run's scores and facts.

    Raises:
        ValueError: If the folder holds no scored run.
    """
    path = folder / "metrics.json"
    if not path.is_file():
        raise ValueError(
            f"{folder}: expected a replay's folder with metrics.json, or an evaluation's, got none"
        )
    metrics = dict(json.loads(path.read_text()))
    if (folder / FACTS).is_file():
        metrics |= json.loads((folder / FACTS).read_text())
    if "mAP" not in metrics or not (folder / "results_nusc.json").is_file():
        raise ValueError(
            f"{folder}: expected a scored run; replay it with --dataroot, a bag alone has no scores"
        )
    missing = [key for key in _FACTS if key not in metrics]
    if missing:
        raise ValueError(
            f"{path}: expected what `replay` or `simdistill evaluate` writes, got no "
            f"{', '.join(missing)}"
        )
    return metrics


def load_run(folder: Path, nusc: Any) -> RunData:
    """Return everything about a run.

    Raises:
        ValueError: If the folder holds no scored run.
    """
    metrics = read_metrics(folder)
    submission = folder / "results_nusc.json"
    tokens = list(json.loads(submission.read_text())["results"])
    boxes, truths = load_scored_boxes(nusc, submission, tokens)
    matchings = {token: match(boxes[token], truths[token]) for token in tokens}
    cut, reason = _choose_cut(boxes, truths, matchings)
    card = folder / "model.yaml"
    return RunData(
        folder=folder,
        metrics=metrics,
        curves=_curves(folder, nusc, tokens),
        latencies_ms=_latencies(folder),
        model_card=card.read_text() if card.is_file() else "",
        samples=sorted((sample_record(nusc, t) for t in tokens), key=lambda s: s.stamp_ns),
        boxes=boxes,
        truths=truths,
        matchings=matchings,
        cut=cut,
        cut_reason=reason,
    )


def _curves(folder: Path, nusc: Any, tokens: list[str]) -> dict[str, Any]:
    """Return the devkit's details, scored again where an older run did not keep them."""
    path = folder / "evaluation" / DETAILS
    if not path.is_file():
        evaluate_submission(nusc, folder / "results_nusc.json", tokens, folder / "evaluation")
    return dict(json.loads(path.read_text())) if path.is_file() else {}


def _latencies(folder: Path) -> dict[str, float]:
    path = folder / "timing.json"
    return dict(json.loads(path.read_text())["latency_ms"]) if path.is_file() else {}


def _choose_cut(
    boxes: dict[str, ScoredBoxes], truths: dict[str, ScoredBoxes], matchings: dict[str, Matching]
) -> tuple[float, str]:
    scores = np.concatenate([b.scores[b.counted] for b in boxes.values()])
    hits = np.concatenate([matchings[t].truth_of_box[b.counted] >= 0 for t, b in boxes.items()])
    if not len(scores):
        return 0.0, "no boxes were submitted"
    ranked = np.sort(scores)[::-1]
    lowest = float(ranked[min(len(ranked), MANY * len(boxes)) - 1])
    cut = best_cut(scores, hits, sum(int(t.counted.sum()) for t in truths.values()))
    if cut is None:
        return lowest, f"no box is right, so the best {MANY} a frame on average"
    if cut < lowest:
        return lowest, f"the best {MANY} boxes a frame on average"
    return cut, "the cut with the highest F1 over all classes"
