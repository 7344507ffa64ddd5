# SPDX-License-Identifier: Apache-2.0
"""A store in memory, as torch.distributed's, for tests of the board without processes."""

from __future__ import annotations

import threading
from typing import Any


class MemoryStore:
    """Keys and values of one process."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def set(self, key: str, value: Any) -> None:
        self.values[key] = value if isinstance(value, bytes) else str(value).encode()

    def get(self, key: str) -> bytes:
        return self.values[key]

    def add(self, key: str, amount: int) -> int:
        with self._lock:
            total = int(self.values.get(key, b"0")) + amount
            self.values[key] = str(total).encode()
            return total

    def check(self, keys: list[str]) -> bool:
        return all(key in self.values for key in keys)
