# SPDX-License-Identifier: Apache-2.0
"""Time functions on a device, alone or as a CUDA graph, within a budget."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

WARM_UP = 3


class Budget:
    """How much time is left; what does not fit is left out and named."""

    def __init__(self, seconds: float) -> None:
        """Start the clock."""
        self._end_s = time.monotonic() + seconds
        self.skipped: list[str] = []
        self._longest_s: dict[str, float] = {}

    @property
    def left_s(self) -> float:
        """Seconds left."""
        return self._end_s - time.monotonic()

    def run(self, kind: str, name: str, function: Callable[[], Any], guess_s: float) -> Any:
        """Return what a function returns, or None if the last of its kind took longer than is left.

        Args:
            kind: Groups functions that take about the same time.
            name: For the list of what was left out.
            function: What to run.
            guess_s: How long the first of its kind may take.
        """
        expected_s = self._longest_s.get(kind, guess_s)
        if expected_s > self.left_s:
            print(
                f"left out {name}: about {expected_s:.0f} s, {self.left_s:.0f} s left", flush=True
            )
            self.skipped.append(name)
            return None
        print(f"{name} ...", flush=True)
        start_s = time.monotonic()
        result = function()
        took_s = time.monotonic() - start_s
        self._longest_s[kind] = max(took_s, self._longest_s.get(kind, 0.0))
        return result


def synchronize(device: torch.device) -> None:
    """Wait until a device has done its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed_ms(function: Callable[[], Any], device: torch.device, rounds: int) -> list[float]:
    """Return the milliseconds of each of some calls on the device; on CUDA by events."""
    for _ in range(WARM_UP):
        function()
    synchronize(device)
    if device.type != "cuda":
        return [_wall_ms(function) for _ in range(rounds)]
    pairs = []
    for _ in range(rounds):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        function()
        end.record()
        pairs.append((start, end))
    synchronize(device)
    return [start.elapsed_time(end) for start, end in pairs]


def walled_ms(function: Callable[[], Any], device: torch.device, rounds: int) -> list[float]:
    """Return the milliseconds that the host waits for each of some calls and their results."""

    def finished() -> None:
        function()
        synchronize(device)

    for _ in range(WARM_UP):
        finished()
    return [_wall_ms(finished) for _ in range(rounds)]


def graphed(function: Callable[[], Any], device: torch.device) -> Callable[[], Any]:
    """Return what replays a function's kernels as one CUDA graph; on a CPU the function itself."""
    if device.type != "cuda":
        return function
    side = torch.cuda.Stream(device)
    side.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            function()
    torch.cuda.current_stream(device).wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = function()

    def replay(kept: Any = kept) -> None:  # the graph writes into what it returned
        graph.replay()

    return replay


def _wall_ms(function: Callable[[], Any]) -> float:
    start_ns = time.perf_counter_ns()
    function()
    return (time.perf_counter_ns() - start_ns) / 1e6
