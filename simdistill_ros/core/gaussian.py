# SPDX-License-Identifier: Apache-2.0
"""Gaussian peaks on heatmaps: how wide for a box, and how they are drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from simdistill_ros.core.frames import FloatArray


def gaussian_radius(sizes_cells: npt.ArrayLike, min_overlap: float) -> FloatArray:
    """Return how far a box's centre may move while it still overlaps the box by `min_overlap`.

    The smallest of three cases (both corners moved the same way, outwards, inwards). The published
    detectors halve each root instead of dividing it by twice its leading coefficient, and
    their radii are kept.

    Args:
        sizes_cells: (..., 2), length and width in cells; the order does not matter.
        min_overlap: Intersection over union, in (0, 1).

    Returns:
        Radii (...), cells, not rounded.
    """
    sizes = np.asarray(sizes_cells, dtype=np.float64)
    total, area = sizes.sum(-1), sizes.prod(-1)
    shifted = total + np.sqrt(total**2 - 4 * area * (1 - min_overlap) / (1 + min_overlap))
    outside = 2 * total + np.sqrt(4 * total**2 - 16 * (1 - min_overlap) * area)
    inside = -2 * min_overlap * total + np.sqrt(
        4 * min_overlap**2 * total**2 + 16 * min_overlap * (1 - min_overlap) * area
    )
    return np.asarray(np.minimum(np.minimum(shifted, outside), inside) / 2)


def gaussian_patch(shape: tuple[int, int], sigma: float) -> FloatArray:
    """Return a Gaussian of height one at the centre of a (rows, columns) patch, odd sizes."""
    rows, columns = (np.arange(size) - (size - 1) / 2 for size in shape)
    patch = np.exp(-(rows[:, None] ** 2 + columns[None] ** 2) / (2 * sigma**2))
    patch[patch < np.finfo(patch.dtype).eps * patch.max()] = 0
    return np.asarray(patch)


def draw_gaussian(
    heatmap: npt.NDArray[np.floating[Any]],
    cell: tuple[int, int],
    radius_cells: int,
    peak: float = 1.0,
) -> None:
    """Draw a Gaussian into a heatmap, in place, keeping the larger value in every cell.

    Args:
        heatmap: (X, Y).
        cell: Row and column of the peak, inside the heatmap.
        radius_cells: Half the side of the drawn square; sigma is a sixth of the side.
        peak: Height.

    Raises:
        ValueError: If the cell lies outside.
    """
    (row, column), (rows, columns) = cell, heatmap.shape
    if not (0 <= row < rows and 0 <= column < columns):
        raise ValueError(f"draw_gaussian: expected a cell inside {heatmap.shape}, got {cell}")
    side = 2 * radius_cells + 1
    patch = peak * gaussian_patch((side, side), side / 6)
    up, left = min(row, radius_cells), min(column, radius_cells)
    down, right = min(rows - row, radius_cells + 1), min(columns - column, radius_cells + 1)
    window = heatmap[row - up : row + down, column - left : column + right]
    inside = patch[
        radius_cells - up : radius_cells + down, radius_cells - left : radius_cells + right
    ]
    np.maximum(window, inside, out=window, casting="same_kind")
