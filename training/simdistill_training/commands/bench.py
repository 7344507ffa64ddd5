# SPDX-License-Identifier: Apache-2.0
"""`simdistill bench`: what distillation gains, and how fast experiments train."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from simdistill_ros.command_line.parser import add_command
from simdistill_ros.command_line.run import Outcome
from simdistill_training.commands.experiment import assignments
from simdistill_training.strict import CONFIGS, config_file


def add_bench(commands: Any) -> None:
    """Add `bench` to the parser."""
    examples = [
        ("simdistill bench --config bench-tiny --out out/bench --jobs 16 --parallel 3 "
         "--accelerator gpu", "generate, train, compare; goes on where it was stopped"),
        ("simdistill bench --speed tiny", "samples and steps a second only"),
    ]  # fmt: skip
    command = add_command(commands, "bench", "measure what distillation gains", examples)
    command.add_argument("--config", default="bench-tiny", help="YAML of the benchmark")
    command.add_argument("--out", type=Path, default=Path("out/bench"), help="scenes and runs")
    command.add_argument("--results", type=Path, default=None, help="folder of results/*.json")
    command.add_argument("--accelerator", default="auto", help="auto, cpu, gpu")
    command.add_argument("--jobs", type=int, default=2, help="processes that generate scenes")
    command.add_argument("--set", metavar="KEY=VALUE", action="append", default=[],
                         help="change one key of all experiments")  # fmt: skip
    command.add_argument("--only", default="", help="runs whose name contains this")
    command.add_argument("--minutes", type=float, default=0.0, help="start no run after this")
    command.add_argument("--parallel", type=int, default=1, help="students trained at a time")
    command.add_argument("--speed", nargs="*", metavar="MODEL", default=None,
                         help="measure speed only, of these models (default: tiny)")  # fmt: skip
    command.add_argument("--table", action="store_true", help="only write results of what is done")
    command.set_defaults(command=_bench)


def _bench(arguments: argparse.Namespace) -> Outcome:
    from simdistill_training.bench import run_bench

    results = arguments.results or CONFIGS.parent / "results"
    if arguments.speed is not None:
        models = arguments.speed or ["tiny"]
        return _speed(models, arguments.out, results, arguments.accelerator)
    table = run_bench(
        config_file(arguments.config),
        arguments.out,
        results,
        accelerator=arguments.accelerator,
        jobs=arguments.jobs,
        changes=assignments(arguments.set),
        only=arguments.only,
        minutes=arguments.minutes,
        parallel=arguments.parallel,
        table_only=arguments.table,
    )
    return Outcome(table, {"results": str(results)})


def _speed(models: list[str], out: Path, results: Path, accelerator: str) -> Outcome:
    from simdistill_training.speed import measure_speed

    device = "cuda" if accelerator in ("gpu", "cuda") else "cpu"
    speed = measure_speed(models, out, device=device, steps=10, workers=2, batch_size=2)
    results.mkdir(parents=True, exist_ok=True)
    file = results / f"speed-{device}.json"
    file.write_text(json.dumps(speed, indent=2) + "\n")
    return Outcome(f"wrote {file}", speed)
