# SPDX-License-Identifier: Apache-2.0
"""Group points into voxels ("hard" voxelization): a fixed number of points in each voxel.

The result depends on the order of the points only: voxels are numbered by their first point, later
points of a full voxel and later voxels of a full sample are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


@dataclass(frozen=True)
class VoxelGrid:
    """A regular 3D grid.

    Attributes:
        low_m: Lower corner (x, y, z), bev frame.
        size_m: Size of a voxel along x, y, z.
        shape: Voxels along x, y, z.
    """

    low_m: tuple[float, float, float]
    size_m: tuple[float, float, float]
    shape: tuple[int, int, int]

    def __post_init__(self) -> None:
        """Refuse voxels without extent.

        Raises:
            ValueError: If a size or a count is not positive.
        """
        if min(self.size_m) <= 0 or min(self.shape) < 1:
            raise ValueError(f"VoxelGrid: expected positive sizes and counts, got {self}")


class VoxelAssignment(NamedTuple):
    """Which points of one sample lie in which voxel.

    Attributes:
        point: (K,) int64, points that are kept, in their order.
        voxel: (K,) int64, the voxel of each.
        slot: (K,) int64, how many points the voxel had before it.
        cells: (V, 3) int32, x, y, z of each voxel.
    """

    point: Tensor
    voxel: Tensor
    slot: Tensor
    cells: Tensor


class Voxels(NamedTuple):
    """Voxels of a batch: mean features (V, F), and (V, 4) int32 cells as (sample, x, y, z)."""

    features: Tensor
    cells: Tensor


def assign_voxels(
    points: Tensor, grid: VoxelGrid, *, max_points: int, max_voxels: int
) -> VoxelAssignment:
    """Assign the points (P, 3 or more) of one sample, x, y, z first, to voxels."""
    low = points.new_tensor(grid.low_m, dtype=torch.float32)
    size = points.new_tensor(grid.size_m, dtype=torch.float32)
    shape = torch.tensor(grid.shape, device=points.device)
    cell = ((points[:, :3].float() - low) / size).floor()
    point = ((cell >= 0) & (cell < shape)).all(1).nonzero()[:, 0]
    cell = cell[point].long()
    key = (cell[:, 0] * grid.shape[1] + cell[:, 1]) * grid.shape[2] + cell[:, 2]
    unique, voxel = torch.unique(key, return_inverse=True)
    order = torch.arange(len(point), device=points.device)
    first = torch.full_like(unique, len(point)).scatter_reduce_(0, voxel, order, "amin")
    by_first = first.argsort()
    voxel = by_first.argsort()[voxel]  # renumbered by first point
    slot = _earlier_in_group(voxel, len(unique))
    kept = (slot < max_points) & (voxel < max_voxels)
    cells = cell[first[by_first]][:max_voxels].int()
    return VoxelAssignment(point[kept], voxel[kept], slot[kept], cells)


def mean_voxels(
    points: Sequence[Tensor], grid: VoxelGrid, *, max_points: int, max_voxels: int
) -> Voxels:
    """Return the voxels of a batch with the mean of their points' features.

    Args:
        points: Per sample (P, F), x, y, z first, bev frame, metres.
        grid: The voxels.
        max_points: Points that count in a voxel.
        max_voxels: Voxels of a sample.
    """
    features, cells = [], []
    for sample, cloud in enumerate(points):
        assigned = assign_voxels(cloud, grid, max_points=max_points, max_voxels=max_voxels)
        count = len(assigned.cells)
        sums = cloud.new_zeros((count, cloud.shape[1]), dtype=torch.float32)
        sums.index_add_(0, assigned.voxel, cloud[assigned.point].float())
        counts = torch.bincount(assigned.voxel, minlength=count)
        features.append(sums / counts[:, None])
        cells.append(torch.nn.functional.pad(assigned.cells, (1, 0), value=sample))
    return Voxels(torch.cat(features), torch.cat(cells))


def _earlier_in_group(group: Tensor, groups: int) -> Tensor:
    """Return for each element how many earlier elements have the same group."""
    order = group.argsort(stable=True)
    counts = torch.bincount(group, minlength=groups)
    starts = counts.cumsum(0) - counts
    position = torch.empty_like(group)
    position[order] = torch.arange(len(group), device=group.device) - starts[group[order]]
    return position
