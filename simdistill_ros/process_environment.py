# SPDX-License-Identifier: Apache-2.0
"""Environment variables of every process that carries images or runs a network on the CPU.

They must be set before the process starts, so launch files and the replay pass them on; for what
runs without either, `scripts/env.sh` sets the same. What the user has set already is kept.
"""

from __future__ import annotations

PROCESS_ENVIRONMENT = {
    # Keep image-sized buffers inside the process; glibc would return each one to the kernel.
    "MALLOC_MMAP_THRESHOLD_": "268435456",
    "MALLOC_TRIM_THRESHOLD_": "1073741824",
    "MALLOC_TOP_PAD_": "4194304",
    # By default each thread may have a heap of its own. What one frees no other can use, and a
    # process whose live memory is flat grew by 7 % in an hour of jittering cameras.
    "MALLOC_ARENA_MAX": "2",
    # Network threads that wait sleep. Spinning, they fight whatever else wants the cores: on two
    # busy cores `tiny` took up to 4.8 s for a snapshot, sleeping 0.16 s. On cores of its own
    # spinning is faster (68 against 110 ms): set OMP_WAIT_POLICY=ACTIVE there.
    "OMP_WAIT_POLICY": "PASSIVE",
    # numpy's matrix library spins between products in threads of its own: at 12 Hz one of them kept
    # a whole core busy, for matrices that one thread multiplies faster.
    "OPENBLAS_NUM_THREADS": "1",
}
