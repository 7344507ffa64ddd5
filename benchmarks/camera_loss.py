# SPDX-License-Identifier: Apache-2.0
"""Accuracy with cameras lost, for each policy: one table, scored by the devkit.

    python -m benchmarks camera_loss --dataroot DATA --version v1.0-mini --split mini_val \
        --model out/package --out out/camera_loss

The detector is the vehicle's own; `--model oracle` puts the ground truth that a camera with an
image looks at in its place, and so shows what is lost merely because nobody looks there.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.lost_cameras import Loss, blackened, blanked, held
from benchmarks.machine import describe_machine
from simdistill_ros.command_line.parser import command_parser
from simdistill_ros.command_line.run import Outcome, run_command
from simdistill_ros.command_line.terminal import progress_bar
from simdistill_ros.core.boxes import Detections, empty_detections
from simdistill_ros.core.coverage import is_seen, sectors_of
from simdistill_ros.core.frames import inverse
from simdistill_ros.core.snapshot import Snapshot
from simdistill_ros.load_detector import detector_of_model
from simdistill_ros.replay.evaluation import evaluate_submission
from simdistill_ros.replay.nuscenes_reader import (
    ground_truths_of_sample,
    load_nuscenes,
    poses_of_scene,
    samples_of_scene,
    select_scenes,
    snapshot_of_sample,
)
from simdistill_ros.replay.pose_track import PoseTrack
from simdistill_ros.replay.sample_record import SampleRecord
from simdistill_ros.replay.submission import Record, records_from_detections, write_submission

POLICIES = ("drop", "blank", "blank+suppress", "hold", "black picture")
Detect = Callable[[Snapshot], Detections]


@dataclass
class Scored:
    """Submission records of one loss under one policy, and how old held images were."""

    records: dict[str, list[Record]] = field(default_factory=dict)
    held_ages_ms: list[float] = field(default_factory=list)


NAME = "python -m benchmarks camera_loss"
EXAMPLES = ((f"{NAME} --dataroot DATA --model out/mine --most 1", "each camera lost alone"),)


def main(argv: Sequence[str]) -> int:
    """Measure, print and save the table; return the exit status."""
    parser = command_parser(NAME, __doc__, EXAMPLES, completes=False)
    add = parser.add_argument
    add("--dataroot", required=True, help="nuScenes folder (samples, sweeps, tables)")
    add("--version", default="v1.0-mini", help="table folder (default %(default)s)")
    add("--split", default=None, help="default: all scenes of the dataroot")
    add("--scenes", default="", help="comma-separated; default: all of the split")
    add("--model", default="tiny", help="model, package folder, or oracle (default %(default)s)")
    add("--backend", default="auto", help="default %(default)s")
    add("--device", default="cpu", help="default %(default)s")
    add("--most", type=int, default=3, help="cameras lost at most (default: 3)")
    add("--hold-s", type=float, default=0.6, help="keyframes are 0.5 s apart (default: 0.6)")
    add("--seed", type=int, default=0, help="default %(default)s")
    add("--limit", type=int, default=0, help="samples a scene; 0: all")
    add("--out", type=Path, default=Path("out/camera_loss"), help="default %(default)s")
    arguments = parser.parse_args(argv)
    return run_command(NAME, arguments, lambda: _measure_and_keep(arguments))


def _measure_and_keep(arguments: argparse.Namespace) -> Outcome:
    result = measure(arguments)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "camera_loss.json").write_text(json.dumps(result, indent=2) + "\n")
    table = render(result)
    (arguments.out / "camera_loss.md").write_text(table)
    return Outcome(table, result)


def losses(most: int, seed: int, hold_ns: int) -> list[Loss]:
    """Return nothing lost, Camera Crash and Frame Lost of 1 to `most` of six cameras."""
    crashes = [Loss(f"{n} crashed", crashed=n, seed=seed) for n in range(1, most + 1)]
    frames = [
        Loss(f"frames lost {n}/6", frame_lost=n / 6, seed=seed, hold_ns=hold_ns)
        for n in range(1, most + 1)
    ]
    return [Loss("none"), *crashes, *frames]


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return mAP and NDS of every loss under every policy."""
    nusc = load_nuscenes(arguments.dataroot, arguments.version)
    names = [name for name in arguments.scenes.split(",") if name]
    scenes = select_scenes(nusc, arguments.split, names)
    detector = None
    if arguments.model != "oracle":
        detector = detector_of_model(arguments.model, arguments.device, arguments.backend)
    wanted = losses(arguments.most, arguments.seed, round(arguments.hold_s * 1e9))
    scored = {(loss.name, policy): Scored() for loss in wanted for policy in POLICIES}
    samples = [
        (scene, sample, poses)
        for scene in scenes
        for poses in [poses_of_scene(nusc, scene)]
        for sample in samples_of_scene(nusc, scene)[: arguments.limit or None]
    ]
    with progress_bar("camera loss", len(samples)) as bar:
        for scene, sample, poses in samples:
            detect = detector.detect if detector else _oracle(nusc, sample, poses)
            cameras = detector.cameras if detector else tuple(sample.camera_stamps_ns)
            snapshot = snapshot_of_sample(nusc, sample.token, cameras)
            for loss in wanted:
                lost = loss.cameras(scene, sample.token, cameras)
                found = _under_policies(nusc, sample, snapshot, loss, lost, detect)
                for policy, (boxes, ages_ms) in found.items():
                    one = scored[loss.name, policy]
                    one.records[sample.token] = _records(boxes, sample, poses)
                    one.held_ages_ms += ages_ms
            bar.update(1)
    tokens = [sample.token for _, sample, _ in samples]
    rows = [
        _row(nusc, key, one, tokens, arguments.out / "evaluation") for key, one in scored.items()
    ]
    what = detector.description if detector else "oracle: ground truth where an image looks"
    return {
        "what": what,
        "scenes": scenes,
        "samples": len(tokens),
        "seed": arguments.seed,
        "machine": describe_machine(),
        "rows": rows,
    }


def _under_policies(
    nusc: Any,
    sample: SampleRecord,
    snapshot: Snapshot,
    loss: Loss,
    lost: tuple[str, ...],
    detect: Detect,
) -> dict[str, tuple[Detections, list[float]]]:
    """Return the boxes of a sample under each policy, and the ages of held images."""
    if not lost:
        return dict.fromkeys(POLICIES, (detect(snapshot), []))
    without = blanked(snapshot, lost)
    blank = detect(without)
    seen = is_seen(sectors_of(without.views), blank.centers_m[:, :2])
    stand_ins = held(nusc, sample.token, snapshot, loss, lost)
    ages_ms = [(snapshot.stamp_ns - stand_ins.view(c).stamp_ns) / 1e6 for c in stand_ins.held]
    nothing = empty_detections(blank.frame, blank.stamp_ns, blank.class_names)
    return {
        "drop": (nothing, []),
        "blank": (blank, []),
        "blank+suppress": (blank.select(seen), []),
        "hold": (detect(stand_ins), ages_ms),
        "black picture": (detect(blackened(snapshot, lost)), []),
    }


def _oracle(nusc: Any, sample: SampleRecord, poses: PoseTrack) -> Detect:
    def detect(snapshot: Snapshot) -> Detections:
        truths = ground_truths_of_sample(nusc, sample.token, poses, snapshot.stamp_ns)
        return truths.select(is_seen(sectors_of(snapshot.views), truths.centers_m[:, :2]))

    return detect


def _records(boxes: Detections, sample: SampleRecord, poses: PoseTrack) -> list[Record]:
    global_from_ego = poses.at(boxes.stamp_ns)
    return records_from_detections(
        boxes,
        sample.token,
        global_from_frame=global_from_ego,
        ego_from_frame=inverse(poses.at(sample.stamp_ns)) @ global_from_ego,
    )


def _row(
    nusc: Any, key: tuple[str, str], scored: Scored, tokens: Sequence[str], folder: Path
) -> dict[str, Any]:
    submission = folder / "results_nusc.json"
    write_submission(submission, scored.records)
    metrics = evaluate_submission(nusc, submission, tokens, folder)
    ages = sorted(scored.held_ages_ms)
    return {
        "loss": key[0],
        "policy": key[1],
        "mAP": round(metrics["mAP"], 4),
        "NDS": round(metrics["NDS"], 4),
        "held_age_ms": round(ages[len(ages) // 2]) if ages else None,
    }


def render(result: dict[str, Any]) -> str:
    """Return the table: a loss a row, a policy a column, `mAP / NDS`."""
    by_key = {(row["loss"], row["policy"]): row for row in result["rows"]}
    names = list(dict.fromkeys(row["loss"] for row in result["rows"]))
    lines = [
        f"{result['what']}; {result['samples']} samples of {', '.join(result['scenes'])}; "
        f"seed {result['seed']}; mAP / NDS by nuscenes-devkit.\n",
        "| lost | " + " | ".join(POLICIES) + " | age of held images |",
        "|---" * (len(POLICIES) + 2) + "|",
    ]
    for name in names:
        cells = [f"{by_key[name, p]['mAP']:.3f} / {by_key[name, p]['NDS']:.3f}" for p in POLICIES]
        age_ms = by_key[name, "hold"]["held_age_ms"]
        age = "" if age_ms is None else f"{age_ms} ms"
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {age} |")
    return "\n".join(lines) + "\n"
