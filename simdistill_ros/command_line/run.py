# SPDX-License-Identifier: Apache-2.0
"""Call a command: print what it returns, say what went wrong, return the exit status."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from simdistill_ros.command_line.terminal import RED, painted, say, set_audience

FINE, FOUND, WRONG_USE, BUG, INTERRUPTED = 0, 1, 2, 3, 130
BROKEN_PIPE = 141
DEBUG_VARIABLE = "SIMDISTILL_DEBUG"


class CheckFailedError(RuntimeError):
    """A check of the command came out badly; the message says which."""


@dataclass(frozen=True)
class Outcome:
    """What a command has to tell.

    Attributes:
        text: For people; "" for nothing.
        data: For programs: plain data.
        status: FINE, or FOUND where a check failed or something was found.
    """

    text: str = ""
    data: Any = None
    status: int = FINE


def run_command(
    name: str,
    arguments: argparse.Namespace,
    command: Callable[[], Outcome | None],
    *,
    mendable: tuple[type[Exception], ...] = (),
) -> int:
    """Run a command and return its exit status.

    Args:
        name: What people typed, for messages.
        arguments: What they typed after it; a parser of `command_parser` or `add_command` made it.
        command: Does the work. What a user can mend is raised as ValueError or OSError, a check
            that came out badly as CheckFailedError.
        mendable: Other exceptions of things that a user can mend.
    """
    quiet, as_json = arguments.quiet, getattr(arguments, "json", False) is True
    set_audience(quiet=quiet, json=as_json)
    logging.basicConfig(level=logging.WARNING if quiet else logging.INFO, format="%(message)s")
    is_debug = arguments.debug or os.environ.get(DEBUG_VARIABLE, "0") not in ("", "0")
    try:
        outcome = command() or Outcome()
        if as_json:
            print(json.dumps(outcome.data, indent=2))
        elif outcome.text:
            say(outcome.text)
        return outcome.status
    except BrokenPipeError:
        # The reader of a pipe has left; nobody is there to be told.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except KeyboardInterrupt:
        complain(name, "interrupted")
        return INTERRUPTED
    except Exception as error:
        if is_debug:
            traceback.print_exc()
        return _explain(name, error, mendable)


def complain(name: str, text: str) -> None:
    """Print an error."""
    print(painted(f"{name}: ", RED, sys.stderr) + text, file=sys.stderr)


def _explain(name: str, error: Exception, mendable: tuple[type[Exception], ...]) -> int:
    """Say what is wrong without a traceback; return the exit status."""
    if isinstance(error, CheckFailedError):
        complain(name, str(error))
        return FOUND
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        complain(name, f"{error.filename}: {error.strerror.lower()}{_way_out(error)}")
        return WRONG_USE
    if isinstance(error, (ValueError, OSError, *mendable)):
        complain(name, str(error))
        return WRONG_USE
    complain(
        name,
        f"a bug: {type(error).__name__}: {error}\n"
        f"run it again with --debug, or {DEBUG_VARIABLE}=1, and report what it prints",
    )
    return BUG


def _way_out(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "; check the path"
    if isinstance(error, PermissionError):
        return "; choose another place, or have its owner allow it"
    if isinstance(error, FileExistsError):
        return "; remove it or choose another place"
    return ""
