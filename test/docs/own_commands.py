# SPDX-License-Identifier: Apache-2.0
"""This project's commands, called in this process: by their own parser only, or for real."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
ENTRY = re.compile(r'"?(\w+)\s*=\s*"?([\w.]+):(\w+)"')


class _Read(Exception):
    """The command line was read without a complaint."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self.parser = parser


def console_scripts() -> dict[str, tuple[str, str]]:
    """Return command → module and function, as the two distributions install them."""
    texts = ((ROOT / name).read_text() for name in ("setup.py", "training/pyproject.toml"))
    scripts = {found[1]: (found[2], found[3]) for text in texts for found in ENTRY.finditer(text)}
    return {name: where for name, where in scripts.items() if name != "detector_node"}


def own_command(words: Sequence[str]) -> tuple[Callable[[], Any], list[str]] | None:
    """Return main function and command line of one of this project's commands; None for others."""
    words = list(words)
    if words[:3] == ["ros2", "run", "simdistill_ros"]:
        words = words[3:]
    name = words[0].removeprefix(".venv/bin/")
    scripts = console_scripts()
    if name in scripts:
        module, function = scripts[name]
        return getattr(importlib.import_module(module), function), [name, *words[1:]]
    if name in ("python", "python3") and words[1:2] == ["-m"]:
        return _main_of(words[2]), [words[2], *words[3:]]
    return None


def _main_of(module: str) -> Callable[[], Any]:
    loaded = importlib.import_module(module)
    if hasattr(loaded, "__path__"):
        loaded = importlib.import_module(f"{module}.__main__")
    main: Callable[[], Any] = loaded.main
    return main


@contextlib.contextmanager
def _reading_only(*, parse: bool) -> Iterator[None]:
    """Let commands get as far as their parser; it raises `_Read`, after its work if `parse`."""
    parser_class = argparse.ArgumentParser
    originals = {name: getattr(parser_class, name) for name in ("parse_args", "parse_known_args")}
    depth = 0

    def replaced(name: str) -> Callable[..., Any]:
        def read(self: argparse.ArgumentParser, args: Any = None, namespace: Any = None) -> Any:
            nonlocal depth
            depth += 1
            try:
                result = originals[name](self, args, namespace) if parse else None
            finally:
                depth -= 1
            if depth:
                return result  # a parser's own use of its other method, or a command's parser
            if parse and name == "parse_known_args" and result[1][:1] not in ([], ["--ros-args"]):
                self.error(f"unrecognized arguments: {result[1]}")
            raise _Read(self)

        return read

    for name in originals:
        setattr(parser_class, name, replaced(name))
    try:
        yield
    finally:
        for name, original in originals.items():
            setattr(parser_class, name, original)


def complaint_of(main: Callable[[], Any], line: Sequence[str]) -> str:
    """Return what a command's own parser has against a command line; empty: nothing."""
    said = io.StringIO()
    with (
        _reading_only(parse=True),
        contextlib.redirect_stderr(said),
        contextlib.redirect_stdout(said),
    ):
        try:
            _call(main, line)
        except _Read:
            return ""
        except SystemExit as end:
            return "" if end.code in (0, None) else said.getvalue()
    return "the command did not read its options: " + said.getvalue()


def parser_of(main: Callable[[], Any], line: Sequence[str]) -> argparse.ArgumentParser:
    """Return the parser that a command reads its line with."""
    with _reading_only(parse=False):
        try:
            _call(main, line)
        except _Read as read:
            return read.parser
    raise AssertionError(f"{line[0]}: expected a command that reads options")


def options_of(parser: argparse.ArgumentParser) -> set[str]:
    """Return all options of a parser and of its commands."""
    options = set(parser._option_string_actions)
    for commands in commands_of_parser(parser).values():
        options |= options_of(commands)
    return options


def commands_of_parser(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the commands that a parser knows."""
    actions = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    return dict(actions[0].choices) if actions else {}


def run(main: Callable[[], Any], line: Sequence[str]) -> int:
    """Run a command and return its exit status."""
    try:
        return int(_call(main, line) or 0)
    except SystemExit as end:
        return int(end.code or 0)


def _call(main: Callable[[], Any], line: Sequence[str]) -> Any:
    before = sys.argv
    sys.argv = list(line)
    try:
        return main()
    finally:
        sys.argv = before
