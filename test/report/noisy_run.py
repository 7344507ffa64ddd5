# SPDX-License-Identifier: Apache-2.0
"""The folder of a run whose detector is known: ground truth, made worse on purpose."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from simdistill_ros.core.boxes import Detections
from simdistill_ros.core.frames import inverse
from simdistill_ros.replay.evaluation import evaluate_submission
from simdistill_ros.replay.nuscenes_reader import ground_truths_in_global, sensor_record
from simdistill_ros.replay.submission import records_from_detections, write_submission


@dataclass(frozen=True)
class Noise:
    """How much worse.

    Attributes:
        offset_m: Standard deviation of the centres.
        missed: Share of objects without a box.
        mistaken: Share of boxes with another class.
        false: Boxes at nothing, as a share of the objects.
        seed: Of the generator.
    """

    offset_m: float = 0.4
    missed: float = 0.2
    mistaken: float = 0.05
    false: float = 0.3
    seed: int = 0


def write_noisy_run(nusc: Any, folder: Path, noise: Noise, name: str = "noisy oracle") -> Path:
    """Write what a replay leaves: submission, scores, times and the devkit's own output."""
    rng = np.random.default_rng(noise.seed)
    folder.mkdir(parents=True, exist_ok=True)
    tokens = [sample["token"] for sample in nusc.sample]
    results = {}
    for token in tokens:
        pose = sensor_record(nusc, nusc.get("sample", token)["data"]["LIDAR_TOP"]).global_from_ego
        boxes = worsen(ground_truths_in_global(nusc, token), pose[:2, 3], noise, rng)
        results[token] = records_from_detections(
            boxes, token, global_from_frame=np.eye(4), ego_from_frame=inverse(pose)
        )
    submission = folder / "results_nusc.json"
    write_submission(submission, results)
    latencies = dict(zip(tokens, rng.gamma(20.0, 5.0, len(tokens)).tolist(), strict=True))
    metrics = {
        **evaluate_submission(nusc, submission, tokens, folder / "evaluation"),
        "samples": len(tokens),
        "answered": len(tokens),
        "lost": [],
        "republished": 0,
        "latency_ms": {
            "median": float(np.median(list(latencies.values()))),
            "p95": float(np.percentile(list(latencies.values()), 95)),
        },
        "stages_ms": {"snapshot": 12.5, "inference": 64.0, "decode": 7.25, "total": 83.75},
        "run": {
            "detector": name,
            "weights": None,
            "mode": "step",
            "version": nusc.version,
            "scenes": [scene["name"] for scene in nusc.scene],
        },
        "environment": {"date": "2026-01-02 03:04 UTC", "commit": "0123abc"},
    }
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "timing.json").write_text(json.dumps({"latency_ms": latencies}))
    return folder


def worsen(
    boxes: Detections, vehicle_m: np.ndarray, noise: Noise, rng: np.random.Generator
) -> Detections:
    """Return boxes of a bad detector: far objects are missed more often and get lower scores."""
    distances = np.linalg.norm(boxes.centers_m[:, :2] - vehicle_m, axis=1)
    seen = boxes.select(np.flatnonzero(rng.random(len(boxes)) > noise.missed * distances / 25.0))
    count = round(noise.false * len(boxes))
    false = seen.select(rng.integers(0, len(seen), min(count, len(seen))))
    shift = rng.normal(0.0, 8.0, (len(false), 3)) * [1.0, 1.0, 0.0]
    false = replace(false, centers_m=false.centers_m + shift)
    joined = {
        key: np.concatenate([getattr(seen, key), getattr(false, key)])
        for key in ("centers_m", "sizes_lwh_m", "yaws_rad", "velocities_mps", "labels")
    }
    total = len(joined["labels"])
    swapped = rng.random(total) < noise.mistaken
    joined["labels"] = np.where(swapped, (joined["labels"] + 1) % 10, joined["labels"])
    joined["centers_m"] = joined["centers_m"] + rng.normal(0.0, noise.offset_m, (total, 3)) * [
        *(1.0, 1.0, 0.1)
    ]
    joined["yaws_rad"] = joined["yaws_rad"] + rng.normal(0.0, 0.1, total)
    joined["velocities_mps"] = joined["velocities_mps"] * rng.normal(1.0, 0.2, (total, 1))
    means = np.concatenate([np.full(len(seen), 0.65), np.full(len(false), 0.3)])
    scores = np.clip(rng.normal(means, 0.15), 0.02, 0.99)
    return replace(boxes, scores=scores, **joined)
