# SPDX-License-Identifier: Apache-2.0
"""EfficientNet-Lite0 (no squeeze-and-excitation, ReLU6), the encoder for CPUs."""

from __future__ import annotations

from torch import Tensor, nn

from simdistill_ros.core.network.convolutions import ConvNorm

STEM_CHANNELS = 32
# (blocks, kernel, stride of the first block, expansion, channels)
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
OUTPUT_BLOCKS = (4, 10, 15)  # last blocks at strides 8, 16 and 32
NORM_EPS = 1e-3


class InvertedResidual(nn.Module):
    """Expand with 1x1, filter each channel, project with 1x1; residual where shapes allow."""

    def __init__(
        self, in_channels: int, out_channels: int, *, kernel: int, stride: int, expansion: int
    ) -> None:
        """Build the block; expansion 1 has no expanding convolution."""
        super().__init__()
        hidden = in_channels * expansion
        self.expand: nn.Module = nn.Identity()
        if expansion > 1:
            self.expand = ConvNorm(in_channels, hidden, 1, activation="relu6", norm_eps=NORM_EPS)
        self.depthwise = ConvNorm(
            hidden,
            hidden,
            kernel,
            stride=stride,
            groups=hidden,
            activation="relu6",
            norm_eps=NORM_EPS,
            pad_end_first=True,
        )
        self.project = ConvNorm(hidden, out_channels, 1, activation="none", norm_eps=NORM_EPS)
        self.is_residual = stride == 1 and in_channels == out_channels

    def forward(self, features: Tensor) -> Tensor:
        """Return (B, out_channels, H / stride, W / stride)."""
        output: Tensor = self.project(self.depthwise(self.expand(features)))
        return features + output if self.is_residual else output


class EfficientNetLite0(nn.Module):
    """Image encoder with outputs of 40, 112 and 320 channels at strides 8, 16 and 32."""

    def __init__(self) -> None:
        """Build the encoder."""
        super().__init__()
        self.stem = ConvNorm(
            3, STEM_CHANNELS, stride=2, activation="relu6", norm_eps=NORM_EPS, pad_end_first=True
        )
        self.blocks = nn.ModuleList()
        channels = STEM_CHANNELS
        for blocks, kernel, stride, expansion, out_channels in STAGES:
            for position in range(blocks):
                self.blocks.append(
                    InvertedResidual(
                        channels,
                        out_channels,
                        kernel=kernel,
                        stride=stride if position == 0 else 1,
                        expansion=expansion,
                    )
                )
                channels = out_channels

    def forward(self, images: Tensor) -> list[Tensor]:
        """Encode images.

        Args:
            images: (B, 3, H, W), RGB, normalised.

        Returns:
            Features at strides 8, 16 and 32.
        """
        features: Tensor = self.stem(images)
        outputs = []
        for index, block in enumerate(self.blocks):
            features = block(features)
            if index in OUTPUT_BLOCKS:
                outputs.append(features)
        return outputs
