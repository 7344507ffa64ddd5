# SPDX-License-Identifier: Apache-2.0
"""What kind of processor this is, as far as numerical kernels care."""

from __future__ import annotations

import platform
from functools import lru_cache
from pathlib import Path

# Kernels of one kind round alike; these extensions choose the kind.
EXTENSIONS = {
    "avx2",
    "fma",
    "avx512f",
    "avx512_vnni",
    "avx_vnni",
    "avx512_bf16",
    "amx_int8",
    "asimddp",
    "i8mm",
}
CPU_INFO = Path("/proc/cpuinfo")


@lru_cache(maxsize=1)
def processor_kind() -> str:
    """Return architecture and extensions, such as `x86_64 avx2 avx512_vnni avx512f fma`."""
    flags: set[str] = set()
    if CPU_INFO.is_file():
        for line in CPU_INFO.read_text(errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip().lower() in ("flags", "features"):
                flags = EXTENSIONS.intersection(value.split())
                break
    return " ".join([platform.machine(), *sorted(flags)])
