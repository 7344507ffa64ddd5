# SPDX-License-Identifier: Apache-2.0
"""When Python looks for garbage, and when freed memory goes back to the system."""

from __future__ import annotations

import ctypes
import gc


def spare_from_collection() -> None:
    """Let the garbage collector look only at what is made from now on.

    A full round looks at every object there is. With a learning library loaded those are hundreds
    of thousands, and for a tenth of a second no thread runs, whatever set is on its way.
    """
    gc.collect()
    gc.freeze()


def give_memory_back() -> None:
    """Collect what is unreachable and trim the heap, where the C library can (glibc)."""
    gc.unfreeze()
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
