# SPDX-License-Identifier: Apache-2.0
"""Convolution with batch norm and activation, the residual block made of two, and folding.

Every normalised convolution of the network is a `ConvNorm`, so that `fold_norms` finds them all.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.nn.utils.fusion import fuse_conv_bn_eval

Activation = Literal["relu", "relu6", "none"]


class ConvNorm(nn.Module):
    """Convolution without bias, batch norm, activation; size kept at stride 1, odd kernels."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 3,
        *,
        stride: int = 1,
        groups: int = 1,
        activation: Activation = "relu",
        norm_eps: float = 1e-5,
        pad_end_first: bool = False,
    ) -> None:
        """Build the layer.

        Args:
            in_channels: Channels in.
            out_channels: Channels out.
            kernel: Kernel size, odd.
            stride: Stride.
            groups: Groups of the convolution.
            activation: What follows the norm.
            norm_eps: Added to the variance.
            pad_end_first: Pad as TensorFlow does: an odd total goes to the right and lower side.
        """
        super().__init__()
        self.end_padding = pad_end_first and stride > 1
        padding = 0 if self.end_padding else kernel // 2
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel, stride, padding, groups=groups, bias=False
        )
        # Keeps the scale of the signal, so that an untrained network still sees its images.
        nonlinearity: Literal["linear", "relu"] = "linear" if activation == "none" else "relu"
        nn.init.kaiming_normal_(self.conv.weight, nonlinearity=nonlinearity)
        self.norm: nn.Module = nn.BatchNorm2d(out_channels, eps=norm_eps)
        activations = {"relu": nn.ReLU, "relu6": nn.ReLU6, "none": nn.Identity}
        self.activation: nn.Module = activations[activation]()

    def forward(self, features: Tensor) -> Tensor:
        """Return (B, out_channels, H / stride, W / stride), rounded up."""
        if self.end_padding:
            features = _pad_like_tensorflow(features, self.conv.kernel_size[0], self.conv.stride[0])
        output: Tensor = self.activation(self.norm(self.conv(features)))
        return output


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut, 1x1 where stride or channels change."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        """Build the block; the first convolution has the stride."""
        super().__init__()
        self.first = ConvNorm(in_channels, out_channels, stride=stride)
        self.second = ConvNorm(out_channels, out_channels, activation="none")
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = ConvNorm(in_channels, out_channels, 1, stride=stride, activation="none")
        self.activation = nn.ReLU()

    def forward(self, features: Tensor) -> Tensor:
        """Return (B, out_channels, H / stride, W / stride)."""
        output: Tensor = self.activation(
            self.second(self.first(features)) + self.shortcut(features)
        )
        return output


def at_least_float32(values: Tensor) -> Tensor:
    """Return half precision as float32, for geometry and probabilities; others as they are."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def fold_norms(network: nn.Module) -> int:
    """Fold every batch norm into its convolution, in place, for inference only.

    Args:
        network: In eval mode. Its state dict changes: it can no longer load or save weights.

    Returns:
        How many norms were folded.

    Raises:
        ValueError: If the network is in training mode.
    """
    if network.training:
        raise ValueError("fold_norms: expected a network in eval mode, got one in training mode")
    folded = 0
    for module in network.modules():
        if isinstance(module, ConvNorm) and isinstance(module.norm, nn.BatchNorm2d):
            module.conv = fuse_conv_bn_eval(module.conv, module.norm)
            module.norm = nn.Identity()
            folded += 1
    return folded


def _pad_like_tensorflow(features: Tensor, kernel: int, stride: int) -> Tensor:
    height, width = (
        max((-(-size // stride) - 1) * stride + kernel - size, 0) for size in features.shape[-2:]
    )
    return pad(features, (width // 2, width - width // 2, height // 2, height - height // 2))
