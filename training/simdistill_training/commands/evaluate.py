# SPDX-License-Identifier: Apache-2.0
"""`simdistill evaluate`, and scores as text."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from simdistill_ros.command_line.parser import add_command
from simdistill_ros.command_line.run import Outcome
from simdistill_ros.shards.options import add_sharing_options, sharing_of
from simdistill_training.strict import config_file


def add_evaluate(commands: Any) -> None:
    """Add `evaluate` to the parser."""
    examples = [
        ("simdistill evaluate out/runs/mine", "on the run's own validation split"),
        ("simdistill evaluate models/mine --dataroot DATA --version v1.0-trainval --split val "
         "--processes 4", "a package, in four processes"),
        ("simdistill evaluate out/runs/mine --address node1:29400",
         "the same command on several machines: node1 collects and scores"),
    ]  # fmt: skip
    command = add_command(commands, "evaluate", "score a run or a model package", examples)
    command.add_argument("model", type=Path, help="run folder, checkpoint or model package")
    command.add_argument("--config", help="experiment that names the data; for model packages")
    command.add_argument("--dataroot", help="instead of data.dataroot")
    command.add_argument("--version", help="of its tables, instead of data.version")
    command.add_argument("--split", help="instead of data.val")
    command.add_argument("--out", type=Path, help="default: <model>/evaluation-<split>")
    command.add_argument("--score-threshold", type=float, help="default: the model card's")
    command.add_argument("--device", default="cpu", help="default %(default)s")
    command.add_argument("--batch-size", type=int, default=1, help="default %(default)s")
    command.add_argument("--workers", type=int, default=2, help="loading processes of each process")
    command.add_argument("--threads", type=int, help="of the network in each process")
    command.add_argument("--no-report", dest="report", action="store_false",
                         help="write no report.html")  # fmt: skip
    add_sharing_options(command)
    command.add_argument("--shard-size", type=int, default=32,
                         help="samples that a lost worker costs (default: 32)")  # fmt: skip
    command.set_defaults(command=_evaluate)


def _evaluate(arguments: argparse.Namespace) -> Outcome:
    from simdistill_training.evaluate_model import evaluate_model

    metrics = evaluate_model(
        arguments.model,
        config=config_file(arguments.config) if arguments.config else None,
        dataroot=arguments.dataroot,
        version=arguments.version,
        split=arguments.split,
        out=arguments.out,
        threshold=arguments.score_threshold,
        device=arguments.device,
        batch_size=arguments.batch_size,
        workers=arguments.workers,
        threads=arguments.threads,
        sharing=sharing_of(arguments, arguments.shard_size),
        report=arguments.report,
    )
    if metrics is None:  # the coordinator has them
        return Outcome(data={"coordinator": arguments.address})
    return Outcome(format_scores(metrics), metrics)


def format_scores(metrics: dict[str, Any]) -> str:
    """Return the scores as lines for a terminal."""
    lines = [
        "  ".join(f"{n} {metrics[n]:.4f}" for n in ("mAP", "NDS", "mAP_of_present_classes")),
        "  ".join(f"{n} {metrics[n]:.4f}" for n in ("mATE", "mASE", "mAOE", "mAVE", "mAAE")),
    ]
    for name, scores in metrics["per_class"].items():
        count = metrics["ground_truths"].get(name, 0)
        lines.append(f"{name:<22}{count:>7} objects  AP {scores['AP']:.3f}")
    return "\n".join(lines)
