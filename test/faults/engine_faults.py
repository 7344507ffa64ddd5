# SPDX-License-Identifier: Apache-2.0
"""Faults of the engine cache: what is wrong on the disk, what is said, what becomes of it.

`test/core/backends/test_engine_cache.py` plants each into a cache that was filled once; the engine
is then asked for, and must come, built anew.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from simdistill_ros.core.backends.engine_cache import EngineKey

KEPT = "built again, and kept"
NOT_KEPT = "built at every start until the folder can be written"


@dataclass
class StoredEngine:
    """An engine in a cache.

    Attributes:
        file: The engine.
        side_car: What vouches for it.
        key: What is asked for next; what it was built for unless a fault changes that.
        patch: Undone after the test.
    """

    file: Path
    side_car: Path
    key: EngineKey
    patch: pytest.MonkeyPatch


@dataclass(frozen=True)
class EngineFault:
    """One fault of the cache.

    Attributes:
        name: What goes wrong, for people.
        plant: Makes it go wrong.
        words: Part of what is said.
        outcome: What becomes of it, for people.
    """

    name: str
    plant: Callable[[StoredEngine], None]
    words: str
    outcome: str = KEPT

    @property
    def is_kept(self) -> bool:
        """Whether the next start finds the engine that was built."""
        return self.outcome == KEPT


def flip_a_byte(stored: StoredEngine) -> None:
    content = bytearray(stored.file.read_bytes())
    content[1000] ^= 1
    stored.file.write_bytes(content)


def cut_in_half(stored: StoredEngine) -> None:
    os.truncate(stored.file, stored.file.stat().st_size // 2)


def claim_another_version(stored: StoredEngine) -> None:
    facts = json.loads(stored.side_car.read_text())
    facts["key"]["version"] = "8.6.1"
    stored.side_car.write_text(json.dumps(facts))


def cut_side_car(stored: StoredEngine) -> None:
    stored.side_car.write_text(stored.side_car.read_text()[:40])


def ask_for(**changes: str) -> Callable[[StoredEngine], None]:
    def plant(stored: StoredEngine) -> None:
        stored.key = replace(stored.key, **changes)

    return plant


def fill_disk(stored: StoredEngine) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    stored.file.unlink()
    stored.side_car.unlink()
    stored.patch.setattr(os, "fsync", full)


def put_a_file_in_the_way(stored: StoredEngine) -> None:
    shutil.rmtree(stored.file.parent)
    stored.file.parent.write_text("in the way")


ENGINE_FAULTS: tuple[EngineFault, ...] = (
    EngineFault("flipped bit in an engine", flip_a_byte, "is refused: its sha256 is not what"),
    EngineFault("engine cut short", cut_in_half, "is refused: its bytes, sha256 is not what"),
    EngineFault("engine missing", lambda stored: stored.file.unlink(),
                ".engine is missing beside its other half"),
    EngineFault("side-car of an engine missing", lambda stored: stored.side_car.unlink(),
                ".json is missing beside its other half"),
    EngineFault("side-car cut short", cut_side_car, ".json cannot be read"),
    EngineFault("side-car that is none",
                lambda stored: stored.side_car.write_text("[1, 2]") and None,
                "is no side-car of an engine"),
    EngineFault("foreign engine under the right name", claim_another_version,
                "is refused: its key is not what"),
    EngineFault("engine of another version of the library", ask_for(version="10.4.0"),
                "version was 10.3.0, is 10.4.0"),
    EngineFault("engine of another GPU", ask_for(gpu="RTX 4090", compute_capability="8.9"),
                "gpu was Orin, is RTX 4090; compute_"),
    EngineFault("engine of another graph", ask_for(onnx_sha256="b" * 64), "onnx_sha256 was aaaa"),
    EngineFault("disk full while an engine is kept", fill_disk, "No space left on device",
                NOT_KEPT),
    EngineFault("engine folder that cannot be made", put_a_file_in_the_way, "cannot be used",
                NOT_KEPT),
)  # fmt: skip
