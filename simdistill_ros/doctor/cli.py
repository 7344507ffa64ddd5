# SPDX-License-Identifier: Apache-2.0
"""Look at a rig for ten seconds and name what keeps detections away, or makes them wrong.

A bag is a rosbag2 folder or file, MCAP or sqlite3. With --out the pictures cameras.jpg (horizon and
ground grid as the calibration has them), rig.png (what each camera sees) and spread.png (how far
images of one set are apart) are written. Errors, and with --strict warnings, end it with 1.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from simdistill_ros.command_line.parser import command_parser
from simdistill_ros.command_line.run import Outcome, run_command
from simdistill_ros.command_line.terminal import wants_color
from simdistill_ros.doctor.diagnosis import Diagnosis, diagnose
from simdistill_ros.doctor.document import document_of
from simdistill_ros.doctor.terminal import format_diagnosis

EXAMPLES = (
    ("doctor", "the running graph, with the default topics"),
    ("doctor --params my_rig.yaml", "with your topics and parameters"),
    ("doctor --params config/presets/wato.yaml --bag drive_17", "a recording"),
    ("doctor --bag drive_17 --seconds 60 --out check --json check/doctor.json --strict",
     "a minute of it, with pictures and a report for programs"),
)  # fmt: skip


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = command_parser("doctor", __doc__, EXAMPLES, reports=False)
    add = parser.add_argument
    add("--params", type=Path, action="append", default=[], metavar="FILE",
        help="the node's parameter file; several: later ones win")  # fmt: skip
    add("--namespace", default="", help="the node's namespace, for relative topics")
    add("--bag", type=Path, help="look at this bag instead of the running graph")
    add("--seconds", type=float, default=10.0, help="how long to look (default %(default)s)")
    add("--json", type=Path, metavar="FILE", nargs="?", const=Path("-"),
        help="write the report as JSON; without FILE, or with -, to standard output")  # fmt: skip
    add("--out", type=Path, metavar="DIR", help="folder for pictures")
    add("--strict", action="store_true", help="warnings count as errors")
    return parser


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; what follows --ros-args is ROS's own."""
    parser = make_parser()
    arguments, rest = parser.parse_known_args(sys.argv[1:] if argv is None else argv)
    if rest and rest[0] != "--ros-args":
        parser.error(f"unknown argument {rest[0]}")
    if arguments.seconds <= 0:
        parser.error(f"--seconds: expected a positive number, got {arguments.seconds}")
    return arguments


def examine(arguments: argparse.Namespace) -> tuple[Diagnosis, str]:
    """Look and diagnose; return the diagnosis and what was looked at.

    Raises:
        ValueError: If parameter file or bag cannot be read.
    """
    # Late, so that --help needs no ROS and a running graph no bag library.
    from simdistill_ros.doctor.parameter_file import plan_from_files

    plan = plan_from_files(arguments.params, arguments.namespace)
    if arguments.bag is not None:
        from simdistill_ros.doctor.bag import look_at_bag

        rig = look_at_bag(arguments.bag, plan, arguments.seconds)
        return diagnose(rig), f"bag {arguments.bag}"
    from simdistill_ros.doctor.live import look_at_graph

    return diagnose(look_at_graph(plan, arguments.seconds)), "the running graph"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    arguments = parse_arguments(argv)
    return run_command("doctor", arguments, lambda: _look(arguments))


def _look(arguments: argparse.Namespace) -> Outcome:
    diagnosis, source = examine(arguments)
    to_pipe = str(arguments.json) == "-"
    stream = sys.stderr if to_pipe else sys.stdout
    if not arguments.quiet:
        print(format_diagnosis(diagnosis, source, color=wants_color(stream)), file=stream)
    text = json.dumps(document_of(diagnosis, source), indent=2)
    if to_pipe:
        print(text)
    elif arguments.json is not None:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(text + "\n", encoding="utf-8")
    if arguments.out is not None:
        _draw(arguments, diagnosis, stream)
    return Outcome(status=diagnosis.exit_status(strict=arguments.strict))


def _draw(arguments: argparse.Namespace, diagnosis: Diagnosis, stream: TextIO) -> None:
    from simdistill_ros.doctor.drawings import write_drawings

    for path in write_drawings(diagnosis.rig, arguments.out):
        if not arguments.quiet:
            print(f"wrote {path}", file=stream)


if __name__ == "__main__":
    sys.exit(main())
