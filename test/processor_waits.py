# SPDX-License-Identifier: Apache-2.0
"""How long the threads of a process were ready to run while no processor was free for them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def processor_waits_s(process: int | str) -> dict[str, float]:
    """Return the seconds by thread, since each began; empty where the kernel does not count them.

    Args:
        process: Its number, or `self`.
    """
    waits = {}
    for thread in Path(f"/proc/{process}/task").iterdir():
        try:
            _, waited_ns, _ = (thread / "schedstat").read_text().split()
        except (OSError, ValueError):  # ended meanwhile, or not counted
            continue
        waits[thread.name] = int(waited_ns) / 1e9
    return waits


def waited_between_s(before: Mapping[str, float], after: Mapping[str, float]) -> float:
    """Return the seconds that all threads waited between two looks."""
    return sum(seconds - before.get(thread, 0.0) for thread, seconds in after.items())
