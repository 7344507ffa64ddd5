# SPDX-License-Identifier: Apache-2.0
"""The BEV decoder of the published LiDAR-camera detector: plain stages, enlarged and joined."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from simdistill_ros.core.network.convolutions import ConvNorm

NORM_EPS = 1e-3


class SecondEncoder(nn.Module):
    """Stages of 3x3 convolutions; the first one of each has the stride."""

    def __init__(self, in_channels: int, stages: Sequence[tuple[int, int, int]]) -> None:
        """Build the encoder; each stage is (convolutions after the first, channels, stride)."""
        super().__init__()
        self.stages = nn.ModuleList()
        for convolutions, channels, stride in stages:
            layers = nn.Sequential(
                ConvNorm(in_channels, channels, stride=stride, norm_eps=NORM_EPS)
            )
            layers.extend(
                ConvNorm(channels, channels, norm_eps=NORM_EPS) for _ in range(convolutions)
            )
            self.stages.append(layers)
            in_channels = channels

    def forward(self, bev_features: Tensor) -> list[Tensor]:
        """Return the maps (B, C, X, Y) of all stages."""
        outputs = []
        for stage in self.stages:
            bev_features = stage(bev_features)
            outputs.append(bev_features)
        return outputs


class Enlarge(nn.Module):
    """Transposed convolution without overlap, batch norm and ReLU."""

    def __init__(self, in_channels: int, out_channels: int, scale: int) -> None:
        """Build the layer."""
        super().__init__()
        self.conv = nn.ConvTranspose2d(in_channels, out_channels, scale, stride=scale, bias=False)
        self.norm = nn.BatchNorm2d(out_channels, eps=NORM_EPS)
        self.activation = nn.ReLU()

    def forward(self, bev_features: Tensor) -> Tensor:
        """Return (B, out_channels, scale * X, scale * Y)."""
        output: Tensor = self.activation(self.norm(self.conv(bev_features)))
        return output


class SecondNeck(nn.Module):
    """Bring all stages to the first one's size and join their channels."""

    def __init__(
        self, in_channels: Sequence[int], out_channels: Sequence[int], scales: Sequence[int]
    ) -> None:
        """Build the neck; a scale of 1 is a 1x1 convolution."""
        super().__init__()
        self.levels = nn.ModuleList(
            ConvNorm(source, target, 1, norm_eps=NORM_EPS)
            if scale == 1
            else Enlarge(source, target, scale)
            for source, target, scale in zip(in_channels, out_channels, scales, strict=True)
        )

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Return (B, sum of out_channels, X, Y)."""
        enlarged = [level(features) for level, features in zip(self.levels, levels, strict=True)]
        return torch.cat(enlarged, dim=1)
