# SPDX-License-Identifier: Apache-2.0
"""Detect in recorded drives without a running node; in many of them on several machines.

Writes OUT/<bag>.jsonl, one line a snapshot: stamp_ns, frame, missing_cameras and boxes (class,
score, center_m, size_lwh_m, yaw_rad, velocity_mps, seen), and OUT/summary.json. Synchronisation,
calibration, transforms and decoding are the node's own, by the bag's clock.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from simdistill_ros.command_line.parser import command_parser
from simdistill_ros.command_line.run import FINE, FOUND, Outcome, run_command
from simdistill_ros.core.backends.base import BackendError
from simdistill_ros.shards.ledger import clear_shards
from simdistill_ros.shards.options import add_sharing_options, sharing_of

EXAMPLES = (
    ("detect drives/monday --params my_rig.yaml --out out/monday", "a bag, or a folder of bags"),
    ("detect drives/* --model out/mine --processes 4 --out out/drives", "in four processes"),
    ("detect drives --address node1:29400 --out out/drives",
     "the same command on several machines: node1 collects"),
)  # fmt: skip


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = command_parser("detect", __doc__, EXAMPLES)
    add = parser.add_argument
    add("bags", type=Path, nargs="+", metavar="BAG", help="bag, or folder of bags")
    add("--out", type=Path, required=True, help="folder for the results")
    add("--params", type=Path, action="append", default=[], metavar="FILE",
        help="the node's parameter file; several: later ones win")  # fmt: skip
    add("--model", default="", help="name or folder of the model (default: the file's, or small)")
    add("--device", default="", help="device of the network (default: the file's, or cpu)")
    add("--score-threshold", type=float, help="boxes below are left out (default: the file's)")
    add("--threads", type=int, help="of PyTorch in each process")
    add_sharing_options(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    arguments = make_parser().parse_args(argv)
    return run_command("detect", arguments, lambda: _detect(arguments), mendable=(BackendError,))


def _detect(arguments: argparse.Namespace) -> Outcome:
    # Late, so that --help needs neither ROS nor torch.
    from simdistill_ros.detect.job import DetectJob
    from simdistill_ros.shards.run import run_in_shards

    settings = {
        "model.path": arguments.model,
        "device": arguments.device,
        "score_threshold": arguments.score_threshold,
    }
    given = tuple((name, value) for name, value in settings.items() if value not in ("", None))
    job = DetectJob(tuple(arguments.bags), tuple(arguments.params), given, arguments.threads)
    shards = arguments.out / "shards"
    results = run_in_shards(job, shards, sharing_of(arguments, shard_size=1), "bags")
    if results is None:
        return Outcome(data={"coordinator": arguments.address})
    found = {name: one for part in results for name, one in part.items()}
    summary = {name: _keep(arguments.out, name, one) for name, one in found.items()}
    (arguments.out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    clear_shards(shards)
    is_empty = not all(one["snapshots"] for one in summary.values())
    text = "\n".join(_line(name, one) for name, one in summary.items())
    return Outcome(text, summary, FOUND if is_empty else FINE)


def _keep(out: Path, name: str, result: dict[str, Any]) -> dict[str, Any]:
    """Write a bag's detections; return what the summary says of them."""
    lines = [json.dumps(frame) for frame in result["frames"]]
    (out / f"{name}.jsonl").write_text("".join(f"{line}\n" for line in lines))
    boxes = sum(len(frame["boxes"]) for frame in result["frames"])
    return {"snapshots": len(lines), "boxes": boxes, "faults": result["faults"]}


def _line(name: str, one: dict[str, Any]) -> str:
    faults = [f"{subject} {cause} x{count}" for subject, causes in one["faults"].items()
              for cause, count in causes.items()]  # fmt: skip
    tail = f"; {', '.join(faults)}" if faults else ""
    return f"{name}: {one['snapshots']} snapshots, {one['boxes']} boxes{tail}"


if __name__ == "__main__":
    sys.exit(main())
