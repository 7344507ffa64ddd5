# SPDX-License-Identifier: Apache-2.0
"""The web page of an evaluation: what ran and its scores, on the page that a replay has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from simdistill_ros.replay.machine import describe_environment
from simdistill_ros.report.page import write_report
from simdistill_ros.report.run_data import write_facts
from simdistill_training.checkpoint import CARD_FILE, plain_card
from simdistill_training.evaluation_job import EvaluationJob, hash_of_weights
from simdistill_training.load_model import LoadedModel


def write_evaluation_report(
    folder: Path, job: EvaluationJob, model: LoadedModel, tokens: Sequence[str], nusc: Any
) -> Path:
    """Write `run.json`, the model card and `report.html` beside an evaluation's scores.

    Args:
        folder: Holds `metrics.json` and `results_nusc.json`.
        job: What was evaluated.
        model: The model of it.
        tokens: The samples that were scored.
        nusc: The devkit's tables.

    Raises:
        OSError: If images are missing.
    """
    scenes = dict.fromkeys(nusc.get("sample", token)["scene_token"] for token in tokens)
    write_facts(
        folder,
        samples=len(tokens),
        run={
            "detector": f"{model.role} {model.card.name}",
            "weights": hash_of_weights(model.network),
            "mode": "offline",
            "split": job.source.split,
            "version": job.source.version,
            "scenes": [nusc.get("scene", token)["name"] for token in scenes],
            "score_threshold": job.threshold,
            "device": job.device,
        },
        environment=describe_environment(),
    )
    card = yaml.safe_dump(plain_card(model.card), sort_keys=False)
    (folder / CARD_FILE).write_text(card, encoding="utf-8")
    return write_report(folder, nusc)
