# SPDX-License-Identifier: Apache-2.0
"""Write docs/faults.md from the tables of planted faults.

PYTHONPATH=.:test python test/faults/fault_page.py
"""

from __future__ import annotations

from pathlib import Path

from faults.engine_faults import ENGINE_FAULTS
from faults.fault_table import FAULTS, LEVELS
from faults.package_faults import START_FAULTS

from simdistill_ros.replay.faults.parse import describe_faults

PAGE = Path(__file__).resolve().parents[2] / "docs" / "faults.md"
HEAD = """# What the node says when something goes wrong

Written from the tables in `test/faults` by `test/faults/fault_page.py`; do not edit. Each of the
{count} faults is planted by the tests. Into a running node: they check that the status in
`/diagnostics` has the level and the words below, that the log has a line with them, that no
detection comes of spoilt images, and that the node recovers as the last column says. What a node is
started with and what its engine cache holds are tables of their own at the end.

`cam_back` stands for any camera. A status begins with its cause; `count.<cause>` beside it says how
often it happened.

"""
REPLAY = """
## Faults for a replay

`ros2 run simdistill_ros replay --mode realtime --fault frame_loss:probability=0.2 --fault blur ...`
plants faults into recorded or generated data; the run's facts and report name them, and the scores
say what they cost. Equal seeds give equal faults. A realtime replay also has a *streaming score*:
each ground truth is compared with the newest answer that was finished at its time, so latency
counts (`--streaming-latency-s` gives a step replay such a score for an assumed latency).

```text
"""


def page() -> str:
    """Return the page's text."""
    lines = [HEAD.format(count=len(FAULTS) + len(START_FAULTS) + len(ENGINE_FAULTS))]
    for group in dict.fromkeys(fault.group for fault in FAULTS):
        lines.append(f"## {group.capitalize()}\n\n")
        lines.append(
            "| fault | status | level | cause | says | recovers |\n|---|---|---|---|---|---|\n"
        )
        for fault in FAULTS:
            if fault.group == group:
                words = ", ".join(f"`{word}`" for word in fault.words)
                lines.append(
                    f"| {fault.name} | {fault.subject} | {LEVELS[fault.level]} | "
                    f"`{fault.cause}` | {words} | {fault.recovery} |\n"
                )
        lines.append("\n")
    lines.append(
        "## Disk, device, parameters\n\nThe node stays unconfigured and alive; the status of "
        "`model` is ERROR, its cause `not_configured`.\n\n"
        "| fault | kind | says | recovers |\n|---|---|---|---|\n"
    )
    for start in START_FAULTS:
        words = ", ".join(f"`{word}`" for word in start.words)
        lines.append(f"| {start.name} | {start.group} | {words} | {start.recovery} |\n")
    lines.append(
        "\n## Engine cache\n\nThe node starts all the same: the engine is built anew, and the log "
        "says why.\n\n| fault | says | outcome |\n|---|---|---|\n"
    )
    for engine in ENGINE_FAULTS:
        lines.append(f"| {engine.name} | `{engine.words}` | {engine.outcome} |\n")
    return "".join(lines) + REPLAY + describe_faults() + "\n```\n"


if __name__ == "__main__":
    PAGE.write_text(page())
