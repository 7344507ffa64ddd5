# SPDX-License-Identifier: Apache-2.0
"""The lift as textbooks write it: form depth x context, then add every point to its cell."""

from __future__ import annotations

import torch
from torch import Tensor

from simdistill_ros.core.network.student import Lifted, Student
from simdistill_ros.core.network.view_transform import BatchedPoolingTables


def outer_product_rows(
    depth: Tensor, context: Tensor, depth_index: Tensor, cell_of_entry: Tensor, cells: int
) -> Tensor:
    """Return (cells, C): the product of every point, those outside masked out, added by index.

    Args:
        depth: (V, D, P).
        context: (V * P, C).
        depth_index: (K,) the points inside the grid.
        cell_of_entry: (K,) their cells.
        cells: Number of cells.
    """
    views, _, pixels = depth.shape
    volume = depth[..., None].to(context.dtype) * context.view(views, 1, pixels, -1)
    rows = context.new_zeros(cells, context.shape[1])
    return rows.index_add_(0, cell_of_entry, volume.flatten(0, 2)[depth_index])


def cell_of_entry(cell_offsets: Tensor) -> Tensor:
    """Return the cell of each entry of pooling tables, (K,)."""
    cells = torch.arange(len(cell_offsets) - 1, device=cell_offsets.device)
    return cells.repeat_interleave(cell_offsets.diff())


class TextbookStudent:
    """A student that pools by outer product."""

    def __init__(self, student: Student, tables: BatchedPoolingTables) -> None:
        """Prepare the index, which depends on the calibration only."""
        self._student = student
        self._depth_index = tables.depth_index.long()
        self._cell = cell_of_entry(tables.cell_offsets)

    def __call__(self, images: Tensor) -> list[dict[str, Tensor]]:
        """Return the head maps of images (1, N, 3, H, W)."""
        lifted: Lifted = self._student.image_network(images)
        x, y = self._student.shape_xy
        maps = []
        for depth, context in (lifted[:2], lifted[2:]):
            rows = outer_product_rows(
                depth[0].flatten(2), context.flatten(0, 3), self._depth_index, self._cell, x * y
            )
            maps.append(rows.view(1, x, y, -1).permute(0, 3, 1, 2))
        heads: list[dict[str, Tensor]] = self._student.bev_network(*maps)
        return heads
