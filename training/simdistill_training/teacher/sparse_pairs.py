# SPDX-License-Identifier: Apache-2.0
"""Which occupied voxels a sparse 3D convolution connects: the pairs of inputs and outputs.

With spconv installed its CPU kernels find the pairs; otherwise, and on other devices, they are
found by sorting. Both give the same pairs, only the order of the outputs differs.
"""

from __future__ import annotations

import itertools
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from torch import Tensor

Triple = tuple[int, int, int]


class ConvolutionShape(NamedTuple):
    """Kernel, stride and padding along x, y, z; submanifold keeps the occupied voxels."""

    kernel: Triple
    stride: Triple = (1, 1, 1)
    padding: Triple = (0, 0, 0)
    submanifold: bool = False


class SparsePairs(NamedTuple):
    """Connections of a convolution.

    Attributes:
        cells: (V', 4) int32 output voxels as (sample, x, y, z).
        shape: Size of the output grid.
        inputs: Per kernel tap, (K,) int64 rows of the input.
        outputs: Per kernel tap, (K,) int64 rows of the output.
    """

    cells: Tensor
    shape: Triple
    inputs: list[Tensor]
    outputs: list[Tensor]


def sparse_pairs(
    cells: Tensor, shape: Triple, batch: int, convolution: ConvolutionShape
) -> SparsePairs:
    """Return the pairs of a convolution over voxels (V, 4) of a grid of `shape`."""
    if has_spconv() and not cells.is_cuda and len(cells):
        return pairs_by_spconv(cells, shape, batch, convolution)
    return pairs_by_sorting(cells, shape, convolution)


def has_spconv() -> bool:
    """Tell whether spconv is installed."""
    return find_spec("spconv") is not None


def pairs_by_spconv(
    cells: Tensor, shape: Triple, batch: int, convolution: ConvolutionShape
) -> SparsePairs:
    """Return the pairs that spconv finds."""
    ops, algorithm = _spconv()
    out_cells, pairs, counts = ops.get_indice_pairs(
        cells.contiguous(),
        batch,
        list(shape),
        algorithm,
        list(convolution.kernel),
        list(convolution.stride),
        list(_padding(convolution)),
        [1, 1, 1],
        [0, 0, 0],
        convolution.submanifold,
        False,
    )
    inputs, outputs = [], []
    everything = torch.arange(len(cells), device=cells.device)
    taps = len(counts)
    for tap, count in enumerate(counts.tolist()):
        if convolution.submanifold and tap == taps // 2:  # spconv leaves the centre out
            inputs.append(everything)
            outputs.append(everything)
        elif convolution.submanifold and tap > taps // 2:  # and stores only half of the others
            inputs.append(outputs[taps - 1 - tap])
            outputs.append(inputs[taps - 1 - tap])
        else:
            inputs.append(pairs[0, tap, :count].long())
            outputs.append(pairs[1, tap, :count].long())
    return SparsePairs(out_cells, out_shape(shape, convolution), inputs, outputs)


def pairs_by_sorting(cells: Tensor, shape: Triple, convolution: ConvolutionShape) -> SparsePairs:
    """Return the pairs found by sorting the voxels' numbers."""
    grid = out_shape(shape, convolution)
    candidates = [_outputs_of_tap(cells, grid, tap, convolution) for tap in _taps(convolution)]
    if convolution.submanifold:
        known, rows = _keys(cells.long(), grid).sort()
    else:
        known = torch.unique(torch.cat([keys for _, keys in candidates]))
        rows = torch.arange(len(known), device=cells.device)
    inputs, outputs = [], []
    for source, keys in candidates:
        position = torch.searchsorted(known, keys).clamp(max=max(len(known) - 1, 0))
        found = known[position] == keys if len(known) else keys.bool()
        inputs.append(source[found])
        outputs.append(rows[position[found]])
    out_cells = cells if convolution.submanifold else _cells_of_keys(known, grid)
    return SparsePairs(out_cells, grid, inputs, outputs)


def out_shape(shape: Triple, convolution: ConvolutionShape) -> Triple:
    """Return the size of the output grid."""
    if convolution.submanifold:
        return shape
    x, y, z = (
        (size + 2 * padding - kernel) // stride + 1
        for size, kernel, stride, padding in zip(
            shape, convolution.kernel, convolution.stride, convolution.padding, strict=True
        )
    )
    return x, y, z


@lru_cache(maxsize=1)
def _spconv() -> tuple[Any, Any]:
    """Return spconv's functions and the algorithm that the CPU has; imported late, it is slow."""
    return import_module("spconv.pytorch.ops"), import_module("spconv.core").ConvAlgo.Native


def _padding(convolution: ConvolutionShape) -> Triple:
    if not convolution.submanifold:
        return convolution.padding
    x, y, z = (size // 2 for size in convolution.kernel)
    return x, y, z


def _taps(convolution: ConvolutionShape) -> list[Triple]:
    x, y, z = (range(size) for size in convolution.kernel)
    return list(itertools.product(x, y, z))


def _outputs_of_tap(
    cells: Tensor, grid: Triple, tap: Triple, convolution: ConvolutionShape
) -> tuple[Tensor, Tensor]:
    """Return the input rows that reach an output inside through a tap, and the outputs' keys."""
    device = cells.device
    stride = torch.tensor(convolution.stride, device=device)
    shift = torch.tensor(_padding(convolution), device=device) - torch.tensor(tap, device=device)
    position = cells[:, 1:].long() + shift
    target = torch.div(position, stride, rounding_mode="floor")
    is_inside = (
        (position % stride == 0) & (target >= 0) & (target < torch.tensor(grid, device=device))
    )
    source = is_inside.all(1).nonzero()[:, 0]
    sample = cells[source, :1].long()
    return source, _keys(torch.cat([sample, target[source]], 1), grid)


def _keys(cells: Tensor, grid: Triple) -> Tensor:
    sample, x, y, z = cells.unbind(1)
    return ((sample * grid[0] + x) * grid[1] + y) * grid[2] + z


def _cells_of_keys(keys: Tensor, grid: Triple) -> Tensor:
    columns = []
    for size in reversed(grid):
        columns.append(keys % size)
        keys = keys // size
    return torch.stack([keys, *reversed(columns)], 1).int()
