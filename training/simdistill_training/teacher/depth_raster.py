# SPDX-License-Identifier: Apache-2.0
"""LiDAR points seen from the cameras: sparse depth images, and depth bins of feature pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

MIN_DEPTH_M = 1e-5
MAX_DEPTH_M = 1e5


def depth_rasters(
    points: Sequence[Tensor],
    input_from_bev: Tensor,
    input_hw: tuple[int, int],
    *,
    truncated_pixels: bool = False,
) -> Tensor:
    """Return the depth of the nearest point in every input pixel.

    Args:
        points: Per sample (P, 3 or more), the first three columns are x, y, z in the bev frame.
        input_from_bev: (B, N, 3, 4), projections; the third row gives the depth in metres.
        input_hw: (H, W) of the inputs.
        truncated_pixels: Legacy. Round pixels toward zero and keep points behind a camera at a
            tiny depth, which throws nearly all of them out of the image.

    Returns:
        (B, N, 1, H, W) float32, metres along the optical axis; 0 where there is no point.
    """
    return torch.stack(
        [
            _raster(cloud[:, :3].float(), matrices.float(), input_hw, truncated_pixels)
            for cloud, matrices in zip(points, input_from_bev, strict=True)
        ]
    )


def nearest_depths(rasters: Tensor, stride: int) -> Tensor:
    """Return the smallest depth in each block of `stride` by `stride` pixels; infinite for none.

    Args:
        rasters: (..., H, W), metres, 0 where there is no point.
        stride: Size of a block, a divisor of H and W.
    """
    depths = torch.where(rasters > 0, rasters, math.inf)
    height, width = rasters.shape[-2:]
    shape = (*rasters.shape[:-2], height // stride, stride, width // stride, stride)
    return depths.reshape(shape).amin(dim=(-3, -1))


def depth_labels(
    rasters: Tensor,
    stride: int,
    *,
    start_m: float,
    step_m: float,
    bins: int,
    rounding: Literal["nearest", "down"] = "nearest",
) -> Tensor:
    """Return the depth bin of the nearest point in each feature pixel.

    Args:
        rasters: (..., H, W), metres, 0 where there is no point.
        stride: Input pixels per feature pixel.
        start_m: Depth of bin 0.
        step_m: Distance between bins.
        bins: Number of bins.
        rounding: `nearest` takes the bin whose depth is closest, as the lift places it; `down` the
            last bin that is not deeper, as published.

    Returns:
        (..., Hf, Wf) int64; -1 where no point falls into a bin.
    """
    position = (nearest_depths(rasters, stride) - start_m) / step_m
    position = position.round() if rounding == "nearest" else position.floor()
    is_inside = (position >= 0) & (position < bins)
    return torch.where(is_inside, position, -1.0).long()


def _raster(
    points_bev: Tensor, input_from_bev: Tensor, input_hw: tuple[int, int], truncated: bool
) -> Tensor:
    height, width = input_hw
    x, y, z = points_bev.T
    columns = input_from_bev[..., None].unbind(-2)  # four of (N, 3, 1)
    # Not a matrix product: mixed precision and TF32 would round coordinates to centimetres.
    projected = columns[0] * x + columns[1] * y + columns[2] * z + columns[3]  # (N, 3, P)
    scaled_u, scaled_v, depth_m = projected.unbind(1)
    is_seen = depth_m.isfinite() if truncated else depth_m > MIN_DEPTH_M
    depth_m = depth_m.clamp(MIN_DEPTH_M, MAX_DEPTH_M)
    u, v = scaled_u / depth_m, scaled_v / depth_m
    if truncated:
        is_seen = is_seen & (u >= 0) & (u < width) & (v >= 0) & (v < height)
        column, row = u.trunc(), v.trunc()
    else:
        column, row = (u + 0.5).floor(), (v + 0.5).floor()
        is_seen = is_seen & (column >= 0) & (column < width) & (row >= 0) & (row < height)
    cameras = len(input_from_bev)
    camera = torch.arange(cameras, device=u.device)[:, None].expand_as(u)
    pixel = (camera[is_seen] * height + row[is_seen].long()) * width + column[is_seen].long()
    raster = torch.full((cameras * height * width,), math.inf, device=u.device)
    raster.scatter_reduce_(0, pixel, depth_m[is_seen], "amin")
    raster = torch.where(raster.isfinite(), raster, 0.0)
    return raster.view(cameras, 1, height, width)
