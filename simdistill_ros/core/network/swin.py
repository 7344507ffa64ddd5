# SPDX-License-Identifier: Apache-2.0
"""Swin transformer in the flavour whose detection weights are published.

What distinguishes it: maps are padded to whole windows after the norm and padded tokens take part
in attention; windows are always shifted in every second block, however small the map; patch merging
orders its channels channel by channel, each with its four positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

MASKED = -100.0


class WindowAttention(nn.Module):
    """Self-attention inside windows, with a learned bias per relative position and head."""

    def __init__(self, channels: int, heads: int, window: int) -> None:
        """Build the layer."""
        super().__init__()
        self.heads, self.window = heads, window
        self.relative_bias = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        nn.init.trunc_normal_(self.relative_bias, std=0.02)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.projection = nn.Linear(channels, channels)
        self.kept: dict[str, Tensor] | None = None  # see `keep_constants`

    def forward(self, windows: Tensor, mask: Tensor | None) -> Tensor:
        """Attend within each window.

        Args:
            windows: (B * W, T, C), T tokens in each of W windows an image.
            mask: (W, T, T), added to the logits, or None.
        """
        count, tokens, channels = windows.shape
        qkv = self.qkv(windows).reshape(count, tokens, 3, self.heads, channels // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each (B * W, heads, T, C / heads)
        logits = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
        index = _constant(self.kept, "index", _relative_index(self.window), like=logits)
        logits = logits + self.relative_bias[index].permute(2, 0, 1)
        if mask is not None:
            per_image = (-1, len(mask), self.heads, tokens, tokens)
            logits = (logits.view(per_image) + mask[:, None]).view_as(logits)
        mixed = (logits.softmax(-1) @ value).transpose(1, 2).reshape(count, tokens, channels)
        output: Tensor = self.projection(mixed)
        return output


class SwinBlock(nn.Module):
    """Window attention and a two-layer perceptron, both residual and normalised before."""

    def __init__(
        self,
        channels: int,
        heads: int,
        window: int,
        *,
        shift: int,
        mlp_ratio: int,
        drop_path: float,
    ) -> None:
        """Build the block; `shift` rolls the map before it is cut into windows."""
        super().__init__()
        self.window, self.shift, self.drop_path = window, shift, drop_path
        self.kept: dict[str, Tensor] | None = None  # see `keep_constants`
        self.norm1 = nn.LayerNorm(channels)
        self.attention = WindowAttention(channels, heads, window)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(
            nn.Linear(channels, mlp_ratio * channels),
            nn.GELU(),
            nn.Linear(mlp_ratio * channels, channels),
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Return tokens of the same shape (B, H, W, C)."""
        tokens = tokens + self._dropped(self._attend(self.norm1(tokens)))
        output: Tensor = tokens + self._dropped(self.mlp(self.norm2(tokens)))
        return output

    def _attend(self, tokens: Tensor) -> Tensor:
        batch, height, width, channels = tokens.shape
        window, shift = self.window, self.shift
        padded = functional.pad(tokens, (0, 0, 0, -width % window, 0, -height % window))
        rows, columns = padded.shape[1] // window, padded.shape[2] // window
        mask = None
        if shift:
            padded = torch.roll(padded, (-shift, -shift), (1, 2))
            values = _shift_mask(rows, columns, window, shift)
            mask = _constant(self.kept, f"mask {rows} {columns}", values, like=tokens)
        windows = padded.view(batch, rows, window, columns, window, channels).transpose(2, 3)
        windows = self.attention(windows.reshape(-1, window * window, channels), mask)
        windows = windows.view(batch, rows, columns, window, window, channels).transpose(2, 3)
        attended = windows.reshape(padded.shape)
        if shift:
            attended = torch.roll(attended, (shift, shift), (1, 2))
        output: Tensor = attended[:, :height, :width]
        return output

    def _dropped(self, branch: Tensor) -> Tensor:
        """Drop the whole branch of some images while training, and scale up the others."""
        if not self.training or self.drop_path == 0:
            return branch
        kept = torch.rand(len(branch), 1, 1, 1, device=branch.device) >= self.drop_path
        return branch * kept / (1 - self.drop_path)


class PatchMerging(nn.Module):
    """Halve the map: four neighbours become one token of twice the channels."""

    def __init__(self, channels: int) -> None:
        """Build the layer."""
        super().__init__()
        self.norm = nn.LayerNorm(4 * channels)
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (B, H / 2, W / 2, 2C), odd sizes rounded up."""
        tokens = functional.pad(tokens, (0, 0, 0, tokens.shape[2] % 2, 0, tokens.shape[1] % 2))
        merged = functional.pixel_unshuffle(tokens.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)
        output: Tensor = self.reduction(self.norm(merged))
        return output


class SwinTransformer(nn.Module):
    """Image encoder with outputs at strides 8, 16 and 32, each with its own layer norm."""

    def __init__(
        self,
        embed_channels: int,
        depths: Sequence[int],
        heads: Sequence[int],
        *,
        window: int = 7,
        mlp_ratio: int = 4,
        drop_path: float = 0.0,
    ) -> None:
        """Build the encoder.

        Args:
            embed_channels: Channels of the first of four stages, doubled in each next one.
            depths: Blocks of each stage.
            heads: Attention heads of each stage.
            window: Side of the attention windows, tokens.
            mlp_ratio: Hidden size of the perceptrons over their channels.
            drop_path: Drop rate of the last block's branches; rises linearly from zero.
        """
        super().__init__()
        self.patch_embed = nn.Conv2d(3, embed_channels, 4, stride=4)
        self.patch_norm = nn.LayerNorm(embed_channels)
        rates = torch.linspace(0, drop_path, sum(depths)).tolist()
        self.stages, self.merges, self.norms = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for stage, depth in enumerate(depths):
            channels = embed_channels * 2**stage
            self.stages.append(
                nn.Sequential(
                    *(
                        SwinBlock(
                            channels,
                            heads[stage],
                            window,
                            shift=window // 2 if position % 2 else 0,
                            mlp_ratio=mlp_ratio,
                            drop_path=rates.pop(0),
                        )
                        for position in range(depth)
                    )
                )
            )
            if stage < len(depths) - 1:
                self.merges.append(PatchMerging(channels))
            if stage > 0:
                self.norms.append(nn.LayerNorm(channels))
        self.apply(_init_linear)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Encode images (B, 3, H, W) into features at strides 8, 16 and 32, (B, C, Hf, Wf)."""
        images = functional.pad(images, (0, -images.shape[3] % 4, 0, -images.shape[2] % 4))
        tokens = self.patch_norm(self.patch_embed(images).permute(0, 2, 3, 1))  # (B, H/4, W/4, C)
        outputs = []
        for index, stage in enumerate(self.stages):
            if index > 0:
                tokens = self.merges[index - 1](tokens)
            tokens = stage(tokens)
            if index > 0:
                outputs.append(self.norms[index - 1](tokens).permute(0, 3, 1, 2))
        return outputs


def _init_linear(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def keep_constants(network: nn.Module) -> None:
    """Make every window attention keep its index and mask on the device after the first run.

    For inference only, with images of one size: a CUDA graph must not copy them from the host.
    """
    for module in network.modules():
        if isinstance(module, WindowAttention | SwinBlock):
            module.kept = {}


def _constant(
    kept: dict[str, Tensor] | None, key: str, values: npt.NDArray[np.generic], *, like: Tensor
) -> Tensor:
    """Return values on the device of a tensor, floats in its type, from `kept` where they are."""
    if kept is not None and key in kept:
        return kept[key]
    constant = torch.from_numpy(values).to(like.device)
    if constant.is_floating_point():
        constant = constant.to(like.dtype)
    if kept is not None:
        kept[key] = constant
    return constant


# The cached values are arrays: a tensor that is made while a network is traced for export, or in
# inference mode, must not live on for other calls.
@lru_cache(maxsize=8)
def _relative_index(window: int) -> npt.NDArray[np.int64]:
    """Return (T, T) rows of the bias table for each pair of tokens of a window."""
    rows, columns = np.indices((window, window)).reshape(2, -1)
    offsets = [axis[:, None] - axis for axis in (rows, columns)]
    return np.asarray((offsets[0] + window - 1) * (2 * window - 1) + offsets[1] + window - 1)


@lru_cache(maxsize=32)
def _shift_mask(rows: int, columns: int, window: int, shift: int) -> npt.NDArray[np.float32]:
    """Return (W, T, T): MASKED between tokens that were not neighbours before the roll."""

    def region(count: int) -> npt.NDArray[np.int64]:
        position = np.arange(count * window)
        return np.add(
            position >= (count - 1) * window, position >= count * window - shift, dtype=int
        )

    regions = region(rows)[:, None] * 3 + region(columns)
    regions = regions.reshape(rows, window, columns, window).swapaxes(1, 2)
    regions = regions.reshape(rows * columns, window * window)
    return np.asarray(np.float32(MASKED) * (regions[:, None] != regions[:, :, None]))
