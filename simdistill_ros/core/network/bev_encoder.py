# SPDX-License-Identifier: Apache-2.0
"""The fuser and the residual encoder on the BEV map."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from simdistill_ros.core.network.convolutions import ConvNorm, ResidualBlock


class ConvFuser(nn.Module):
    """Concatenate BEV maps and convolve; with one map, an adapter between channel counts."""

    def __init__(self, in_channels: Sequence[int], channels: int) -> None:
        """Build the fuser for maps of `in_channels`, in the order they are given."""
        super().__init__()
        self.conv = ConvNorm(sum(in_channels), channels)

    def forward(self, *maps: Tensor) -> Tensor:
        """Return (B, channels, X, Y)."""
        output: Tensor = self.conv(torch.cat(maps, dim=1))
        return output


class BevResNet(nn.Module):
    """Stages of residual blocks; returns every stage's map."""

    def __init__(self, in_channels: int, stages: Sequence[tuple[int, int, int]]) -> None:
        """Build the encoder; each stage is (blocks, channels, stride of its first block)."""
        super().__init__()
        self.stages = nn.ModuleList()
        for blocks, channels, stride in stages:
            layers = nn.Sequential(ResidualBlock(in_channels, channels, stride))
            layers.extend(ResidualBlock(channels, channels) for _ in range(blocks - 1))
            self.stages.append(layers)
            in_channels = channels

    def forward(self, bev_features: Tensor) -> list[Tensor]:
        """Return the maps (B, C, X, Y) of all stages."""
        outputs = []
        for stage in self.stages:
            bev_features = stage(bev_features)
            outputs.append(bev_features)
        return outputs
