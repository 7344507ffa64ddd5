# SPDX-License-Identifier: Apache-2.0
"""Geometry compensation: a residual block that lets features move to where they belong.

One block works on image features before the depth head, one on the BEV map after pooling, both on
the simulated-LiDAR branch only. There is no norm and no perceptron, and no loss of its own.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from simdistill_ros.core.network.convolutions import at_least_float32
from simdistill_ros.core.network.sampling import (
    SumForm,
    bilinear_corners,
    grid_sampled_sums,
    triton_sampling,
    weighted_row_sums,
)


class GeometryCompensation(nn.Module):
    """features + block(features)."""

    def __init__(self, block: nn.Module) -> None:
        """Wrap a block that returns maps of the shape it takes."""
        super().__init__()
        self.block = block

    def forward(self, features: Tensor) -> Tensor:
        """Return features of the same shape."""
        output: Tensor = features + self.block(features)
        return output


class DeformableAttention(nn.Module):
    """Each cell attends to a few learned places around it.

    Places and attention weights come from the features plus a learned position embedding; the
    values that are mixed do not contain the embedding. The size of the map is fixed.
    """

    def __init__(
        self,
        channels: int,
        map_hw: tuple[int, int],
        *,
        heads: int,
        points: int,
        corner_reference_points: bool = False,
    ) -> None:
        """Build the block.

        Args:
            channels: Channels in and out; even, and a multiple of `heads`.
            map_hw: Size of the map; for BEV maps (X, Y).
            heads: Attention heads.
            points: Places per head.
            corner_reference_points: Legacy. Start half a cell up-left of the cell itself.

        Raises:
            ValueError: If `channels` is odd or not a multiple of `heads`.
        """
        super().__init__()
        if channels % heads or channels % 2:
            raise ValueError(
                f"DeformableAttention: expected even channels that are a multiple of {heads} heads,"
                f" got {channels}"
            )
        self.map_hw, self.heads, self.points = map_hw, heads, points
        self.shift_px = -0.5 if corner_reference_points else 0.0
        self.sum_form: SumForm = "bag"
        self.embedding_u = nn.Parameter(torch.rand(map_hw[1], channels // 2))
        self.embedding_v = nn.Parameter(torch.rand(map_hw[0], channels // 2))
        self.offsets = nn.Linear(channels, heads * points * 2)
        self.attention = nn.Linear(channels, heads * points)
        self.value = nn.Linear(channels, channels)
        self.projection = nn.Linear(channels, channels)
        self._init_parameters()

    def _init_parameters(self) -> None:
        """Point each head in its own direction, one cell further per point."""
        angles = torch.arange(self.heads) * (2 * math.pi / self.heads)
        directions = torch.stack([angles.cos(), angles.sin()], -1)
        directions = directions / directions.abs().amax(-1, keepdim=True)
        steps = torch.arange(1, self.points + 1)[None, :, None]
        nn.init.zeros_(self.offsets.weight)
        with torch.no_grad():
            self.offsets.bias.copy_((directions[:, None] * steps).flatten())
        for layer in (self.attention, self.value, self.projection):
            nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.attention.weight)
        nn.init.xavier_uniform_(self.value.weight)
        nn.init.xavier_uniform_(self.projection.weight)

    def forward(self, features: Tensor) -> Tensor:
        """Return the mixed features, (B, C, H, W) as given, without the residual."""
        if self.sum_form == "grid":
            return self._sampled_by_operator(features)
        batch, channels, height, width = features.shape
        rows = features.flatten(2).transpose(1, 2)  # (B, H * W, C)
        u_px, v_px, weights = self.planes(rows)
        # Row ((b * H * W + cell) * heads + head) of the values holds that head's channels.
        values = self.value(rows).reshape(-1, channels // self.heads)
        mixed = self._mixed(values, u_px, v_px, weights)
        output: Tensor = self.projection(mixed.view(batch, height * width, channels))
        return output.transpose(1, 2).reshape(batch, channels, height, width)

    def _mixed(self, values: Tensor, u_px: Tensor, v_px: Tensor, weights: Tensor) -> Tensor:
        """Return the weighted samples of each cell and head, (B * H * W * heads, C / heads)."""
        kernel = triton_sampling() if values.is_cuda and self.sum_form == "bag" else None
        if kernel is not None and not torch.is_grad_enabled():
            positions_px = torch.stack([u_px, v_px], -1)
            sums: Tensor = kernel.sampled_sums(values, positions_px, weights, self.map_hw)
            return sums
        first = self._first_rows(len(u_px), values.device)
        index, corner_weights = bilinear_corners(u_px, v_px, self.map_hw, first, self.heads)
        return weighted_row_sums(
            values,
            index.flatten(0, 2),
            (corner_weights * weights[..., None, :]).flatten(0, 2),
            self.sum_form,
        )

    def _sampled_by_operator(self, features: Tensor) -> Tensor:
        """Return what `forward` does, cells last throughout: nothing of an exported graph turns."""
        batch, channels, height, width = features.shape
        cells = height * width
        columns = features.reshape(batch, channels, cells)
        weight, constant = self._plane_maker()
        planes = at_least_float32(weight @ columns) + constant.T
        per_head = planes.view(batch, 3, self.heads, self.points, cells).transpose(1, 2)
        u_px, v_px, logits = per_head.flatten(0, 1).unbind(1)  # (B * heads, points, H * W)
        # ONNX Runtime turns a map round to take the softmax of another axis than the last.
        shares = (logits - logits.amax(1, keepdim=True)).exp()
        values = self.value.weight @ columns + self.value.bias[:, None]
        sums = grid_sampled_sums(
            values.view(batch * self.heads, -1, cells),
            u_px,
            v_px,
            shares / shares.sum(1, keepdim=True),
            self.map_hw,
        )
        mixed = sums.view(batch, channels, cells)
        output: Tensor = self.projection.weight @ mixed + self.projection.bias[:, None]
        return output.view(features.shape)

    def places(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return where each cell looks, and how much weight each place gets.

        Args:
            rows: (B, H * W, C), the flattened map.

        Returns:
            Positions (B, H * W, heads, points, 2) as (u, v) in cells, and weights
            (B, H * W, heads, points) that sum to one over the points.
        """
        u_px, v_px, weights = self.planes(rows)
        return torch.stack([u_px, v_px], -1), weights

    def planes(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return what `places` returns, u and v apart, each (B, H * W, heads, points).

        All three are linear in the features and in the embedding. The part of the embedding, with
        the cells' own places, does not depend on the features, so that an exported graph has it as
        a constant.
        """
        weight, constant = self._plane_maker()
        planes = at_least_float32(linear(rows, weight)) + constant
        shape = (*rows.shape[:2], 3, self.heads, self.points)
        u_px, v_px, logits = planes.view(shape).unbind(2)
        return u_px, v_px, logits.softmax(-1)

    def _plane_maker(self) -> tuple[Tensor, Tensor]:
        """Return what features are multiplied by, and what is added for each cell, (H * W, ...)."""
        offsets, attention = self.offsets, self.attention
        weight = torch.cat([_by_axis(offsets.weight), attention.weight])
        bias = torch.cat([_by_axis(offsets.bias), attention.bias])
        constant = at_least_float32(linear(self.position_embedding(), weight, bias))
        return weight, constant + self._own_places(constant)

    def _own_places(self, like: Tensor) -> Tensor:
        """Return each cell's own u and v beside zeros for the attention, as columns of `planes`."""
        height, width = self.map_hw
        v, u = torch.meshgrid(
            torch.arange(height, device=like.device, dtype=like.dtype),
            torch.arange(width, device=like.device, dtype=like.dtype),
            indexing="ij",
        )
        shifted = [u.flatten() + self.shift_px, v.flatten() + self.shift_px]
        own = torch.stack([*shifted, torch.zeros_like(shifted[0])], -1)  # (H * W, 3)
        return own[:, :, None].expand(-1, -1, self.heads * self.points).flatten(1)

    def position_embedding(self) -> Tensor:
        """Return the learned embedding of each cell, (H * W, C)."""
        height, width = self.map_hw
        columns = self.embedding_u[None].expand(height, -1, -1)
        rows = self.embedding_v[:, None].expand(-1, width, -1)
        return torch.cat([columns, rows], -1).flatten(0, 1)

    def _first_rows(self, batch: int, device: torch.device) -> Tensor:
        """Return the row of each image's and head's first cell, (B, 1, heads, 1), int32."""
        cells = self.map_hw[0] * self.map_hw[1]
        image = torch.arange(batch, device=device, dtype=torch.int32).view(-1, 1, 1, 1)
        head = torch.arange(self.heads, device=device, dtype=torch.int32).view(-1, 1)
        return image * (cells * self.heads) + head


def _by_axis(offsets: Tensor) -> Tensor:
    """Return rows of which u and v alternate as all of u, then all of v."""
    return torch.cat([offsets[0::2], offsets[1::2]])


class DeformableConvolution(nn.Module):
    """3x3 convolution whose nine taps are moved and weighted by the features."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        """Build the layer; taps start at their places with weight one."""
        super().__init__()
        self.sum_form: SumForm = "bag"
        self.offsets = nn.Conv2d(in_channels, 18, 3, padding=1)
        self.modulators = nn.Conv2d(in_channels, 9, 3, padding=1)
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        for layer in (self.offsets, self.modulators):
            nn.init.zeros_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Return (B, out_channels, H, W)."""
        batch, channels, height, width = features.shape
        device = features.device
        offsets = self.offsets(features).view(batch, 9, 2, height, width)  # v before u
        modulators = 2 * self.modulators(features).sigmoid()  # (B, 9, H, W)
        tap_v, tap_u, v, u = torch.meshgrid(
            torch.arange(-1, 2, device=device),
            torch.arange(-1, 2, device=device),
            torch.arange(height, device=device),
            torch.arange(width, device=device),
            indexing="ij",
        )
        first = torch.arange(batch, device=device, dtype=torch.int32).view(-1, 1, 1, 1, 1)
        index, weight = bilinear_corners(
            (offsets[:, :, 1] + (tap_u + u).view(9, height, width))[..., None],
            (offsets[:, :, 0] + (tap_v + v).view(9, height, width))[..., None],
            (height, width),
            first * (height * width),
        )
        rows = features.permute(0, 2, 3, 1).reshape(-1, channels)
        taps = weighted_row_sums(
            rows,
            index.flatten(0, 3),
            (weight * modulators[..., None, None]).flatten(0, 3),
            self.sum_form,
        )
        taps = taps.view(batch, 9, height, width, channels)
        kernel = self.conv.weight.flatten(2)  # (out, in, 9)
        output = torch.einsum("bkhwc,ock->bohw", taps, kernel)
        assert self.conv.bias is not None
        return output + self.conv.bias[:, None, None]


class ConvolutionBlock(nn.Module):
    """Two 3x3 convolutions, deformable or plain, with ReLU between."""

    def __init__(self, channels: int, *, deformable: bool) -> None:
        """Build the block."""
        super().__init__()
        self.first: nn.Module
        self.second: nn.Module
        if deformable:
            self.first = DeformableConvolution(channels, channels)
            self.second = DeformableConvolution(channels, channels)
        else:
            self.first = nn.Conv2d(channels, channels, 3, padding=1)
            self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """Return features of the same shape, without the residual."""
        output: Tensor = self.second(self.first(features).relu())
        return output
