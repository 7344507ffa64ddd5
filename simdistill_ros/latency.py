# SPDX-License-Identifier: Apache-2.0
"""Percentiles of the last snapshots' stages, and rates of what arrives. Pure, bounded memory."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping

import numpy as np

WINDOW = 512
PERCENTILES = (50, 95, 99)
RATE_WINDOW = 48


class LatencyWindow:
    """Durations of each stage of the last snapshots. Thread-safe."""

    def __init__(self, size: int = WINDOW) -> None:
        """Start empty; `size` snapshots are remembered."""
        self._lock = threading.Lock()
        self._size = size
        self._stages: dict[str, deque[int]] = {}

    def add(self, durations_ns: Mapping[str, int]) -> None:
        """Take the durations of one snapshot."""
        with self._lock:
            for stage, duration_ns in durations_ns.items():
                self._stages.setdefault(stage, deque(maxlen=self._size)).append(duration_ns)

    def percentiles_ms(self) -> dict[str, dict[str, float]]:
        """Return p50, p95 and p99 of each stage, milliseconds."""
        with self._lock:
            values = {stage: np.array(kept) / 1e6 for stage, kept in self._stages.items()}
        return {
            stage: {
                f"p{percentile}": float(value)
                for percentile, value in zip(
                    PERCENTILES, np.percentile(durations_ms, PERCENTILES), strict=True
                )
            }
            for stage, durations_ms in values.items()
        }


class Rate:
    """How often something happened lately. For one thread, or under its owner's lock."""

    def __init__(self) -> None:
        """Start with nothing."""
        self._times_ns: deque[int] = deque(maxlen=RATE_WINDOW)

    def add(self, now_ns: int) -> None:
        """Take note of an event."""
        self._times_ns.append(now_ns)

    def hz(self, now_ns: int) -> float:
        """Return events a second; it falls from the first event that is overdue."""
        if len(self._times_ns) < 2:
            return 0.0
        first_ns, last_ns = self._times_ns[0], self._times_ns[-1]
        period_ns = (last_ns - first_ns) / (len(self._times_ns) - 1)
        overdue_ns = max(now_ns - last_ns - period_ns, 0)
        span_ns = last_ns - first_ns + overdue_ns
        return 0.0 if span_ns <= 0 else (len(self._times_ns) - 1) * 1e9 / span_ns
