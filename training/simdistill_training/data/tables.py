# SPDX-License-Identifier: Apache-2.0
"""Read nuScenes' JSON tables row by row, no table held in memory, and fingerprint them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

TABLES = (
    "category",
    "instance",
    "sensor",
    "calibrated_sensor",
    "scene",
    "sample",
    "ego_pose",
    "sample_data",
    "sample_annotation",
)
CHUNK_CHARACTERS = 1 << 22
_BETWEEN_ROWS = re.compile(r"[\s,]*")

Row = dict[str, Any]


class TablesError(ValueError):
    """The tables of a dataroot are missing or cannot be read; the message names the file."""


def table_file(dataroot: Path, version: str, table: str) -> Path:
    """Return the file of a table.

    Raises:
        TablesError: If the dataroot has no such version or table.
    """
    file = dataroot / version / f"{table}.json"
    if not file.is_file():
        have = sorted(path.parent.name for path in dataroot.glob("*/sample.json"))
        raise TablesError(
            f"{file}: no such table; {dataroot} holds {', '.join(have) or 'no nuScenes version'}; "
            "set data.dataroot and data.version"
        )
    return file


def table_rows(file: Path, on_bytes: Callable[[int], object] = lambda _: None) -> Iterator[Row]:
    """Yield the rows of a table in order.

    Args:
        file: A JSON file that holds one list of objects.
        on_bytes: Told how many characters were read, for a progress bar.

    Raises:
        TablesError: If the file is not such a list or ends early.
    """
    decoder = json.JSONDecoder()
    with file.open(encoding="utf-8") as stream:
        text, at_end = "", False
        started, position = False, 0
        while True:
            position = _BETWEEN_ROWS.match(text, position).end()  # type: ignore[union-attr]
            if position < len(text) and not started:
                if text[position] != "[":
                    raise TablesError(f"{file}: expected a JSON list, got {text[position]!r}")
                started, position = True, position + 1
                continue
            if started and text[position : position + 1] == "]":
                return
            try:
                row, position = decoder.raw_decode(text, position)
                yield row
            except json.JSONDecodeError as error:
                if at_end:
                    raise TablesError(f"{file}: not a complete JSON list: {error}") from None
                more = stream.read(CHUNK_CHARACTERS)
                on_bytes(len(more))
                text, position, at_end = text[position:] + more, 0, not more


def fingerprint(dataroot: Path, version: str) -> str:
    """Return a hash of the contents of all tables that the index is made from.

    Raises:
        TablesError: If a table is missing.
    """
    digest = hashlib.blake2b(digest_size=16)
    for table in TABLES:
        file = table_file(dataroot, version, table)
        digest.update(f"{table} {file.stat().st_size} ".encode())
        with file.open("rb") as stream:
            while block := stream.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()
