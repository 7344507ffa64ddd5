# SPDX-License-Identifier: Apache-2.0
"""Keep freed memory in the process.

glibc returns every freed block above 32 MB to the kernel, and each fresh one costs a page fault per
4 kB. Feature maps of a training batch are that large: keeping them takes forward and backward of
`tiny`'s image network from 1.9 s to 1.1 s (batch 4, one core). Launched processes set the same by
`simdistill_ros/process_environment`.
"""

from __future__ import annotations

import ctypes
import os

# Parameters of mallopt(3), and the largest value that it takes.
TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3
LARGEST = 2**31 - 1
TOP_PAD_BYTES = 64 * 2**20
VARIABLES = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_")


def keep_freed_memory() -> bool:
    """Let glibc reuse large blocks; what the user has set by environment variables is kept.

    Returns:
        Whether it was done: not if the user chose, and not with another C library.
    """
    if any(variable in os.environ for variable in VARIABLES):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = {TRIM_THRESHOLD: LARGEST, TOP_PAD: TOP_PAD_BYTES, MMAP_THRESHOLD: LARGEST}
    return all(mallopt(parameter, value) == 1 for parameter, value in settings.items())
