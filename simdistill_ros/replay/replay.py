# SPDX-License-Identifier: Apache-2.0
"""Play nuScenes data against the detector over DDS and score what it publishes.

Leaves report.html (open it in a browser), results_nusc.json (the submission), metrics.json,
timing.json, model.yaml, detector.log, bag/<scene> and evaluation/ (the devkit's own output, and
links plus a custom split for the devkit's own command line) in OUT. With --record also
recording/<scene>: all that was played and answered in one MCAP file, for Foxglove and RViz.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from simdistill_ros.command_line.parser import command_parser
from simdistill_ros.command_line.run import CheckFailedError, Outcome, run_command
from simdistill_ros.replay.faults.fault import Fault
from simdistill_ros.replay.faults.parse import describe_faults, parse_fault
from simdistill_ros.replay.node_process import DetectorDiedError
from simdistill_ros.replay.nuscenes_to_bag import INPUTS, add_dataset_arguments
from simdistill_ros.replay.options import MODES, ReplayOptions
from simdistill_ros.replay.report import format_report
from simdistill_ros.replay.run import run_replay
from simdistill_ros.report.page import write_report

EXAMPLES = (
    ("replay --dataroot DATA --out out/mini", "make a bag, start the node on it, score it"),
    ("replay --dataroot DATA --out out/oracle --oracle", "the same with ground truth for network"),
    ("replay --dataroot DATA --out out/mine --external-node detector --domain-id 0",
     "against your own running node"),
    ("replay --dataroot DATA --out out/hard --fault camera_crash:cameras=cam_front",
     "with a fault planted; --fault help lists them"),
)  # fmt: skip


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = command_parser("replay", __doc__, EXAMPLES)
    add_dataset_arguments(parser)
    add = parser.add_argument
    add("--out", type=Path, required=True, help="folder for the results")
    add("--bag", type=Path, help="play this bag (or folder of bags) instead of making one")
    add("--model", default="", help="name or folder of the model (default: small)")
    add("--device", default="cpu", help="device of the network (default %(default)s)")
    add("--oracle", action="store_true", help="ground truth in place of the network")
    add("--external-node", metavar="NAME", help="play against this running, active detector")
    add("--mode", choices=MODES, default="step", help="default %(default)s")
    add("--rate", type=float, default=1.0, help="speed of realtime (default %(default)s)")
    add("--input", choices=INPUTS, default="compressed", help="default %(default)s")
    add("--fixed-frame", default="map", help="frame that undoes ego motion; '' leaves it in")
    add("--score-threshold", type=float, default=0.05, help="default %(default)s")
    add("--start-timeout-s", type=float, default=120.0, help="for the node (default %(default)s)")
    add("--timeout-s", type=float, default=20.0, help="wait for an answer (default %(default)s)")
    add("--attempts", type=int, default=3, help="sendings of a step's set (default %(default)s)")
    add("--max-age-s", type=float, default=0.0,
        help="let an answer to images so much older stand in (default: 0)")  # fmt: skip
    add("--limit", type=int, help="only the first keyframes of each scene")
    add("--domain-id", type=int, help="DDS domain (default: random, this machine only)")
    add("--fault", dest="faults", type=_fault, action="append", default=[],
        metavar="NAME[:KEY=VALUE,...]", help="plant a fault; `help` lists all")  # fmt: skip
    add("--streaming-latency-s", type=float, metavar="S",
        help="step only: streaming score as if every answer took so long")  # fmt: skip
    add("--record", action="store_true", help="write recording/<scene>: a bag with the answers")
    add("--overlays", action="store_true", help="with the detector's pictures in the recording")
    add("--no-report", dest="report", action="store_false", help="write no report.html")
    return parser


def options_of(arguments: argparse.Namespace) -> ReplayOptions:
    """Return what the command line asks for."""
    values = {field.name: getattr(arguments, field.name) for field in fields(ReplayOptions)}
    tuples = {name: tuple(values[name]) for name in ("scenes", "faults")}
    return ReplayOptions(**{**values, **tuples})


def _fault(text: str) -> Fault:
    if text == "help":
        print(describe_faults())
        raise SystemExit(0)
    try:
        return parse_fault(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    arguments = make_parser().parse_args(argv)
    return run_command("replay", arguments, lambda: _replay(options_of(arguments)))


def _replay(options: ReplayOptions) -> Outcome:
    try:
        result = run_replay(options)
    except DetectorDiedError as error:
        raise CheckFailedError(str(error)) from error
    page = ""
    if options.report and result.tables is not None:
        write_report(options.out, result.tables)
        page = "report.html, "
    page += "recording/, " if options.record else ""
    log = "" if options.external_node else ", detector.log"
    where = f"results in {options.out}: {page}metrics.json, results_nusc.json{log}"
    return Outcome(f"{format_report(result.metrics)}\n\n{where}", result.metrics)


if __name__ == "__main__":
    sys.exit(main())
