# SPDX-License-Identifier: Apache-2.0
"""Necks: fuse feature maps of several strides into one map of the finest stride.

A neck made for fewer maps than it is given fuses the coarsest.

`ConcatNeck` (images) and `ConcatBevNeck` (BEV) are the published forms; `SumNeck` adds 1x1 laterals
instead of convolving wide concatenations, which costs a tenth on a CPU.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from simdistill_ros.core.network.convolutions import ConvNorm


class ConcatNeck(nn.Module):
    """From coarse to fine: enlarge, concatenate, 1x1, 3x3."""

    def __init__(
        self, in_channels: Sequence[int], channels: int, *, align_corners: bool = False
    ) -> None:
        """Build the neck for maps of `in_channels`, finest first.

        With `align_corners` maps are enlarged so that their corner pixels' centres coincide.
        """
        super().__init__()
        self.align_corners = align_corners
        self.laterals, self.outputs = nn.ModuleList(), nn.ModuleList()
        for level, level_channels in enumerate(in_channels[:-1]):
            is_last = level == len(in_channels) - 2
            coarse = in_channels[level + 1] if is_last else channels
            self.laterals.append(ConvNorm(level_channels + coarse, channels, 1))
            self.outputs.append(ConvNorm(channels, channels))

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Return the finest fused map (B, channels, Hf, Wf)."""
        return self.fused_levels(levels)[0]

    def fused_levels(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Return the fused maps, finest first, one fewer than `levels`."""
        levels = levels[-1 - len(self.laterals) :]
        coarse, fused = levels[-1], list[Tensor]()
        for level in reversed(range(len(self.laterals))):
            size = levels[level].shape[-2:]
            enlarged = interpolate(
                coarse, size=size, mode="bilinear", align_corners=self.align_corners
            )
            coarse = self.laterals[level](torch.cat([levels[level], enlarged], dim=1))
            coarse = self.outputs[level](coarse)
            fused.insert(0, coarse)
        return fused


class ConcatBevNeck(nn.Module):
    """Concatenate the enlarged last map with the first one, fuse, and enlarge the result."""

    def __init__(self, first_channels: int, last_channels: int, channels: int, scale: int) -> None:
        """Build the neck; `scale` enlarges the result relative to the first map."""
        super().__init__()
        self.scale = scale
        self.lateral = ConvNorm(first_channels + last_channels, channels, 1)
        self.fuse = ConvNorm(channels, channels)
        self.output: nn.Module = nn.Identity() if scale == 1 else ConvNorm(channels, channels)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Return (B, channels, scale * X, scale * Y) for a first map of X by Y."""
        first, last = levels[0], levels[-1]
        last = interpolate(last, size=first.shape[-2:], mode="bilinear", align_corners=True)
        fused: Tensor = self.fuse(self.lateral(torch.cat([last, first], dim=1)))
        if self.scale > 1:
            fused = interpolate(
                fused, scale_factor=float(self.scale), mode="bilinear", align_corners=True
            )
        output: Tensor = self.output(fused)
        return output


class SumNeck(nn.Module):
    """From coarse to fine: enlarge and add to a 1x1 lateral; 3x3 at the end."""

    def __init__(self, in_channels: Sequence[int], channels: int) -> None:
        """Build the neck for maps of `in_channels`, finest first."""
        super().__init__()
        self.laterals = nn.ModuleList(
            ConvNorm(level, channels, 1, activation="none") for level in in_channels
        )
        self.activation = nn.ReLU()
        self.output = ConvNorm(channels, channels)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Return the fused map (B, channels, Hf, Wf) at the first level's size."""
        levels = levels[-len(self.laterals) :]
        fused: Tensor = self.laterals[-1](levels[-1])
        for level, lateral in zip(reversed(levels[:-1]), list(self.laterals)[-2::-1], strict=True):
            size = level.shape[-2:]
            enlarged = interpolate(fused, size=size, mode="bilinear", align_corners=False)
            fused = lateral(level) + enlarged
        output: Tensor = self.output(self.activation(fused))
        return output
