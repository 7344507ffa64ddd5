# SPDX-License-Identifier: Apache-2.0
"""ResNet with bottleneck blocks; the stride sits on the 3x3 convolution."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from simdistill_ros.core.network.convolutions import ConvNorm

EXPANSION = 4


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions with a shortcut."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        """Build the block; it returns four times `channels`."""
        super().__init__()
        out_channels = channels * EXPANSION
        self.reduce = ConvNorm(in_channels, channels, 1)
        self.spatial = ConvNorm(channels, channels, stride=stride)
        self.expand = ConvNorm(channels, out_channels, 1, activation="none")
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = ConvNorm(in_channels, out_channels, 1, stride=stride, activation="none")
        self.activation = nn.ReLU()

    def forward(self, features: Tensor) -> Tensor:
        """Return (B, 4 * channels, H / stride, W / stride)."""
        residual: Tensor = self.expand(self.spatial(self.reduce(features)))
        output: Tensor = self.activation(residual + self.shortcut(features))
        return output


class ResNet(nn.Module):
    """Image encoder with outputs at strides 8, 16 and 32."""

    def __init__(self, depths: Sequence[int], base_channels: int) -> None:
        """Build the encoder.

        Args:
            depths: Blocks of the four stages; (3, 4, 6, 3) is ResNet-50.
            base_channels: Inner channels of the first stage, doubled in each next one.
        """
        super().__init__()
        self.stem = ConvNorm(3, base_channels, 7, stride=2)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.stages = nn.ModuleList()
        channels = base_channels
        for stage, depth in enumerate(depths):
            inner = base_channels * 2**stage
            blocks = nn.Sequential()
            for position in range(depth):
                stride = 2 if stage > 0 and position == 0 else 1
                blocks.append(Bottleneck(channels, inner, stride))
                channels = inner * EXPANSION
            self.stages.append(blocks)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Encode images (B, 3, H, W) into features at strides 8, 16 and 32."""
        features: Tensor = self.pool(self.stem(images))
        outputs = []
        for stage in self.stages:
            features = stage(features)
            outputs.append(features)
        return outputs[1:]
