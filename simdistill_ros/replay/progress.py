# SPDX-License-Identifier: Apache-2.0
"""The one look of progress bars."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, TypeVar

from tqdm import tqdm

Item = TypeVar("Item")


def progress(items: Iterable[Item], what: str, total: int | None = None) -> Iterable[Item]:
    """Yield the items behind a bar on stderr; in a log file it is refreshed seldom."""
    return tqdm(items, **_look(what, total))  # type: ignore[no-any-return]


def progress_bar(what: str, total: int, done: int = 0) -> Any:
    """Return a bar to `update` by hand; `done` of the total was there before."""
    return tqdm(**_look(what, total), initial=done)


def _look(what: str, total: int | None) -> dict[str, Any]:
    interval_s = 0.2 if sys.stderr.isatty() else 15.0
    return {"desc": what, "total": total, "mininterval": interval_s, "ncols": 90, "smoothing": 0.1}
