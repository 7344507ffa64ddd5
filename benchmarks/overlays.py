# SPDX-License-Identifier: Apache-2.0
"""What live pictures cost: off, on without anybody looking, and looked at, in turn.

Six 1600x900 JPEG cameras at 12 Hz into the node with a stub backend, in another process; a rig for
each turn. `total` is from the last image's arrival to the published boxes.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks.bench_node import NodeTurn, node_turn
from benchmarks.machine import describe_machine, percentiles
from simdistill_ros.command_line.parser import command_parser
from simdistill_ros.command_line.run import Outcome, run_command
from simdistill_ros.command_line.terminal import say

NAME = "python -m benchmarks overlays"
EXAMPLES = ((f"{NAME} --seconds 5 --rounds 1", "a quick look"),)
TOPICS = ("/detector/overlay/mosaic/compressed", "/detector/overlay/bev/compressed")
ON = ("overlay.mosaic:=true", "overlay.bev:=true")
# Mode -> the node's parameters and what the rig's process looks at.
MODES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "off": ((), ()),
    "on, nobody looks": (ON, ()),
    "both looked at": (ON, TOPICS),
}


def main(argv: Sequence[str]) -> int:
    """Measure and print the table; return the exit status."""
    parser = command_parser(NAME, __doc__, EXAMPLES, completes=False)
    parser.add_argument("--seconds", type=float, default=15, help="of a turn (default: 15)")
    parser.add_argument("--rounds", type=int, default=3, help="turns a mode (default: 3)")
    arguments = parser.parse_args(argv)
    return run_command(NAME, arguments, lambda: _tell(arguments.seconds, arguments.rounds))


def _tell(seconds: float, rounds: int) -> Outcome:
    rows = bench_overlays(seconds, rounds)
    lines = ["mode | sets | total p50 ms | p95 ms | pictures/s | cores", "---|" * 6]
    lines += [" | ".join(str(value) for value in row.values()) for row in rows]
    return Outcome("\n".join(lines), {"machine": describe_machine(), "overlays": rows})


def bench_overlays(seconds: float, rounds: int) -> list[dict[str, Any]]:
    """Return a row a mode: medians over the rounds."""
    turns: dict[str, list[NodeTurn]] = {mode: [] for mode in MODES}
    for number in range(rounds):
        for mode, (parameters, topics) in MODES.items():
            say(f"  round {number + 1} of {rounds}: {mode}")
            turns[mode].append(node_turn(seconds, parameters, topics))
    return [_row(mode, own) for mode, own in turns.items()]


def _row(mode: str, turns: Sequence[NodeTurn]) -> dict[str, Any]:
    totals = [percentiles(turn.stages_ms["total"]) for turn in turns]
    sets = [f"{turn.answered}/{turn.cycles}" for turn in turns]
    return {
        "mode": mode,
        "sets": ", ".join(sets),
        "p50": round(statistics.median(total["p50"] for total in totals), 1),
        "p95": round(statistics.median(total["p95"] for total in totals), 1),
        "pictures": round(statistics.median(turn.pictures / turn.seconds for turn in turns), 1),
        "cores": round(statistics.median(turn.cores for turn in turns), 2),
    }
