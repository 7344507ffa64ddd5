# SPDX-License-Identifier: Apache-2.0
"""BEV pooling as a compiled loop over cells: numba, and C++ made by the machine's own compiler.

Neither is part of the product: they show what a hand-written loop would gain over the embedding
bag. Where numba or a compiler is missing, `Missing` says so.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

Form = Callable[[], torch.Tensor]
Tables = tuple[torch.Tensor, ...]
# Each thread takes this many cells at a time: rows differ much in length.
CELLS_AT_A_TIME = 256
# The channels are a constant, so that a cell's sums stay in (vector) registers.
LANES = 16
SOURCE = """
typedef float Lanes __attribute__((vector_size(4 * LANES), aligned(4)));
constexpr int GROUPS = CHANNELS / LANES;

extern "C" void pool(const float* depth, const float* context, const int* pixel_index,
                     const int* depth_index, const int* cell_offsets, int cells, float* rows) {
  #pragma omp parallel for schedule(dynamic, CELLS_AT_A_TIME)
  for (int cell = 0; cell < cells; ++cell) {
    Lanes sums[GROUPS] = {};
    for (int entry = cell_offsets[cell]; entry < cell_offsets[cell + 1]; ++entry) {
      const float weight = depth[depth_index[entry]];
      auto row = reinterpret_cast<const Lanes*>(context + long(pixel_index[entry]) * CHANNELS);
      #pragma GCC unroll 16
      for (int group = 0; group < GROUPS; ++group) sums[group] += weight * row[group];
    }
    auto pooled = reinterpret_cast<Lanes*>(rows + long(cell) * CHANNELS);
    #pragma GCC unroll 16
    for (int group = 0; group < GROUPS; ++group) pooled[group] = sums[group];
  }
}
"""
FLAGS = ("-O3", "-march=native", "-mprefer-vector-width=512", "-fopenmp", "-shared", "-fPIC")


class Missing(Exception):
    """What a form needs is not on this machine; says what."""


def numba_form(depth: torch.Tensor, context: torch.Tensor, tables: Tables) -> Form:
    """Return a loop that numba compiles.

    Raises:
        Missing: If numba is not installed.
    """
    try:
        import numba
    except ImportError as error:
        raise Missing("numba is not installed: pip install numba") from error
    numba.set_num_threads(torch.get_num_threads())
    loop = numba.njit(parallel=True, fastmath=True)(_loop(numba))
    pixel_index, depth_index, cell_offsets = (tensor.numpy() for tensor in tables)
    flat, rows_of_pixels = depth.reshape(-1).numpy(), context.numpy()

    def pool() -> torch.Tensor:
        rows = torch.empty(len(cell_offsets) - 1, context.shape[1])
        loop(flat, rows_of_pixels, pixel_index, depth_index, cell_offsets, rows.numpy())
        return rows

    return pool


def _loop(numba: Any) -> Callable[..., None]:
    def loop(
        depth: Any, context: Any, pixel_index: Any, depth_index: Any, cell_offsets: Any, rows: Any
    ) -> None:
        for cell in numba.prange(len(cell_offsets) - 1):
            sums = rows[cell]
            sums[:] = 0
            for entry in range(cell_offsets[cell], cell_offsets[cell + 1]):
                weight, pixel = depth[depth_index[entry]], pixel_index[entry]
                for channel in range(context.shape[1]):
                    sums[channel] += weight * context[pixel, channel]

    return loop


def cpp_form(depth: torch.Tensor, context: torch.Tensor, tables: Tables) -> Form:
    """Return a C++ loop, compiled here for this processor.

    Raises:
        Missing: If there is no g++, or it does not know the flags.
    """
    pool_cells = _compiled(context.shape[1])
    tensors = (depth.contiguous(), context, *tables)

    def pool() -> torch.Tensor:
        cells = len(tables[2]) - 1
        rows = torch.empty(cells, context.shape[1])
        pointers = [ctypes.c_void_p(tensor.data_ptr()) for tensor in tensors]
        pool_cells(*pointers, ctypes.c_int(cells), ctypes.c_void_p(rows.data_ptr()))
        return rows

    return pool


def _compiled(channels: int) -> Any:
    compiler = shutil.which("g++")
    if compiler is None:
        raise Missing("g++ is not installed")
    if channels % LANES:
        raise Missing(f"the C++ loop takes multiples of {LANES} channels, got {channels}")
    constants = (
        f"-DCHANNELS={channels}",
        f"-DLANES={LANES}",
        f"-DCELLS_AT_A_TIME={CELLS_AT_A_TIME}",
    )
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder) / "pool.cpp", Path(folder) / "pool.so"
        source.write_text(SOURCE)
        command = [compiler, *FLAGS, *constants, str(source), "-o", str(library)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            raise Missing(f"g++ does not compile it: {result.stderr.splitlines()[0]}")
        return ctypes.CDLL(str(library)).pool
