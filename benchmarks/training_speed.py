# SPDX-License-Identifier: Apache-2.0
"""How fast experiments train here, and how long the network waits for data.

`loader` is what the data pipeline delivers when nothing else runs, `samples` what comes out of
whole steps. Where the first is above the second, and waiting small, data are not the limit.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import torch

from simdistill_ros.command_line.parser import command_parser

STEPS, WORKERS, BATCH_SIZE = 10, 2, 2
COLUMNS = {
    "loader_samples_per_s": "loader, samples/s",
    "steps_per_s": "steps/s",
    "samples_per_s": "samples/s",
    "waiting_share": "waiting for data",
}


def bench_training(models: list[str], steps: int = STEPS) -> dict[str, Any]:
    """Return samples and steps a second of the shipped experiments of some models."""
    from simdistill_training.speed import IMAGE_WH_PX, measure_speed

    device = "cuda" if torch.cuda.is_available() else "cpu"
    with tempfile.TemporaryDirectory() as folder:
        speed = measure_speed(
            models, Path(folder), device=device, steps=steps, workers=WORKERS, batch_size=BATCH_SIZE
        )
    return {
        "what": f"{steps} steps of {BATCH_SIZE} samples on {device}, {WORKERS} loading processes, "
        f"{torch.get_num_threads()} threads, images of {IMAGE_WH_PX[0]}x{IMAGE_WH_PX[1]}",
        "experiments": speed["experiments"],
    }


def training_table(result: dict[str, Any]) -> list[str]:
    """Return the section about training."""
    lines = [
        "### Training\n",
        f"{result['what']}. `loader` is the data pipeline alone.\n",
        "| experiment | " + " | ".join(COLUMNS.values()) + " |",
        "|---|" + "---|" * len(COLUMNS),
    ]
    for name, row in result["experiments"].items():
        numbers = " | ".join(f"{row[key]:.3g}" for key in COLUMNS)
        lines.append(f"| {name} | {numbers} |")
    return [*lines, ""]


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of `python -m benchmarks training`."""
    name = "python -m benchmarks training"
    examples = [(name, "tiny"), (f"{name} tiny r50-256x704 --steps 3", "two models, few steps")]
    parser = command_parser(name, __doc__, examples, completes=False)
    parser.add_argument("models", nargs="*", default=["tiny"], help="default: tiny")
    parser.add_argument("--steps", type=int, default=STEPS, help="timed (default: %(default)s)")
    parser.add_argument("--no-save", action="store_true", help="only print the numbers")
    return parser
