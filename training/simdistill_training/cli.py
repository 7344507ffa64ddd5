# SPDX-License-Identifier: Apache-2.0
"""The command `simdistill`; each of its commands imports what it needs when it is called."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

from simdistill_ros import __version__
from simdistill_ros.command_line.parser import add_command, command_parser
from simdistill_ros.command_line.run import Outcome, run_command
from simdistill_ros.core.backends.base import BackendError
from simdistill_training.commands.bench import add_bench
from simdistill_training.commands.evaluate import add_evaluate
from simdistill_training.commands.package import add_export, add_package
from simdistill_training.commands.train import add_overfit, add_train, add_view_data
from simdistill_training.convert.cli import add_convert
from simdistill_training.data.errors import BrokenSampleError
from simdistill_training.deploy.cli import add_deploy

EXAMPLES = (
    ("simdistill train student-simdistill-tiny --dataroot DATA --smoke", "a minute on a CPU"),
    ("simdistill evaluate out/runs/mine --split val", "score what was trained"),
    ("simdistill COMMAND --help", "examples of each command"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    arguments = parser().parse_args(argv)
    command = partial(arguments.command, arguments)
    name = f"simdistill {arguments.command_name}"
    return run_command(name, arguments, command, mendable=(BrokenSampleError, BackendError))


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    top = command_parser("simdistill", "Train, distil, evaluate, export.", EXAMPLES, reports=False)
    commands = top.add_subparsers(dest="command_name", required=True, metavar="COMMAND")
    add_train(commands)
    add_evaluate(commands)
    add_overfit(commands)
    add_view_data(commands)
    add_package(commands)
    add_export(commands)
    add_deploy(commands)
    add_convert(commands)
    add_bench(commands)
    _add_version(commands)
    return top


def _add_version(commands: Any) -> None:
    examples = [("simdistill version", "the same as simdistill -V")]
    command = add_command(commands, "version", "print the program's version", examples)
    command.set_defaults(command=lambda _: Outcome(f"simdistill {__version__}",
                                                   {"version": __version__}))  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
