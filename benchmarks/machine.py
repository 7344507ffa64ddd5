# SPDX-License-Identifier: Apache-2.0
"""Say what a number was measured on, and summarise repeated measurements."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence

import numpy as np

from simdistill_ros.replay.machine import processor


def describe_machine() -> dict[str, str]:
    """Return processor, cores, memory, system and versions."""
    import torch

    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{memory_gib:.0f} GiB",
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "load_at_start": f"{os.getloadavg()[0]:.1f}",
    }


def percentiles(values_ms: Sequence[float]) -> dict[str, float]:
    """Return min, p50, p95, p99 and the number of values, milliseconds."""
    values = np.asarray(values_ms, dtype=float)
    return {
        "min": round(float(values.min()), 3),
        "p50": round(float(np.percentile(values, 50)), 3),
        "p95": round(float(np.percentile(values, 95)), 3),
        "p99": round(float(np.percentile(values, 99)), 3),
        "count": len(values),
    }
