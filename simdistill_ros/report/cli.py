# SPDX-License-Identifier: Apache-2.0
"""Write the web page of a replay again, or one that compares two replays.

report out/demo                                     out/demo/report.html
report --compare out/baseline out/distilled         report_compare.html
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from simdistill_ros.report.compare import write_comparison
from simdistill_ros.report.page import MAX_FRAMES, write_report


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="report", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("run", type=Path, nargs="?", help="folder of a replay with metrics.json")
    add("--compare", type=Path, nargs=2, metavar=("RUN_A", "RUN_B"), help="folders of two replays")
    add("--out", type=Path, default=Path("report_compare.html"),
        help="file of the comparison (default %(default)s)")  # fmt: skip
    add("--dataroot", type=Path, help="the data, if it is not where it was at the replay")
    add("--max-frames", type=int, default=MAX_FRAMES,
        help="frames in the viewer; more make a larger page (default %(default)s)")  # fmt: skip
    arguments = parser.parse_args(argv)
    if (arguments.run is None) == (arguments.compare is None):
        parser.error("expected the folder of one run, or --compare with two")
    try:
        if arguments.compare:
            first, second = arguments.compare
            path = write_comparison(first, second, arguments.out, arguments.dataroot)
        else:
            path = write_report(
                arguments.run, dataroot=arguments.dataroot, max_frames=arguments.max_frames
            )
    except (ValueError, OSError) as error:
        print(f"report: {error}", file=sys.stderr)
        return 1
    print(f"{path}  {path.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
