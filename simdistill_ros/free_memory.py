# SPDX-License-Identifier: Apache-2.0
"""Give memory that was freed back to the system, which the allocator would rather keep."""

from __future__ import annotations

import ctypes
import gc


def give_memory_back() -> None:
    """Collect what is unreachable and trim the heap, where the C library can (glibc)."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
