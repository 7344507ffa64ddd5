# SPDX-License-Identifier: Apache-2.0
"""One thread, one slot: the newest item wins.

The node's callbacks only submit; inference and publishing happen on this one thread, so a GPU
context never changes hands and a slow network drops old snapshots, not new.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Worker(Generic[T]):
    """Process items on one thread, dropping those that a newer one overtakes."""

    def __init__(
        self, process: Callable[[T], None], on_error: Callable[[BaseException], None], name: str
    ) -> None:
        """Prepare, but do not start, the thread.

        Args:
            process: Called with each item on the worker's thread.
            on_error: Called with what `process` raises; the thread goes on.
            name: Name of the thread.
        """
        self._process = process
        self._on_error = on_error
        self._condition = threading.Condition()
        self._slot: T | None = None
        self._stopping = False
        self._busy = False
        self._taken_ns: int | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.processed = 0
        self.overtaken = 0
        self.failed = 0

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def submit(self, item: T) -> bool:
        """Put an item in the slot; return whether it pushed an unprocessed one out."""
        with self._condition:
            overtook = self._slot is not None
            self.overtaken += int(overtook)
            self._slot = item
            self._condition.notify_all()
        return overtook

    def stop(self, timeout_s: float) -> bool:
        """Finish the item in hand, drop the one in the slot; return whether the thread ended."""
        with self._condition:
            self._stopping = True
            self._slot = None
            self._condition.notify_all()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @property
    def stopping(self) -> bool:
        """Whether `stop` was called; long waits inside `process` should end then."""
        return self._stopping

    @property
    def busy(self) -> bool:
        """Whether an item is being processed or waits."""
        with self._condition:
            return self._busy or self._slot is not None

    def in_hand_ns(self) -> int | None:
        """Return how long the item in hand has been worked on; None when idle."""
        taken_ns = self._taken_ns
        return None if taken_ns is None else time.monotonic_ns() - taken_ns

    def _run(self) -> None:
        while True:
            with self._condition:
                while self._slot is None and not self._stopping:
                    self._condition.wait()
                if self._stopping:
                    return
                item, self._slot = self._slot, None
                self._busy = True
                self._taken_ns = time.monotonic_ns()
            try:
                assert item is not None
                self._process(item)
                self.processed += 1
            except Exception as error:
                self.failed += 1
                self._on_error(error)
            finally:
                with self._condition:
                    self._busy = False
                    self._taken_ns = None
