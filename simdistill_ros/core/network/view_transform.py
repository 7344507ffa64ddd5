# SPDX-License-Identifier: Apache-2.0
"""From image features to the BEV map: depth and context per pixel, then pooling.

Where a pixel at a depth falls is decided by `core/lift_geometry`; here its tables are only summed
over. The product of depth and context is never formed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from simdistill_ros.core.lift_geometry import PoolingTables
from simdistill_ros.core.network.bev_pooling import pool_rows, pool_rows_of_two
from simdistill_ros.core.network.convolutions import ConvNorm, at_least_float32

Float32Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class BatchedPoolingTables:
    """Pooling tables of B snapshots, one after the other, as tensors.

    Attributes:
        pixel_index: (K,) int32, row of the context (B * N * Hf * Wf, C).
        depth_index: (K,) int32, element of the flattened depth (B, N, D, Hf, Wf).
        cell_offsets: (B * X * Y + 1,) int32, first entry of each cell, and K.
    """

    pixel_index: Tensor
    depth_index: Tensor
    cell_offsets: Tensor

    def to(self, device: torch.device | str) -> BatchedPoolingTables:
        """Return the tables on a device."""
        return BatchedPoolingTables(*(tensor.to(device) for tensor in self.tensors()))

    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return pixel index, depth index and cell offsets."""
        return self.pixel_index, self.depth_index, self.cell_offsets


def batch_tables(tables: Sequence[PoolingTables]) -> BatchedPoolingTables:
    """Join the tables of several snapshots of one model into those of a batch.

    Raises:
        ValueError: If there is none, if sizes differ, or if the batch outgrows int32.
    """
    sizes = {(table.pixel_count, table.depth_count, table.cell_offsets.size) for table in tables}
    if len(sizes) != 1:
        raise ValueError(f"batch_tables: expected tables of one size, got {sorted(sizes)}")
    pixel_count, depth_count, _ = sizes.pop()
    if depth_count * len(tables) > np.iinfo(np.int32).max:
        raise ValueError(f"batch_tables: expected at most 2^31 depths, got {len(tables)} snapshots")
    entries = np.cumsum([0] + [table.pixel_index.size for table in tables])
    offsets = [
        table.cell_offsets[:-1] + first for table, first in zip(tables, entries[:-1], strict=True)
    ]
    pixels = [table.pixel_index + n * pixel_count for n, table in enumerate(tables)]
    depths = [table.depth_index + n * depth_count for n, table in enumerate(tables)]
    joined = (pixels, depths, [*offsets, entries[-1:]])
    return BatchedPoolingTables(
        *(torch.from_numpy(np.concatenate(arrays).astype(np.int32)) for arrays in joined)
    )


def pool_bev(
    depth: Tensor, context: Tensor, tables: BatchedPoolingTables, shape_xy: tuple[int, int]
) -> Tensor:
    """Sum depth * context over the entries of each BEV cell.

    Args:
        depth: (B, N, D, Hf, Wf), probabilities over D.
        context: (B, N, Hf, Wf, C).
        tables: Which entries each cell has.
        shape_xy: Cells along x and y.

    Returns:
        (B, C, X, Y), channels last in memory; cells that no camera sees are zero.
    """
    rows = pool_rows(*_flat(depth, context), *tables.tensors())
    return _bev_map(rows, len(depth), shape_xy)


def pool_two_bevs(
    branches: tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]],
    tables: BatchedPoolingTables,
    shape_xy: tuple[int, int],
) -> tuple[Tensor, Tensor]:
    """Pool the (depth, context) of both lift branches; see `pool_bev`."""
    batch = len(branches[0][0])
    first, second = branches
    pooled = pool_rows_of_two((_flat(*first), _flat(*second)), *tables.tensors())
    return _bev_map(pooled[0], batch, shape_xy), _bev_map(pooled[1], batch, shape_xy)


def _flat(depth: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
    """Return depth (B * N, D, Hf * Wf) and context (B * N * Hf * Wf, C)."""
    return depth.flatten(0, 1).flatten(2), context.flatten(0, 3)


def _bev_map(rows: Tensor, batch: int, shape_xy: tuple[int, int]) -> Tensor:
    """Return rows (B * X * Y, C) as maps (B, C, X, Y), channels last in memory."""
    return rows.view(batch, *shape_xy, -1).permute(0, 3, 1, 2)


@torch.inference_mode()
def pool_arrays(
    depth: Float32Array,
    context: Float32Array,
    tables: BatchedPoolingTables,
    shape_xy: tuple[int, int],
) -> Float32Array:
    """Pool one snapshot's arrays, for backends whose graphs end where pooling begins.

    Args:
        depth: (N, D, Hf, Wf), probabilities over D.
        context: (N, Hf, Wf, C).
        tables: Those of the one snapshot, on the CPU.
        shape_xy: Cells along x and y.

    Returns:
        (1, X, Y, C).
    """
    depths, contexts = torch.from_numpy(depth)[None], torch.from_numpy(context)[None]
    pooled: Float32Array = pool_bev(depths, contexts, tables, shape_xy).permute(0, 2, 3, 1).numpy()
    return pooled


class LiftHead(nn.Module):
    """Predict the depth distribution and the context of every feature pixel."""

    def __init__(
        self,
        in_channels: int,
        *,
        hidden_channels: int,
        hidden_layers: int,
        depth_bins: int,
        context_channels: int,
    ) -> None:
        """Build the head; without hidden layers it is one 1x1 convolution."""
        super().__init__()
        self.depth_bins = depth_bins
        self.hidden = nn.Sequential()
        for _ in range(hidden_layers):
            self.hidden.append(ConvNorm(in_channels, hidden_channels))
            in_channels = hidden_channels
        self.output = nn.Conv2d(in_channels, depth_bins + context_channels, 1)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Predict depth and context.

        Args:
            features: (B, C, Hf, Wf).

        Returns:
            Depth probabilities (B, D, Hf, Wf) and context (B, Hf, Wf, context_channels).
        """
        output = self.output(self.hidden(features)).permute(0, 2, 3, 1)
        logits = at_least_float32(output[..., : self.depth_bins])
        # As rows of a matrix: over the second of four axes, ONNX Runtime takes five times as long.
        depth = logits.flatten(0, 2).softmax(-1).view(logits.shape)
        return depth.permute(0, 3, 1, 2), output[..., self.depth_bins :]


class BevDownsample(nn.Sequential):
    """3x3 convolutions after pooling, with the given strides."""

    def __init__(self, channels: int, strides: Sequence[int]) -> None:
        """Build the layers; none for no strides."""
        super().__init__(*(ConvNorm(channels, channels, stride=stride) for stride in strides))
