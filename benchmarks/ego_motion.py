# SPDX-License-Identifier: Apache-2.0
"""What undoing ego motion between the cameras is worth, and what it costs.

Worth: annotated objects are put where each image shows them, once with the pose of its own stamp
(`fixed_frame` set) and once as if all images were of the newest stamp (`fixed_frame` empty). The
distance between both is the box error that compensation removes. Cost: the time to make the pooling
tables, which then belong to one snapshot only.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks.machine import percentiles
from simdistill_ros.command_line.parser import command_parser
from simdistill_ros.command_line.run import Outcome, run_command
from simdistill_ros.core.camera import project_points
from simdistill_ros.core.detector import Detector
from simdistill_ros.core.frames import FloatArray, inverse, transform_points
from simdistill_ros.core.preprocess import Preprocessor
from simdistill_ros.load_detector import detector_of_model
from simdistill_ros.replay.nuscenes_reader import (
    SensorRecord,
    camera_records_of_sample,
    ground_truths_in_global,
    load_nuscenes,
    samples_of_scene,
    select_scenes,
    snapshot_of_sample,
)

SPEEDS_MPS = ((0.0, 1.0), (1.0, 5.0), (5.0, 10.0), (10.0, 50.0))


NAME = "python -m benchmarks ego_motion"
EXAMPLES = ((f"{NAME} --dataroot DATA", "what ego motion costs, and what undoing it costs"),)


def main(argv: Sequence[str]) -> int:
    """Measure and print both; return the exit status."""
    parser = command_parser(NAME, __doc__, EXAMPLES, completes=False)
    add = parser.add_argument
    add("--dataroot", required=True, help="nuScenes folder (samples, sweeps, tables)")
    add("--version", default="v1.0-mini", help="table folder (default %(default)s)")
    add("--model", default="tiny", help="default %(default)s")
    add("--rounds", type=int, default=30, help="default %(default)s")
    arguments = parser.parse_args(argv)
    return run_command(NAME, arguments, lambda: _measure(arguments))


def _measure(arguments: argparse.Namespace) -> Outcome:
    nusc = load_nuscenes(arguments.dataroot, arguments.version)
    scenes = select_scenes(nusc)
    lines = ["| speed, m/s | objects in images | error without, m: p50 | p95 | largest |",
             "|---|---|---|---|---|"]  # fmt: skip
    rows = []
    speeds, errors = _errors(nusc, scenes)
    for low, high in SPEEDS_MPS:
        own = errors[(speeds >= low) & (speeds < high)]
        if len(own):
            p50, p95 = np.percentile(own, [50, 95])
            rows.append({"speed_mps": [low, high], "objects": len(own), "p50_m": float(p50),
                         "p95_m": float(p95), "largest_m": float(own.max())})  # fmt: skip
            lines.append(
                f"| {low:g} to {high:g} | {len(own)} | {p50:.3f} | {p95:.3f} | {own.max():.3f} |"
            )
    detector = detector_of_model(arguments.model)
    token = samples_of_scene(nusc, scenes[0])[0].token
    times = _table_times(detector, nusc, token, arguments.rounds)
    lines.append(f"pooling tables, ms: {times}")
    return Outcome("\n".join(lines), {"errors": rows, "pooling_tables_ms": times})


def _errors(nusc: Any, scenes: Sequence[str]) -> tuple[FloatArray, FloatArray]:
    """Return the ego's speed and the displacement of each object in each image that shows it."""
    speeds, errors = [], []
    for scene in scenes:
        samples = samples_of_scene(nusc, scene)
        for before, sample in pairwise(samples):
            records = camera_records_of_sample(nusc, sample.token)
            speed_mps = _speed_mps(camera_records_of_sample(nusc, before.token), records)
            centers = ground_truths_in_global(nusc, sample.token).centers_m
            newest = max(records.values(), key=lambda record: record.stamp_ns)
            for record in records.values():
                shown = centers[_is_shown(record, centers)]
                true = transform_points(inverse(newest.global_from_ego), shown)
                assumed = transform_points(inverse(record.global_from_ego), shown)
                errors += np.linalg.norm(true - assumed, axis=1).tolist()
                speeds += [speed_mps] * len(shown)
    return np.array(speeds), np.array(errors)


def _speed_mps(before: dict[str, SensorRecord], after: dict[str, SensorRecord]) -> float:
    first, second = before["cam_front"], after["cam_front"]
    moved_m = np.linalg.norm(second.global_from_ego[:3, 3] - first.global_from_ego[:3, 3])
    return float(moved_m / ((second.stamp_ns - first.stamp_ns) / 1e9))


def _is_shown(record: SensorRecord, points_global: FloatArray) -> np.ndarray[Any, Any]:
    """Tell which points lie in a camera's image, within 50 m."""
    calibration = record.calibration
    assert calibration is not None
    cam_from_global = inverse(record.global_from_ego @ record.ego_from_sensor)
    points_cam = transform_points(cam_from_global, points_global)
    pixels, depths = project_points(calibration.image_from_cam, points_cam)
    size = np.array([calibration.width_px, calibration.height_px])
    inside = ((pixels >= 0) & (pixels < size)).all(axis=1)
    return np.asarray(inside & (depths > 0) & (np.linalg.norm(points_cam, axis=1) < 50))


def _table_times(detector: Detector, nusc: Any, token: str, rounds: int) -> dict[str, float]:
    """Return the processor time of new pooling tables: a different pose each round."""
    snapshot = snapshot_of_sample(nusc, token, detector.cameras)
    network_input = Preprocessor(detector.input_rule, detector.cameras)(snapshot)
    times_ms = []
    for number in range(rounds):
        network_input.ego_from_cam[:, 0, 3] += 1e-3 * (number + 1)
        start_ns = time.thread_time_ns()
        detector.tables_of(network_input)
        times_ms.append((time.thread_time_ns() - start_ns) / 1e6)
    return percentiles(times_ms)
