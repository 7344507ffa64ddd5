# SPDX-License-Identifier: Apache-2.0
"""The nuScenes detection score of a submission, computed by nuscenes-devkit.

mAP: mean average precision over ten classes and centre distances 0.5, 1, 2, 4 m. mATE (m), mASE
(1 - IoU), mAOE (rad), mAVE (m/s), mAAE (1 - accuracy): mean errors of matches within 2 m.
NDS = (5 mAP + sum of 1 - min(1, error)) / 10. A class without ground truth counts as AP 0 and error
1, as in the devkit; `mAP_of_present_classes` leaves such classes out.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nuscenes.eval.common.config import config_factory
from nuscenes.eval.detection.constants import DETECTION_NAMES
from nuscenes.eval.detection.evaluate import DetectionEval

CONFIG = "detection_cvpr_2019"
SPLIT = "replayed"
# The devkit's own output, under the devkit's own names.
SUMMARY, DETAILS = "metrics_summary.json", "metrics_details.json"
_ERRORS = {
    "trans_err": "ATE",
    "scale_err": "ASE",
    "orient_err": "AOE",
    "vel_err": "AVE",
    "attr_err": "AAE",
}
# The benchmark has no such error for these.
_UNDEFINED = {"traffic_cone": ("AOE", "AVE", "AAE"), "barrier": ("AVE", "AAE")}


class _Tables:
    """The part of NuScenes that DetectionEval reads, with only the samples that were replayed."""

    def __init__(self, nusc: Any, dataroot: Path, sample_tokens: Sequence[str]) -> None:
        self.dataroot = str(dataroot)
        self.version = nusc.version
        self.attribute = nusc.attribute
        self.sample = [nusc.get("sample", token) for token in sample_tokens]
        self.get = nusc.get
        self.box_velocity = nusc.box_velocity


def make_overlay(nusc: Any, scenes: Sequence[str], folder: Path) -> Path:
    """Return a dataroot of links to the given one, plus the custom split `replayed`.

    The dataroot itself may be read-only, and the devkit reads custom splits only from inside it.
    The overlay can be scored again by hand with the devkit's own command line.
    """
    tables = folder / nusc.version
    tables.mkdir(parents=True, exist_ok=True)
    source = Path(nusc.dataroot).resolve()
    if source != folder.resolve():  # else it is scored again from its own overlay
        for item in source.iterdir():
            if item.name != nusc.version:
                _link(folder / item.name, item)
        for item in (source / nusc.version).iterdir():
            if item.name != "splits.json":
                _link(tables / item.name, item)
    (tables / "splits.json").write_text(json.dumps({SPLIT: list(scenes)}))
    return folder


def _link(link: Path, target: Path) -> None:
    if link.is_symlink():
        link.unlink()
    link.symlink_to(target)


def evaluate_submission(
    nusc: Any, submission: Path, sample_tokens: Sequence[str], folder: Path
) -> dict[str, Any]:
    """Return the scores of a submission over the given samples.

    Args:
        nusc: The devkit's tables.
        submission: The JSON file; it has every token.
        sample_tokens: The samples that count.
        folder: Where the overlay dataroot and the devkit's own files go: its summary, and its
            details with precision, score and errors over recall.

    Returns:
        mAP, NDS, the five mean errors, `per_class`, `ground_truths` and `predictions` per class
        after the devkit's filters. An error that a class does not have is None.

    Raises:
        ValueError: If no ground truth is left to score against.
    """
    scenes = sorted({_scene_of(nusc, token) for token in sample_tokens})
    overlay = make_overlay(nusc, scenes, folder / "dataroot")
    results = json.loads(submission.read_text())["results"]
    for name in (SUMMARY, DETAILS):
        (folder / name).unlink(missing_ok=True)
    if not any(results[token] for token in sample_tokens):
        return _scores_of_nothing()
    tables = _Tables(nusc, overlay, sample_tokens)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        evaluation = DetectionEval(
            tables, config_factory(CONFIG), str(submission), SPLIT, str(folder), verbose=False
        )
        if not evaluation.gt_boxes.all:
            raise ValueError("expected ground truth within class range, got none in these samples")
        scores, details = evaluation.evaluate()
    metrics = scores.serialize()
    (folder / SUMMARY).write_text(json.dumps(metrics, indent=2))
    (folder / DETAILS).write_text(json.dumps(details.serialize()))
    (folder / "plots").rmdir()  # the devkit makes it, empty, for plots that are not asked for
    return _scores(metrics, _count(evaluation.gt_boxes), _count(evaluation.pred_boxes))


def _scene_of(nusc: Any, sample_token: str) -> str:
    return str(nusc.get("scene", nusc.get("sample", sample_token)["scene_token"])["name"])


def _count(boxes: Any) -> dict[str, int]:
    return dict(Counter(box.detection_name for box in boxes.all))


def _scores(
    metrics: dict[str, Any], ground_truths: dict[str, int], predictions: dict[str, int]
) -> dict[str, Any]:
    per_class = {}
    for name in DETECTION_NAMES:
        errors = metrics["label_tp_errors"][name]
        per_class[name] = {"AP": metrics["mean_dist_aps"][name]} | {
            label: None if math.isnan(errors[key]) else errors[key]
            for key, label in _ERRORS.items()
        }
    present = [per_class[name]["AP"] for name in DETECTION_NAMES if ground_truths.get(name)]
    return {
        "mAP": metrics["mean_ap"],
        "NDS": metrics["nd_score"],
        **{f"m{label}": metrics["tp_errors"][key] for key, label in _ERRORS.items()},
        "mAP_of_present_classes": sum(present) / len(present),
        "per_class": per_class,
        "ground_truths": ground_truths,
        "predictions": predictions,
    }


def _scores_of_nothing() -> dict[str, Any]:
    """Return what the benchmark defines for a submission without a box; the devkit refuses it."""
    per_class: dict[str, dict[str, float | None]] = {name: {"AP": 0.0} for name in DETECTION_NAMES}
    for name, scores in per_class.items():
        for error in _ERRORS.values():
            scores[error] = None if error in _UNDEFINED.get(name, ()) else 1.0
    return {
        "mAP": 0.0,
        "NDS": 0.0,
        **{f"m{label}": 1.0 for label in _ERRORS.values()},
        "mAP_of_present_classes": 0.0,
        "per_class": per_class,
        "ground_truths": {},
        "predictions": {},
    }
