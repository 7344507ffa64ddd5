# SPDX-License-Identifier: Apache-2.0
"""Keep built engines on disk, and never hand out one that was not built for this very purpose.

An engine file lies beside a side-car (JSON) with the key it was built for and the sha256 of its
bytes. It is used only if both are right: a deserialised engine is code that runs. Whatever is wrong
with the cache costs a build, not the service; why it is built is logged. The cache knows no vendor
library.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import re
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from simdistill_ros.core.backends.base import BackendError

LOGGER = logging.getLogger(__name__)
SIDE_CAR_VERSION = 1
POLL_S = 0.5
PATIENCE_S = 1800.0  # a build takes seconds on a workstation, many minutes on a small board


@dataclass(frozen=True)
class EngineKey:
    """Everything that an engine depends on.

    Attributes:
        onnx_sha256: Of the graph.
        flavour: Name of the library.
        version: Its version.
        gpu: Name of the GPU.
        compute_capability: Of the GPU, `8.9`.
        precision: Of the graph.
        flags: Settings of the builder, in words.
    """

    onnx_sha256: str
    flavour: str
    version: str
    gpu: str
    compute_capability: str
    precision: str
    flags: str

    @property
    def digest(self) -> str:
        """Short name of this key."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


class EngineCache:
    """A folder of engines that several processes share."""

    def __init__(
        self,
        folder: Path | None = None,
        *,
        patience_s: float = PATIENCE_S,
        wait: Callable[[float], Any] | None = None,
    ) -> None:
        """Name the folder; it is made when something is stored.

        Args:
            folder: Where engines lie; None: `default_folder`.
            patience_s: How long to wait for another process that builds the same engine.
            wait: Waits for some seconds; None: really.
        """
        self.folder = default_folder() if folder is None else folder
        self._patience_s = patience_s
        self._wait = wait or threading.Event().wait

    def engine(self, name: str, key: EngineKey, build: Callable[[], bytes]) -> bytes:
        """Return the engine of a key, from disk or built.

        Args:
            name: What the engine is of, `tiny image`; for file names and messages.
            key: What it must have been built for.
            build: Builds it.

        Raises:
            BackendError: If it cannot be built, or another process builds it for too long.
        """
        stem = _file_name(f"{name}-{key.precision}-{key.digest}")
        stored, reason = self._stored(stem, key)
        if stored is not None:
            return stored
        with self._lock(stem, name):
            stored, _ = self._stored(stem, key)  # the process that was waited for may have built it
            if stored is not None:
                return stored
            reason = reason or self._what_changed(name, key)
            LOGGER.warning("building the engine of %s, which can take minutes: %s", name, reason)
            engine = build()
            self._store(stem, key, engine)
            return engine

    def _stored(self, stem: str, key: EngineKey) -> tuple[bytes | None, str]:
        """Return the engine if it is there and right, or why it is not used ("": never stored)."""
        file, side_car = self._files(stem)
        try:
            facts = json.loads(side_car.read_text(encoding="utf-8"))
            engine = file.read_bytes()
        except FileNotFoundError as error:
            is_half = file.exists() or side_car.exists()
            return None, f"{error.filename} is missing beside its other half" if is_half else ""
        except (OSError, ValueError) as error:
            return None, f"{side_car} cannot be read: {error}"
        expected = {"version": SIDE_CAR_VERSION, "key": asdict(key), "bytes": len(engine)}
        expected["sha256"] = hashlib.sha256(engine).hexdigest()
        if not isinstance(facts, dict):
            return None, f"{side_car} is no side-car of an engine"
        wrong = [name for name, value in expected.items() if facts.get(name) != value]
        if wrong:
            return None, f"{file} is refused: its {', '.join(wrong)} is not what {side_car} says"
        return engine, ""

    def _what_changed(self, name: str, key: EngineKey) -> str:
        """Say which part of the key the nearest stored engine of the same name does not share."""
        nearest: list[str] | None = None
        for side_car in sorted(self.folder.glob(f"{_file_name(name)}-*.json")):
            try:
                other = json.loads(side_car.read_text(encoding="utf-8"))["key"]
                parts = asdict(key).items()
                changes = [f"{n} was {other[n]}, is {v}" for n, v in parts if other[n] != v]
            except (OSError, ValueError, KeyError, TypeError):
                continue
            if nearest is None or len(changes) < len(nearest):
                nearest = changes
        return "; ".join(nearest) if nearest else f"there is none yet in {self.folder}"

    def _store(self, stem: str, key: EngineKey, engine: bytes) -> None:
        """Write engine and side-car, the side-car last; a failure is only a warning."""
        file, side_car = self._files(stem)
        facts = {
            "version": SIDE_CAR_VERSION,
            "key": asdict(key),
            "bytes": len(engine),
            "sha256": hashlib.sha256(engine).hexdigest(),
        }
        try:
            side_car.unlink(missing_ok=True)  # of an older file that is refused
            _write_atomically(file, engine)
            _write_atomically(side_car, json.dumps(facts, indent=2).encode())
        except OSError as error:
            LOGGER.warning(
                "the engine is used but could not be kept in %s (%s); it will be built again at "
                "the next start: free some space there or set engine_folder to another folder",
                self.folder,
                error.strerror or error,
            )
            return
        LOGGER.info("engine kept: %s (%.1f MB)", file, len(engine) / 1e6)

    def _files(self, stem: str) -> tuple[Path, Path]:
        return self.folder / f"{stem}.engine", self.folder / f"{stem}.json"

    @contextmanager
    def _lock(self, stem: str, name: str) -> Iterator[None]:
        """Hold the only right to build an engine; without a folder to lock in, build anyway."""
        path = self.folder / f"{stem}.lock"
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
        except OSError as error:
            LOGGER.warning("engine_folder %s cannot be used: %s", self.folder, error)
            yield
            return
        try:
            self._wait_for(descriptor, path, name)
            yield
        finally:
            os.close(descriptor)  # releases the lock; the file stays, others may wait for it

    def _wait_for(self, descriptor: int, path: Path, name: str) -> None:
        for attempt in range(1 + round(self._patience_s / POLL_S)):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if attempt == 0:
                    LOGGER.warning("waiting for another process that builds %s (%s)", name, path)
                self._wait(POLL_S)
        raise BackendError(
            f"another process has been building the engine of {name} for {self._patience_s:g} s; "
            f"end the process that holds {path}"
        )


def default_folder() -> Path:
    """Return the user's cache folder for engines, as the XDG specification has it."""
    root = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(root) if os.path.isabs(root) else Path.home() / ".cache"
    return base / "simdistill_ros" / "engines"


def _file_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._]+", "-", text)


def _write_atomically(path: Path, content: bytes) -> None:
    """Write a file that is either whole or not there."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name, too, survives a power cut
    finally:
        os.close(folder)
