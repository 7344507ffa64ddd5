# SPDX-License-Identifier: Apache-2.0
"""The teacher's camera branch: a lift that is told the depth of the pixels that LiDAR hits."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from simdistill_ros.core.network.convolutions import ConvNorm
from simdistill_ros.core.network.view_transform import (
    BatchedPoolingTables,
    BevDownsample,
    LiftHead,
    pool_bev,
)

RASTER_CHANNELS = (8, 32, 64)


class RasterEncoder(nn.Sequential):
    """Depth rasters (B, 1, H, W) to features (B, 64, H / stride, W / stride)."""

    def __init__(self, stride: int) -> None:
        """Build the encoder for a stride of 8 or 16."""
        first, second, third = RASTER_CHANNELS
        super().__init__(
            ConvNorm(1, first, 1),
            ConvNorm(first, second, 5, stride=4),
            ConvNorm(second, third, 5, stride=stride // 4),
        )


class DepthLift(nn.Module):
    """Image features and depth rasters to a pooled, downsampled BEV map."""

    def __init__(
        self,
        *,
        raster_encoder: nn.Module,
        compensation: nn.Module,
        head: LiftHead,
        downsample: BevDownsample,
        shape_xy: tuple[int, int],
    ) -> None:
        """Combine the parts; `shape_xy` is the shape of the pooled map."""
        super().__init__()
        self.raster_encoder = raster_encoder
        self.compensation = compensation
        self.head = head
        self.downsample = downsample
        self.shape_xy = shape_xy

    def forward(
        self, features: Tensor, rasters: Tensor, tables: BatchedPoolingTables
    ) -> tuple[Tensor, Tensor]:
        """Lift and pool.

        Args:
            features: (B, N, C, Hf, Wf).
            rasters: (B, N, 1, H, W), metres, 0 where no point is.
            tables: Pooling tables of the B calibrations.

        Returns:
            The BEV map (B, C, X, Y) and the depth probabilities (B, N, D, Hf, Wf).
        """
        batch_cameras = features.shape[:2]
        measured = self.raster_encoder(rasters.flatten(0, 1))
        seen = self.compensation(features.flatten(0, 1))
        depth, context = self.head(torch.cat([measured, seen], dim=1))
        depth, context = depth.unflatten(0, batch_cameras), context.unflatten(0, batch_cameras)
        return self.downsample(pool_bev(depth, context, tables, self.shape_xy)), depth
