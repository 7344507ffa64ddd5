# SPDX-License-Identifier: Apache-2.0
"""Bilinear sampling written as weighted sums of rows, without vendor kernels.

A sample at a fractional position is four rows of the flattened map with four weights, zero outside.
Summing weighted rows is an embedding bag (`bag`, the fastest form on CPUs) or a gather and a sum
(`gather`, which every deployment format knows). Attention can also take its samples by an operator
for that (`grid`, the fastest in ONNX Runtime; TensorRT is known to compute it wrongly). All give
the same numbers.
"""

from __future__ import annotations

from functools import lru_cache
from types import ModuleType
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, embedding_bag, grid_sample

SumForm = Literal["bag", "gather", "grid"]
MAX_GATHERED_BYTES = 48 * 10**6


def bilinear_corners(
    u_px: Tensor, v_px: Tensor, map_hw: tuple[int, int], first_row: Tensor | int = 0, step: int = 1
) -> tuple[Tensor, Tensor]:
    """Return the four pixels around each position and their weights.

    Args:
        u_px: (..., P), pixel centres at integers.
        v_px: (..., P), likewise.
        map_hw: Size of the map.
        first_row: Row of the map's first pixel; a number, or int32 (..., P).
        step: Rows from one pixel to the next.

    Returns:
        Row first_row + step * (v * W + u) of each corner (..., 4, P), int32, and weight
        (..., 4, P); corners outside have weight zero.
    """
    height, width = map_hw
    (left, right), (left_weight, right_weight) = _neighbours(u_px, width)
    (upper, lower), (upper_weight, lower_weight) = _neighbours(v_px, height)
    left, right = left * step, right * step
    upper, lower = upper * (step * width) + first_row, lower * (step * width) + first_row
    rows = [upper + left, upper + right, lower + left, lower + right]
    weights = [
        upper_weight * left_weight,
        upper_weight * right_weight,
        lower_weight * left_weight,
        lower_weight * right_weight,
    ]
    return torch.stack(rows, -2), torch.stack(weights, -2)


def _neighbours(
    position_px: Tensor, size: int
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return the pixels below and above positions along one axis, int32, and their weights."""
    low = position_px.floor()
    fraction = position_px - low
    pixels, weights = [], []
    for pixel, weight in ((low, 1 - fraction), (low + 1, fraction)):
        inside = pixel.clamp(0, size - 1)
        pixels.append(inside.to(torch.int32))
        weights.append(weight * (inside == pixel))
    return (pixels[0], pixels[1]), (weights[0], weights[1])


def weighted_row_sums(rows: Tensor, index: Tensor, weight: Tensor, form: SumForm) -> Tensor:
    """Return, for each bag, the weighted sum of the rows it names.

    Args:
        rows: (R, C).
        index: (M, 4, P), int32, rows of each bag.
        weight: (M, 4, P), their weights.
        form: How to compute it; `grid` is `gather` here.

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
    total: Tensor | None = None
    for corners in range(4) if is_large else (slice(None),):
        gathered = embedding(index[:, corners].flatten(1), rows)  # (M, P or 4 * P, C)
        part = weight[:, corners].flatten(1)[:, None] @ gathered  # (M, 1, C)
        total = part if total is None else total + part
    assert total is not None
    return total[:, 0]


def grid_sampled_sums(
    maps: Tensor, u_px: Tensor, v_px: Tensor, weights: Tensor, map_hw: tuple[int, int]
) -> Tensor:
    """Return the weighted sums of each head's bilinear samples; outside the map is zero.

    Args:
        maps: (N, C, H * W), one for each image and head.
        u_px: (N, P, H * W), pixel centres at integers.
        v_px: (N, P, H * W), likewise.
        weights: (N, P, H * W).
        map_hw: (H, W).

    Returns:
        (N, C, H * W).
    """
    height, width = map_hw
    count, channels, _ = maps.shape
    # The operator's places run from -1 to 1 between the outer edges of the outermost pixels.
    places = torch.stack([(u_px + 0.5) * (2 / width) - 1, (v_px + 0.5) * (2 / height) - 1], -1)
    samples = grid_sample(
        maps.view(count, channels, height, width),
        places,
        mode="bilinear",
        padding_mode="zeros",
        align_corners=False,
    )  # (N, C, P, H * W)
    return (samples * weights[:, None]).sum(2)


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
