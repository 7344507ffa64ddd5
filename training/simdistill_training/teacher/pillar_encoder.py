# SPDX-License-Identifier: Apache-2.0
"""LiDAR points → BEV map by pillars: no voxel limit, no sparse convolution, quick on a CPU."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from simdistill_ros.core.lift_geometry import BevGrid
from simdistill_ros.core.network.bev_encoder import BevResNet

POINT_FEATURES = 5  # x, y, z, intensity, time lag
INTENSITY_SCALE = 255.0
LENGTH_SCALE_M = 10.0


class PillarEncoder(nn.Module):
    """A small network per point, the maximum over each pillar, then strided BEV convolutions."""

    def __init__(
        self, grid: BevGrid, point_channels: int, stages: Sequence[tuple[int, int, int]]
    ) -> None:
        """Build the encoder.

        Args:
            grid: The pillars, bev frame.
            point_channels: Channels of a point and of a pillar.
            stages: (blocks, channels, stride) of each stage of BEV convolutions.
        """
        super().__init__()
        self.grid = grid
        self.points = nn.Sequential(
            nn.Linear(POINT_FEATURES + 5, point_channels, bias=False),
            nn.BatchNorm1d(point_channels, eps=1e-3, momentum=0.01),
            nn.ReLU(),
            nn.Linear(point_channels, point_channels, bias=False),
            nn.BatchNorm1d(point_channels, eps=1e-3, momentum=0.01),
            nn.ReLU(),
        )
        self.encoder = BevResNet(point_channels, stages)

    def forward(self, points: Sequence[Tensor]) -> Tensor:
        """Return the BEV map (B, C, X, Y) of the points (P, 5) of each sample.

        Raises:
            ValueError: If no sample has a point inside the grid.
        """
        cloud, pillar = self._inside(points)
        if len(cloud) == 0:
            raise ValueError("pillars: expected LiDAR points inside the grid, got none")
        features = self.points(_decorated(cloud, pillar, self._centers_m(pillar)))
        x_cells, y_cells = self.grid.shape_xy
        count = len(points) * x_cells * y_cells
        index = pillar[:, None].expand_as(features)
        # Features are not negative, so that empty pillars stay zero.
        pillars = features.new_zeros((count, features.shape[1]))
        pillars = pillars.scatter_reduce(0, index, features, "amax")
        bev = pillars.view(len(points), x_cells, y_cells, -1).permute(0, 3, 1, 2)
        output: Tensor = self.encoder(bev)[-1]
        return output

    def _inside(self, points: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the points inside the grid and the flat pillar of each."""
        x_cells, y_cells = self.grid.shape_xy
        clouds, pillars = [], []
        for sample, cloud in enumerate(points):
            cloud = cloud.float()
            x = ((cloud[:, 0] - self.grid.x_m[0]) / self.grid.cell_xy_m[0]).floor().long()
            y = ((cloud[:, 1] - self.grid.y_m[0]) / self.grid.cell_xy_m[1]).floor().long()
            kept = (x >= 0) & (x < x_cells) & (y >= 0) & (y < y_cells)
            kept &= (cloud[:, 2] >= self.grid.z_m[0]) & (cloud[:, 2] < self.grid.z_m[1])
            clouds.append(cloud[kept])
            pillars.append((sample * x_cells + x[kept]) * y_cells + y[kept])
        return torch.cat(clouds), torch.cat(pillars)

    def _centers_m(self, pillar: Tensor) -> Tensor:
        """Return the centre (P, 2) of each point's pillar."""
        x_cells, y_cells = self.grid.shape_xy
        x, y = (pillar // y_cells) % x_cells, pillar % y_cells
        return torch.stack(
            [
                (x + 0.5) * self.grid.cell_xy_m[0] + self.grid.x_m[0],
                (y + 0.5) * self.grid.cell_xy_m[1] + self.grid.y_m[0],
            ],
            -1,
        )


def _decorated(cloud: Tensor, pillar: Tensor, centers_m: Tensor) -> Tensor:
    """Return point features (P, 10): scaled values, offsets from pillar centre and from the mean.

    Pillars are few against their flat numbers, hence the compact numbering for the means.
    """
    _, group, counts = torch.unique(pillar, return_inverse=True, return_counts=True)
    sums = cloud.new_zeros((len(counts), 3)).index_add_(0, group, cloud[:, :3])
    means_m = (sums / counts[:, None])[group]
    return torch.cat(
        [
            cloud[:, :3] / LENGTH_SCALE_M,
            cloud[:, 3:4] / INTENSITY_SCALE,
            cloud[:, 4:5],
            cloud[:, :2] - centers_m,
            cloud[:, :3] - means_m,
        ],
        -1,
    )
