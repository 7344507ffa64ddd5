# SPDX-License-Identifier: Apache-2.0
"""Bilinear sampling written as weighted sums of rows, without vendor kernels.

A sample at a fractional position is four rows of the flattened map with four weights, zero outside.
Summing weighted rows is an embedding bag (`bag`, the fastest form on CPUs) or a gather and a sum
(`gather`, which every deployment format knows). Both give the same numbers.
"""

from __future__ import annotations

from functools import lru_cache
from types import ModuleType
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding_bag

SumForm = Literal["bag", "gather"]
MAX_GATHERED_BYTES = 48 * 10**6


def bilinear_corners(positions_px: Tensor, map_hw: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return the four pixels around each position and their weights.

    Args:
        positions_px: (..., 2) as (u, v), pixel centres at integers.
        map_hw: Size of the map.

    Returns:
        Index v * W + u (..., 4), int32, and weight (..., 4); corners outside have weight zero.
    """
    height, width = map_hw
    low = positions_px.floor()
    fraction = positions_px - low
    indices, weights = [], []
    for du, dv in ((0, 0), (1, 0), (0, 1), (1, 1)):
        u, v = low[..., 0] + du, low[..., 1] + dv
        weight_u = fraction[..., 0] if du else 1 - fraction[..., 0]
        weight_v = fraction[..., 1] if dv else 1 - fraction[..., 1]
        inside = (u >= 0) & (u < width) & (v >= 0) & (v < height)
        indices.append(v.clamp(0, height - 1) * width + u.clamp(0, width - 1))
        weights.append(weight_u * weight_v * inside)
    return torch.stack(indices, -1).to(torch.int32), torch.stack(weights, -1)


def weighted_row_sums(rows: Tensor, index: Tensor, weight: Tensor, form: SumForm) -> Tensor:
    """Return, for each bag, the weighted sum of the rows it names.

    Args:
        rows: (R, C).
        index: (M, P, 4), int32, rows of each bag.
        weight: (M, P, 4), their weights.
        form: How to compute it.

    Returns:
        (M, C).
    """
    weight = weight.to(rows.dtype)
    if form == "bag":
        return embedding_bag(
            index.flatten(1), rows, mode="sum", per_sample_weights=weight.flatten(1)
        )
    # All corners at once is twice as fast on a CPU; large maps take them one at a time.
    is_large = weight.numel() * rows.shape[1] * rows.element_size() > MAX_GATHERED_BYTES
    corners = 1 if is_large else 4
    total = rows.new_zeros(len(index), 1, rows.shape[1])
    for some, their_weight in zip(
        torch.split(index, corners, -1), torch.split(weight, corners, -1), strict=True
    ):
        gathered = rows.index_select(0, some.flatten()).view(len(index), -1, rows.shape[1])
        total = total + their_weight.flatten(1)[:, None] @ gathered  # (M, 1, C)
    return total[:, 0]


@lru_cache(maxsize=1)
def triton_sampling() -> ModuleType | None:
    """Return the module of the Triton kernel, or None where there is no Triton."""
    try:
        from simdistill_ros.core.network import sampling_triton
    except ImportError:
        return None
    return sampling_triton


def use_sum_form(network: nn.Module, form: SumForm) -> None:
    """Select the form in every module of a network that samples."""
    for module in network.modules():
        if hasattr(module, "sum_form"):
            setattr(module, "sum_form", form)  # noqa: B010 (a plain attribute, not a submodule)
