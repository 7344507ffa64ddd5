# SPDX-License-Identifier: Apache-2.0
"""Read the machine's headroom from /proc, and from torch where it is installed."""

from __future__ import annotations

import os
from pathlib import Path

from simdistill_ros.doctor.checks.host import PROFILE_VARIABLES
from simdistill_ros.doctor.observations import Machine
from simdistill_ros.process_environment import PROCESS_ENVIRONMENT

_STAT, _MEMORY = Path("/proc/stat"), Path("/proc/meminfo")


class CpuMeter:
    """Measures the share of busy processor time between its creation and `busy`."""

    def __init__(self) -> None:
        """Begin."""
        self._before = _cpu_times()

    def busy(self) -> float | None:
        """Return the share, 0 to 1, or None where the system does not tell."""
        after = _cpu_times()
        if self._before is None or after is None or after[1] <= self._before[1]:
            return None
        idle = (after[0] - self._before[0]) / (after[1] - self._before[1])
        return min(max(1.0 - idle, 0.0), 1.0)


def _cpu_times() -> tuple[int, int] | None:
    """Return idle and total time of all processors, ticks."""
    if not _STAT.is_file():
        return None
    ticks = [int(word) for word in _STAT.read_text().splitlines()[0].split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)


def machine_facts(cpu_busy: float | None, rmw: str, *, with_gpu: bool) -> Machine:
    """Return the machine as it is now.

    Args:
        cpu_busy: What a `CpuMeter` measured.
        rmw: The middleware's name.
        with_gpu: Look for a CUDA device, which loads torch.
    """
    names = (*PROFILE_VARIABLES, *PROCESS_ENVIRONMENT)
    gpu_name, gpu_free_bytes = _gpu() if with_gpu else (None, None)
    return Machine(
        cores=len(os.sched_getaffinity(0)),
        cpu_busy=cpu_busy,
        memory_free_bytes=_memory_free_bytes(),
        gpu_name=gpu_name,
        gpu_free_bytes=gpu_free_bytes,
        environment={name: os.environ[name] for name in names if name in os.environ},
        rmw=rmw,
    )


def _memory_free_bytes() -> int | None:
    for line in _MEMORY.read_text().splitlines() if _MEMORY.is_file() else ():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _gpu() -> tuple[str | None, int | None]:
    try:
        import torch
    except ImportError:
        return None, None
    if not torch.cuda.is_available():
        return None, None
    return torch.cuda.get_device_name(0), int(torch.cuda.mem_get_info(0)[0])
