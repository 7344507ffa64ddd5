# SPDX-License-Identifier: Apache-2.0
"""Sparse 3D convolution as matrix products over pairs of voxels, with autograd on any device.

`SparseMap` and `IndexedConv3d` mean the same as spconv's tensor and layers, attribute by attribute
and with the same weight layout, so that on a CUDA machine with spconv its kernels take their place
without a change to the encoder or to the weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Literal

import torch
from torch import Tensor, nn

from simdistill_training.teacher.sparse_pairs import (
    ConvolutionShape,
    SparsePairs,
    Triple,
    has_spconv,
    sparse_pairs,
)

Engine = Literal["torch", "spconv"]


class SparseMap:
    """Features at the occupied voxels of a batch."""

    def __init__(
        self,
        features: Tensor,
        indices: Tensor,
        spatial_shape: Sequence[int],
        batch_size: int,
        pairs: dict[ConvolutionShape, SparsePairs] | None = None,
    ) -> None:
        """Wrap features (V, C) of voxels (V, 4) int32 as (sample, x, y, z).

        Args:
            features: (V, C).
            indices: (V, 4).
            spatial_shape: Size of the grid along x, y, z.
            batch_size: Number of samples.
            pairs: Connections that are already known for these voxels.
        """
        self.features = features
        self.indices = indices
        x, y, z = spatial_shape
        self.spatial_shape: Triple = (x, y, z)
        self.batch_size = batch_size
        self.pairs = {} if pairs is None else pairs

    def replace_feature(self, features: Tensor) -> SparseMap:
        """Return the same voxels with other features."""
        return SparseMap(features, self.indices, self.spatial_shape, self.batch_size, self.pairs)

    def dense(self) -> Tensor:
        """Return the map as (B, C, X, Y, Z), zero at empty voxels."""
        channels = self.features.shape[1]
        dense = self.features.new_zeros((self.batch_size, *self.spatial_shape, channels))
        sample, x, y, z = self.indices.long().unbind(1)
        return dense.index_put((sample, x, y, z), self.features).permute(0, 4, 1, 2, 3)


class IndexedConv3d(nn.Module):
    """Sparse convolution without bias; weights are (C_out, kx, ky, kz, C_in)."""

    def __init__(self, in_channels: int, out_channels: int, convolution: ConvolutionShape) -> None:
        """Build the layer."""
        super().__init__()
        self.convolution = convolution
        self.weight = nn.Parameter(torch.empty(out_channels, *convolution.kernel, in_channels))
        bound = math.sqrt(3.0 / (in_channels * math.prod(convolution.kernel)))
        nn.init.uniform_(self.weight, -bound, bound)

    def forward(self, sparse: SparseMap) -> SparseMap:
        """Return the convolved map; a submanifold convolution keeps the voxels."""
        pairs = sparse.pairs.get(self.convolution)
        if pairs is None:
            pairs = sparse_pairs(
                sparse.indices, sparse.spatial_shape, sparse.batch_size, self.convolution
            )
            sparse.pairs[self.convolution] = pairs
        taps = self.weight.flatten(1, 3).permute(1, 2, 0)  # (taps, C_in, C_out)
        output = sparse.features.new_zeros((len(pairs.cells), self.weight.shape[0]))
        for tap, inputs, outputs in zip(taps, pairs.inputs, pairs.outputs, strict=True):
            if len(inputs):
                product = sparse.features.index_select(0, inputs) @ tap
                output = output.index_add(0, outputs, product.to(output.dtype))
        known = sparse.pairs if self.convolution.submanifold else None
        return SparseMap(output, pairs.cells, pairs.shape, sparse.batch_size, known)


def sparse_convolution(
    in_channels: int,
    out_channels: int,
    convolution: ConvolutionShape,
    *,
    engine: Engine,
    pairs_name: str,
) -> nn.Module:
    """Return a sparse convolution of an engine.

    Args:
        in_channels: Channels in.
        out_channels: Channels out.
        convolution: Kernel, stride and padding.
        engine: Plain torch, or spconv's own layers.
        pairs_name: Convolutions of the same name share their pairs; spconv asks for it.

    Raises:
        ImportError: If spconv is asked for and not installed.
    """
    if engine == "torch":
        return IndexedConv3d(in_channels, out_channels, convolution)
    spconv = import_module("spconv.pytorch")
    if convolution.submanifold:
        layer: nn.Module = spconv.SubMConv3d(
            in_channels, out_channels, convolution.kernel, bias=False, indice_key=pairs_name
        )
        return layer
    layer = spconv.SparseConv3d(
        in_channels,
        out_channels,
        convolution.kernel,
        convolution.stride,
        convolution.padding,
        bias=False,
        indice_key=pairs_name,
    )
    return layer


def sparse_map(
    features: Tensor, cells: Tensor, shape: Triple, batch: int, engine: Engine
) -> SparseMap | Any:
    """Return voxels as the map that an engine's layers take."""
    if engine == "torch":
        return SparseMap(features, cells, shape, batch)
    spconv = import_module("spconv.pytorch")
    return spconv.SparseConvTensor(features, cells, list(shape), batch)


def default_engine() -> Engine:
    """Return spconv where it can train (an installation with CUDA kernels), else plain torch."""
    if not torch.cuda.is_available():
        return "torch"
    if not has_spconv():
        return "torch"
    return "torch" if import_module("spconv.cppconstants").CPU_ONLY_BUILD else "spconv"
