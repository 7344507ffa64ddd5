# SPDX-License-Identifier: Apache-2.0
"""A job of no weight: squares of numbers. Worker processes import it from here."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from simdistill_ros.shards.local_workers import OpenJob


@dataclass(frozen=True)
class SquareJob:
    """Squares; notes each shard that is begun in a file of `folder`.

    Attributes:
        folder: Where notes go.
        count: Numbers to square.
        flavour: Of the inputs.
        victim: The first worker that begins a second shard writes its pid to `folder/victim` and
            never comes back.
        broken: A number that cannot be squared.
    """

    folder: Path
    count: int = 12
    flavour: str = "plain"
    victim: bool = False
    broken: str = ""

    def open(self, worker: int | None) -> OpenJob:
        items = tuple(str(number) for number in range(self.count))
        return OpenJob({"flavour": self.flavour, "count": self.count}, items, self.run)

    def run(self, items: tuple[str, ...]) -> dict[str, float]:
        with (self.folder / f"begun-{os.getpid()}").open("a") as notes:
            notes.write(f"{items[0]}\n")
        if self.broken in items:
            raise ValueError(f"{self.broken} cannot be squared")
        if self.victim and len(begun(self.folder, os.getpid())) == 2:
            hold_still(self.folder / "victim")
        return {item: int(item) ** 2 / 3 for item in items}


def begun(folder: Path, pid: int | None = None) -> list[str]:
    """Return the first items of the shards that were begun, by one process or by all."""
    files = folder.glob(f"begun-{pid or '*'}")
    return [line for file in files for line in file.read_text().splitlines()]


def hold_still(file: Path) -> None:
    """Wait to be killed, unless another process does already."""
    try:
        with file.open("x") as stream:
            stream.write(str(os.getpid()))
    except FileExistsError:
        return
    time.sleep(120)
