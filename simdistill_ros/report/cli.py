# SPDX-License-Identifier: Apache-2.0
"""Write the web page of a replay again, or one that compares two replays."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from simdistill_ros.command_line.parser import command_parser
from simdistill_ros.command_line.run import Outcome, run_command
from simdistill_ros.report.compare import write_comparison
from simdistill_ros.report.page import MAX_FRAMES, write_report

EXAMPLES = (
    ("report out/demo", "write out/demo/report.html again"),
    ("report --compare out/baseline out/distilled", "write report_compare.html"),
)


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = command_parser("report", __doc__, EXAMPLES)
    add = parser.add_argument
    add("run", type=Path, nargs="?", help="folder of a replay with metrics.json")
    add("--compare", type=Path, nargs=2, metavar=("RUN_A", "RUN_B"), help="folders of two replays")
    add("--out", type=Path, default=Path("report_compare.html"),
        help="file of the comparison (default %(default)s)")  # fmt: skip
    add("--dataroot", type=Path, help="the data, if it is not where it was at the replay")
    add("--max-frames", type=int, default=MAX_FRAMES,
        help="frames in the viewer; more make a larger page (default %(default)s)")  # fmt: skip
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = make_parser()
    arguments = parser.parse_args(argv)
    if (arguments.run is None) == (arguments.compare is None):
        parser.error("expected the folder of one run, or --compare with two")
    return run_command("report", arguments, lambda: _write(arguments))


def _write(arguments: argparse.Namespace) -> Outcome:
    if arguments.compare:
        first, second = arguments.compare
        page = write_comparison(first, second, arguments.out, arguments.dataroot)
    else:
        page = write_report(
            arguments.run, dataroot=arguments.dataroot, max_frames=arguments.max_frames
        )
    size = page.stat().st_size
    return Outcome(f"{page}  {size / 1e6:.1f} MB", {"page": str(page), "bytes": size})


if __name__ == "__main__":
    sys.exit(main())
