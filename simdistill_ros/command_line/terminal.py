# SPDX-License-Identifier: Apache-2.0
"""Words, colours and progress bars for people; a file or pipe gets plain words and no bars."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TextIO, TypeVar

Item = TypeVar("Item")

RED, YELLOW, CYAN = "\033[1;31m", "\033[1;33m", "\033[36m"
RESET = "\033[0m"


@dataclass
class _Audience:
    """Whom this process speaks to; set once, when a command starts."""

    is_quiet: bool = False
    wants_json: bool = False


_audience = _Audience()


def set_audience(*, quiet: bool, json: bool) -> None:
    """Say whether people want to hear anything, and whether a program reads standard output."""
    _audience.is_quiet, _audience.wants_json = quiet, json


def say(text: str) -> None:
    """Tell people something: on standard output, or beside it where that belongs to a program."""
    if not _audience.is_quiet:
        print(text, file=sys.stderr if _audience.wants_json else sys.stdout, flush=True)


def wants_color(stream: TextIO) -> bool:
    """Tell whether a stream is a terminal whose owner has not asked for plain text."""
    is_plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    return stream.isatty() and not is_plain


def painted(text: str, color: str, stream: TextIO) -> str:
    """Return the text in a colour where the stream wants it."""
    return f"{color}{text}{RESET}" if wants_color(stream) else text


def wants_progress() -> bool:
    """Tell whether anybody would see a progress bar."""
    return sys.stderr.isatty() and not _audience.is_quiet


def progress(items: Iterable[Item], what: str, total: int | None = None) -> Iterable[Item]:
    """Yield the items behind a bar with the time left."""
    return _bar(items, what, total)  # type: ignore[no-any-return]


def progress_bar(what: str, total: int, done: int = 0, unit: str = "it") -> Any:
    """Return a bar to `update` by hand; `done` of the total was there before."""
    return _bar(None, what, total, initial=done, unit=unit)


def _bar(items: Iterable[Item] | None, what: str, total: int | None, **more: Any) -> Any:
    from tqdm import tqdm  # late: commands without bars run where it is not installed

    look = {"ncols": 90, "mininterval": 0.2, "smoothing": 0.1, "disable": not wants_progress()}
    return tqdm(items, what, total, **look, **more)
