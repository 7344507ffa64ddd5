# SPDX-License-Identifier: Apache-2.0
"""Deformable attention's weighted bilinear samples as one Triton kernel, for CUDA.

A program takes some bags (a cell and a head each), walks over their places, and adds up the four
pixels around each, in float32. Index and weight of each corner exist in registers only; written out
they are some hundred megabytes on a BEV map.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

BAGS, WARPS = 32, 2


@triton.jit  # type: ignore[untyped-decorator]
def sample_kernel(  # type: ignore[no-untyped-def]
    values,
    positions_px,
    weights,
    sums,
    bag_count,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    HEADS: tl.constexpr,
    POINTS: tl.constexpr,
    CHANNELS: tl.constexpr,
    BLOCK_CHANNELS: tl.constexpr,
    BLOCK_BAGS: tl.constexpr,
):
    """Sum the weighted samples of one block of bags."""
    bag = tl.program_id(0) * BLOCK_BAGS + tl.arange(0, BLOCK_BAGS)
    is_bag = bag < bag_count
    head = bag % HEADS
    first_cell = bag // (HEADS * HEIGHT * WIDTH) * (HEIGHT * WIDTH)
    channel = tl.arange(0, BLOCK_CHANNELS)[None, :]
    is_channel = channel < CHANNELS
    total = tl.full([BLOCK_BAGS, BLOCK_CHANNELS], 0.0, tl.float32)
    for point in range(POINTS):
        place = bag.to(tl.int64) * POINTS + point
        u = tl.load(positions_px + 2 * place, mask=is_bag, other=0.0)
        v = tl.load(positions_px + 2 * place + 1, mask=is_bag, other=0.0)
        weight = tl.load(weights + place, mask=is_bag, other=0.0)
        low_u = tl.floor(u)
        low_v = tl.floor(v)
        for corner in tl.static_range(4):
            corner_u = low_u + corner % 2
            corner_v = low_v + corner // 2
            share = (1 - tl.abs(u - corner_u)) * (1 - tl.abs(v - corner_v)) * weight
            inside = is_bag & (corner_u >= 0) & (corner_u < WIDTH)
            inside = inside & (corner_v >= 0) & (corner_v < HEIGHT)
            cell = first_cell + corner_v.to(tl.int32) * WIDTH + corner_u.to(tl.int32)
            row = (cell * HEADS + head).to(tl.int64)[:, None]
            pixels = tl.load(
                values + row * CHANNELS + channel, mask=inside[:, None] & is_channel, other=0.0
            )
            total += share[:, None] * pixels.to(tl.float32)
    written = bag.to(tl.int64)[:, None] * CHANNELS + channel
    tl.store(sums + written, total.to(sums.dtype.element_ty), mask=is_bag[:, None] & is_channel)


def sampled_sums(
    values: Tensor, positions_px: Tensor, weights: Tensor, map_hw: tuple[int, int]
) -> Tensor:
    """Return the weighted sum of each bag's bilinear samples; outside the map is zero.

    Args:
        values: (B * H * W * heads, C), row (b * H * W + cell) * heads + head.
        positions_px: (B, H * W, heads, P, 2) float32 as (u, v), pixel centres at integers.
        weights: (B, H * W, heads, P) float32.
        map_hw: (H, W).

    Returns:
        (B * H * W * heads, C), of the values' type.
    """
    heads, points = positions_px.shape[2:4]
    values = values.contiguous()
    sums = values.new_empty(values.shape)
    sample_kernel[(triton.cdiv(len(values), BAGS),)](
        values,
        positions_px.contiguous(),
        weights.contiguous(),
        sums,
        len(values),
        HEIGHT=map_hw[0],
        WIDTH=map_hw[1],
        HEADS=heads,
        POINTS=points,
        CHANNELS=values.shape[1],
        BLOCK_CHANNELS=triton.next_power_of_2(values.shape[1]),
        BLOCK_BAGS=BAGS,
        num_warps=WARPS,
    )
    return sums
