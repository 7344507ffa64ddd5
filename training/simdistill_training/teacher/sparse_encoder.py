# SPDX-License-Identifier: Apache-2.0
"""LiDAR voxels → BEV map by sparse 3D convolutions.

Residual blocks on the occupied voxels, three halvings of the grid, and a last convolution along z
whose remaining layers become channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from simdistill_training.teacher.sparse_convolution import (
    Engine,
    default_engine,
    sparse_convolution,
    sparse_map,
)
from simdistill_training.teacher.sparse_pairs import ConvolutionShape, Triple
from simdistill_training.teacher.voxelization import Voxels

NORM_EPS = 1e-3
NORM_MOMENTUM = 0.01
KEEP = ConvolutionShape((3, 3, 3), submanifold=True)
HALVE = ((3, 3, 3), (2, 2, 2))
FLATTEN = ConvolutionShape((1, 1, 3), (1, 1, 2))
# Padding of the halvings; the last one does not pad z.
HALVING_PADDINGS: tuple[Triple, ...] = ((1, 1, 1), (1, 1, 1), (1, 1, 0))


class SparseConvNorm(nn.Module):
    """Sparse convolution, batch norm over the occupied voxels, and ReLU unless told otherwise."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        convolution: ConvolutionShape,
        *,
        engine: Engine,
        pairs_name: str,
        activated: bool = True,
    ) -> None:
        """Build the layer."""
        super().__init__()
        self.conv = sparse_convolution(
            in_channels, out_channels, convolution, engine=engine, pairs_name=pairs_name
        )
        self.norm = nn.BatchNorm1d(out_channels, eps=NORM_EPS, momentum=NORM_MOMENTUM)
        self.activation: nn.Module = nn.ReLU() if activated else nn.Identity()

    def forward(self, sparse: Any) -> Any:
        """Return the sparse map after convolution, norm and activation."""
        sparse = self.conv(sparse)
        return sparse.replace_feature(self.activation(self.norm(sparse.features)))


class SparseResidualBlock(nn.Module):
    """Two submanifold convolutions with a shortcut."""

    def __init__(self, channels: int, *, engine: Engine, pairs_name: str) -> None:
        """Build the block."""
        super().__init__()
        self.first = SparseConvNorm(channels, channels, KEEP, engine=engine, pairs_name=pairs_name)
        self.second = SparseConvNorm(
            channels, channels, KEEP, engine=engine, pairs_name=pairs_name, activated=False
        )
        self.activation = nn.ReLU()

    def forward(self, sparse: Any) -> Any:
        """Return a sparse map of the same voxels."""
        residual = self.second(self.first(sparse))
        return residual.replace_feature(self.activation(residual.features + sparse.features))


class SparseEncoder(nn.Module):
    """Four stages of residual blocks; returns the BEV map (B, C * Z, X / 8, Y / 8)."""

    def __init__(
        self,
        in_channels: int,
        stage_channels: Sequence[int],
        out_channels: int,
        shape: Triple,
        *,
        blocks: int = 2,
        engine: Engine | None = None,
    ) -> None:
        """Build the encoder.

        Args:
            in_channels: Features of a voxel.
            stage_channels: Channels of the four stages.
            out_channels: Channels of the last convolution, each with its remaining z layers.
            shape: Voxels along x, y, z; z is one more than the grid of the points by convention.
            blocks: Residual blocks in each stage.
            engine: What convolves; None takes spconv where it can train, else plain torch.
        """
        super().__init__()
        self.engine: Engine = engine or default_engine()
        self.shape = shape
        options = {"engine": self.engine}
        self.input = SparseConvNorm(
            in_channels, stage_channels[0], KEEP, engine=self.engine, pairs_name="stage0"
        )
        self.stages, self.halvings = nn.ModuleList(), nn.ModuleList()
        for stage, channels in enumerate(stage_channels):
            self.stages.append(
                nn.Sequential(
                    *(
                        SparseResidualBlock(channels, pairs_name=f"stage{stage}", **options)
                        for _ in range(blocks)
                    )
                )
            )
        for stage, padding in enumerate(HALVING_PADDINGS):
            self.halvings.append(
                SparseConvNorm(
                    stage_channels[stage],
                    stage_channels[stage + 1],
                    ConvolutionShape(*HALVE, padding),
                    engine=self.engine,
                    pairs_name=f"halving{stage}",
                )
            )
        self.output = SparseConvNorm(
            stage_channels[-1], out_channels, FLATTEN, engine=self.engine, pairs_name="output"
        )

    def forward(self, voxels: Voxels, batch: int) -> Tensor:
        """Return the BEV map of a batch's voxels; channel c * Z + z is channel c of layer z."""
        sparse = self.last_stage(voxels, batch)
        dense: Tensor = self.output(sparse).dense()  # (B, C, X, Y, Z)
        return dense.permute(0, 1, 4, 2, 3).flatten(1, 2)

    def last_stage(self, voxels: Voxels, batch: int) -> Any:
        """Return the sparse map after the last stage."""
        sparse = self.input(
            sparse_map(voxels.features, voxels.cells, self.shape, batch, self.engine)
        )
        for stage, halving in zip(self.stages, self.halvings, strict=False):
            sparse = halving(stage(sparse))
        return self.stages[-1](sparse)
