# SPDX-License-Identifier: Apache-2.0
"""Argument parsers with the same help, options and words everywhere."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from simdistill_ros import __version__

EXIT_STATUS = (
    "exit status: 0 fine; 1 a check failed or something was found; 2 wrong use, or input that "
    "cannot\nbe used; 3 a bug of this program; 130 interrupted"
)
SHELLS = ("bash", "zsh")

# A command line, and what it does.
Example = tuple[str, str]


def command_parser(
    prog: str,
    description: str | None,
    examples: Sequence[Example],
    *,
    reports: bool = True,
    completes: bool = True,
) -> argparse.ArgumentParser:
    """Return the parser of a command.

    Args:
        prog: What people type.
        description: What it does, usually the module's docstring.
        examples: Command lines that work, with what they do.
        reports: Whether to add `--json`; a command without results has none, or its own.
        completes: Whether a shell can complete it; `python -m ...` cannot be.
    """
    parser = argparse.ArgumentParser(prog=prog, **_looks(description, examples))
    parser.add_argument("-V", action="version", version=f"{prog} {__version__}",
                        help="print the program's version and exit")  # fmt: skip
    if completes:
        from simdistill_ros.command_line.completion import PrintCompletion

        parser.add_argument("--print-completion", choices=SHELLS, action=PrintCompletion,
                            help="print a completion script for a shell and exit")  # fmt: skip
    add_manners(parser, reports=reports)
    return parser


def add_command(
    commands: Any,
    name: str,
    description: str,
    examples: Sequence[Example],
    *,
    reports: bool = True,
) -> argparse.ArgumentParser:
    """Return the parser of a command among several of one program.

    Args:
        commands: What `add_subparsers` returned.
        name: Of the command.
        description: What it does; shown in the program's help too.
        examples: As for `command_parser`.
        reports: As for `command_parser`.
    """
    looks = _looks(description, examples)
    parser: argparse.ArgumentParser = commands.add_parser(name, help=description, **looks)
    add_manners(parser, reports=reports)
    return parser


def add_manners(parser: argparse.ArgumentParser, *, reports: bool) -> None:
    """Add the options that every command has."""
    parser.add_argument("-q", "--quiet", action="store_true", help="print errors only")
    if reports:
        parser.add_argument(
            "--json", action="store_true", help="print the results as JSON, and nothing else"
        )
    parser.add_argument(
        "--debug", action="store_true", help="show tracebacks of errors; or set SIMDISTILL_DEBUG=1"
    )


def _looks(description: str | None, examples: Sequence[Example]) -> dict[str, Any]:
    lines = [f"  {line}\n      {what}" for line, what in examples]
    return {
        "description": description,
        "epilog": "\n".join(["examples:", *lines, "", EXIT_STATUS]),
        "formatter_class": argparse.RawDescriptionHelpFormatter,
    }
