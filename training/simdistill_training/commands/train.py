# SPDX-License-Identifier: Apache-2.0
"""`simdistill train`, `overfit` and `view-data`: what is done with an experiment."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from simdistill_ros.command_line.parser import add_command
from simdistill_ros.command_line.run import Outcome
from simdistill_training.commands.evaluate import format_scores
from simdistill_training.commands.experiment import add_experiment, experiment_of


def add_train(commands: Any) -> None:
    """Add `train` to the parser."""
    examples = [
        ("simdistill train teacher-tiny --dataroot DATA --version v1.0-mini --train mini_train "
         "--val mini_val", "train a teacher"),
        ("simdistill train student-simdistill-tiny --dataroot DATA --resume", "go on after a kill"),
        ("simdistill train my.yaml --set schedule.steps=1000 --devices 8 --strategy ddp",
         "your own experiment, on eight GPUs"),
    ]  # fmt: skip
    command = add_command(commands, "train", "run an experiment", examples)
    add_experiment(command)
    command.add_argument("--out", type=Path, help="run folder (default: out/runs/<name>)")
    command.add_argument("--resume", action="store_true", help="go on after a kill")
    command.add_argument("--accelerator", default="auto", help="auto, cpu, gpu")
    command.add_argument("--devices", type=int, default=1, help="devices a node")
    command.add_argument("--nodes", type=int, default=1, help="machines (default: 1)")
    command.add_argument("--strategy", default="auto", help="ddp for several devices")
    command.set_defaults(command=_train)


def _train(arguments: argparse.Namespace) -> Outcome:
    from simdistill_training.train import Machine, train

    experiment, card = experiment_of(arguments)
    folder = arguments.out or Path("out/runs") / experiment.name
    machine = Machine(arguments.accelerator, arguments.devices, arguments.nodes, arguments.strategy)
    checkpoint = train(experiment, folder, card=card, resume=arguments.resume, machine=machine)
    return Outcome(str(checkpoint), {"checkpoint": str(checkpoint), "run": str(folder)})


def add_overfit(commands: Any) -> None:
    """Add `overfit` to the parser."""
    examples = [
        ("simdistill overfit teacher-tiny --dataroot DATA --samples 1 --smoke", "one sample"),
    ]
    what = "learn a few samples by heart and score them"
    command = add_command(commands, "overfit", what, examples)
    add_experiment(command)
    command.add_argument("--samples", type=int, default=2, help="default %(default)s")
    command.add_argument("--token", action="append", default=[], help="a sample; repeatable")
    command.add_argument("--steps", type=int, default=400, help="default %(default)s")
    command.add_argument("--device", default="cpu", help="default %(default)s")
    command.add_argument(
        "--out", type=Path, default=Path("out/overfit"), help="default %(default)s"
    )
    command.set_defaults(command=_overfit)


def _overfit(arguments: argparse.Namespace) -> Outcome:
    from simdistill_training.overfit import overfit

    experiment, card = experiment_of(arguments)
    metrics = overfit(
        experiment,
        card,
        arguments.out,
        tokens=tuple(arguments.token),
        count=arguments.samples,
        steps=arguments.steps,
        device=arguments.device,
    )
    most = metrics["ceiling"]["mAP_of_present_classes"]
    reach = f"perfect head maps would have {most:.4f} mAP of present classes on these samples"
    return Outcome(f"{format_scores(metrics)}\n{reach}", metrics)


def add_view_data(commands: Any) -> None:
    """Add `view-data` to the parser."""
    examples = [
        ("simdistill view-data teacher-tiny --dataroot DATA --count 4", "augmented, into "
         "out/view-data"),
        ("simdistill view-data teacher-tiny --dataroot DATA --plain", "as the vehicle sees it"),
    ]  # fmt: skip
    command = add_command(commands, "view-data", "draw what the network will see", examples)
    add_experiment(command)
    command.add_argument("--count", type=int, default=8, help="default %(default)s")
    command.add_argument("--plain", action="store_true", help="without augmentation")
    command.add_argument(
        "--out", type=Path, default=Path("out/view-data"), help="default %(default)s"
    )
    command.set_defaults(command=_view_data)


def _view_data(arguments: argparse.Namespace) -> Outcome:
    from simdistill_training.view_data import view_data

    experiment, card = experiment_of(arguments)
    plain = arguments.plain
    drawn = view_data(experiment, card, arguments.out, count=arguments.count, augmented=not plain)
    files = [str(file) for file in drawn]
    return Outcome("\n".join(files), {"files": files})
