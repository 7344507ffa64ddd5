# SPDX-License-Identifier: Apache-2.0
"""BEV pooling as a Triton kernel, for CUDA.

A program sums the entries of a few neighbouring cells, a block of entries at a time: load where the
points are, their depths and the context rows of their pixels, multiply and add up in float32. Every
cell is written once, by one program, so that the result is the same in every run. Pixel and depth
are computed from the one index of a point, which halves the tables that are read.
"""

from __future__ import annotations

from dataclasses import dataclass

import triton
import triton.language as tl
from torch import Tensor


@dataclass(frozen=True)
class PoolingLaunch:
    """How the kernel is cut up; changes its speed, and the order of sums but not their terms.

    Attributes:
        cells: Neighbouring cells of one program.
        entries: Entries loaded at a time; a power of two.
        warps: Groups of 32 threads of one program.
    """

    cells: int = 4
    entries: int = 16
    warps: int = 1


DEFAULT_LAUNCH = PoolingLaunch()


@triton.jit
def weighted_rows(  # type: ignore[no-untyped-def]
    depth, depth_offset, context, context_offset, is_entry, is_loaded
):
    """Return the float32 sum of depth * context over a block of entries."""
    weight = tl.load(depth + depth_offset, mask=is_entry, other=0.0).to(tl.float32)
    rows = tl.load(context + context_offset, mask=is_loaded, other=0.0).to(tl.float32)
    return tl.sum(weight[:, None] * rows, axis=0)


@triton.jit  # type: ignore[untyped-decorator]
def pool_kernel(  # type: ignore[no-untyped-def]
    depth_a,
    context_a,
    pooled_a,
    depth_b,
    context_b,
    pooled_b,
    depth_index,
    cell_offsets,
    cell_count,
    depth_view_stride,
    depth_bin_stride,
    depth_pixel_stride,
    BINS: tl.constexpr,
    PIXELS: tl.constexpr,
    CHANNELS: tl.constexpr,
    BLOCK_CHANNELS: tl.constexpr,
    BLOCK_ENTRIES: tl.constexpr,
    BLOCK_CELLS: tl.constexpr,
    TWO: tl.constexpr,
):
    """Pool branch a, and with TWO also branch b, into rows of CHANNELS; one program, some cells."""
    first_cell = tl.program_id(0) * BLOCK_CELLS
    channel = tl.arange(0, BLOCK_CHANNELS)
    is_channel = channel < CHANNELS
    for position in range(BLOCK_CELLS):
        cell = first_cell + position
        if cell < cell_count:
            begin = tl.load(cell_offsets + cell)
            end = tl.load(cell_offsets + cell + 1)
            sum_a = tl.full([BLOCK_CHANNELS], 0.0, tl.float32)
            sum_b = tl.full([BLOCK_CHANNELS], 0.0, tl.float32)
            for block in range(begin, end, BLOCK_ENTRIES):
                entry = block + tl.arange(0, BLOCK_ENTRIES)
                is_entry = entry < end
                point = tl.load(depth_index + entry, mask=is_entry, other=0)
                view = point // (BINS * PIXELS)
                depth_bin = point // PIXELS % BINS
                pixel = point % PIXELS
                depth_offset = (
                    view.to(tl.int64) * depth_view_stride
                    + depth_bin * depth_bin_stride
                    + pixel * depth_pixel_stride
                )
                row = view * PIXELS + pixel
                offset = row.to(tl.int64)[:, None] * CHANNELS + channel[None, :]
                is_loaded = is_entry[:, None] & is_channel[None, :]
                sum_a += weighted_rows(
                    depth_a, depth_offset, context_a, offset, is_entry, is_loaded
                )
                if TWO:
                    sum_b += weighted_rows(
                        depth_b, depth_offset, context_b, offset, is_entry, is_loaded
                    )
            written = cell.to(tl.int64) * CHANNELS + channel
            tl.store(pooled_a + written, sum_a.to(pooled_a.dtype.element_ty), mask=is_channel)
            if TWO:
                tl.store(pooled_b + written, sum_b.to(pooled_b.dtype.element_ty), mask=is_channel)


def pool_rows_triton(
    branches: tuple[tuple[Tensor, Tensor], ...],
    depth_index: Tensor,
    cell_offsets: Tensor,
    launch: PoolingLaunch = DEFAULT_LAUNCH,
) -> list[Tensor]:
    """Pool one or two branches of the same rig in one launch.

    Args:
        branches: Depth (V, D, P), of any strides, and context (V * P, C) of each; all depths, and
            all contexts, of one type.
        depth_index: (K,) int32; see `bev_pooling.pool_rows`.
        cell_offsets: (cells + 1,) int32.
        launch: How to cut the work up.

    Returns:
        (cells, C) of each branch, of the context's type.
    """
    # Rows that begin at multiples of 16 bytes are loaded 16 bytes at a time, which pays the copy.
    branches = tuple((depth, context.contiguous()) for depth, context in branches)
    if len({depth.stride() for depth, _ in branches}) > 1:
        branches = tuple((depth.contiguous(), context) for depth, context in branches)
    depth, context = branches[0]
    bins, pixels = depth.shape[1:]
    cells, channels = len(cell_offsets) - 1, context.shape[1]
    pooled = [context.new_empty(cells, channels) for _ in branches]
    a, b = 0, len(branches) - 1
    pool_kernel[(triton.cdiv(cells, launch.cells),)](
        *(*branches[a], pooled[a]),
        *(*branches[b], pooled[b]),
        depth_index,
        cell_offsets,
        cells,
        *depth.stride(),
        BINS=bins,
        PIXELS=pixels,
        CHANNELS=channels,
        BLOCK_CHANNELS=triton.next_power_of_2(channels),
        BLOCK_ENTRIES=launch.entries,
        BLOCK_CELLS=launch.cells,
        TWO=len(branches) == 2,
        num_warps=launch.warps,
    )
    return pooled
