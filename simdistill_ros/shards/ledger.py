# SPDX-License-Identifier: Apache-2.0
"""Finished shards on disk, each one file with the key of what it was made from.

A file appears whole or not at all, and one of other inputs, of another cut or damaged is not used.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Shard:
    """A piece of the work: its number and the names of its items, in order."""

    number: int
    items: tuple[str, ...]


def cut_into_shards(items: Sequence[str], size: int) -> list[Shard]:
    """Return consecutive items in shards of `size`; the last one may be smaller.

    Raises:
        ValueError: If the size is below 1.
    """
    if size < 1:
        raise ValueError(f"expected shards of at least 1 item, got {size}")
    starts = range(0, len(items), size)
    return [Shard(n, tuple(items[start : start + size])) for n, start in enumerate(starts)]


def key_of(inputs: Mapping[str, Any]) -> str:
    """Return the sha256 of what results depend on, as plain data."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


class Ledger:
    """The finished shards of one piece of work."""

    def __init__(self, folder: Path, inputs: Mapping[str, Any]) -> None:
        """Choose the folder; nothing is written before the first shard."""
        self.folder = folder
        self._key = key_of(inputs)

    def write(self, shard: Shard, result: Any) -> None:
        """Keep a shard's result; a reader never sees half a file."""
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self._file(shard)
        partial = file.with_name(f".{file.name}.{os.getpid()}")
        content = {"inputs": self._key, "items": shard.items, "result": result}
        with partial.open("w", encoding="utf-8") as stream:
            json.dump(content, stream)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(file)

    def read(self, shard: Shard) -> Any | None:
        """Return a shard's result, or None where there is none of these inputs."""
        try:
            content = json.loads(self._file(shard).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        if not isinstance(content, dict) or content.get("inputs") != self._key:
            return None
        return content.get("result") if content.get("items") == list(shard.items) else None

    def refused(self, shards: Sequence[Shard]) -> int:
        """Return how many shards have a file that is not used."""
        return sum(self._file(one).exists() and self.read(one) is None for one in shards)

    def _file(self, shard: Shard) -> Path:
        return self.folder / f"{shard.number:06d}.json"


def clear_shards(folder: Path) -> None:
    """Remove all shards, once what was made of them is kept elsewhere."""
    shutil.rmtree(folder, ignore_errors=True)
