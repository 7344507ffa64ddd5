# SPDX-License-Identifier: Apache-2.0
"""`simdistill package` and `export`: from a run to what a vehicle loads."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from simdistill_ros.command_line.parser import add_command
from simdistill_ros.command_line.run import Outcome


def add_package(commands: Any) -> None:
    """Add `package` to the parser."""
    examples = [
        ('simdistill package out/runs/mine models/mine --data "nuScenes v1.0-trainval, train"',
         "card and weights for the vehicle"),
    ]  # fmt: skip
    command = add_command(commands, "package", "write a student's model package", examples)
    command.add_argument("run", type=Path, help="run folder or checkpoint")
    command.add_argument("out", type=Path, help="folder of the package")
    command.add_argument("--name", help="of the model; default: the card's")
    command.add_argument("--data", required=True, help="what it was trained on, for the card")
    command.add_argument("--metrics", type=Path, help="metrics.json to put into the card")
    command.set_defaults(command=_package)


def _package(arguments: argparse.Namespace) -> Outcome:
    from simdistill_training.evaluate_model import package_run

    metrics = json.loads(arguments.metrics.read_text()) if arguments.metrics else None
    card = package_run(
        arguments.run, arguments.out, name=arguments.name, data=arguments.data, metrics=metrics
    )
    return Outcome(str(card.file), {"card": str(card.file)})


def add_export(commands: Any) -> None:
    """Add `export` to the parser."""
    examples = [
        ("simdistill export models/mine", "in place"),
        ("simdistill export models/tiny out/tiny", "into a copy"),
    ]
    what = "add ONNX graphs and a golden example to a package"
    command = add_command(commands, "export", what, examples)
    command.add_argument("package", type=Path, help="model package: folder with model.yaml")
    command.add_argument("out", type=Path, nargs="?", help="folder to write; default: the package")
    command.add_argument("--tolerance", type=float, default=1e-4,
                         help="largest error of a backend that serves (default: 1e-4)")  # fmt: skip
    command.add_argument("--tolerance-fp16", type=float,
                         help="spread of errors in half precision; default: measured")  # fmt: skip
    command.set_defaults(command=_export)


def _export(arguments: argparse.Namespace) -> Outcome:
    from simdistill_training.export import export_package

    card, proof = export_package(
        arguments.package,
        arguments.out or arguments.package,
        tolerance=arguments.tolerance,
        tolerance_fp16=arguments.tolerance_fp16,
    )
    text = f"{card.file}: onnxruntime passes the self-test: {proof}"
    return Outcome(text, {"card": str(card.file), "self_test": str(proof)})
