# SPDX-License-Identifier: Apache-2.0
"""Which image pixel, at which depth, falls into which BEV cell.

The answer depends on the calibration only, so it is computed here once per calibration, in numpy
and float64, and handed to the network as integer tables. The network sums `depth probability *
context` over the entries of each cell.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Int32Array = npt.NDArray[np.int32]


@dataclass(frozen=True)
class BevGrid:
    """A regular grid of BEV cells; row index = x cell, column index = y cell.

    Attributes:
        x_m: Lower and upper edge along x, bev frame.
        y_m: Lower and upper edge along y, bev frame.
        z_m: Accepted heights, bev frame; one layer.
        cell_xy_m: Cell size along x and y.
    """

    x_m: tuple[float, float]
    y_m: tuple[float, float]
    z_m: tuple[float, float]
    cell_xy_m: tuple[float, float]

    def __post_init__(self) -> None:
        """Refuse empty ranges and cells that do not divide them."""
        for name, (low, high) in {"x_m": self.x_m, "y_m": self.y_m, "z_m": self.z_m}.items():
            if not low < high:
                raise ValueError(f"BevGrid.{name}: expected low < high, got {(low, high)}")
        for name, span, cell in zip(("x", "y"), (self.x_m, self.y_m), self.cell_xy_m, strict=True):
            cells = (span[1] - span[0]) / cell if cell > 0 else 0.0
            if round(cells) < 1 or abs(cells - round(cells)) > 1e-6:
                raise ValueError(
                    f"BevGrid.cell_xy_m: expected a cell that divides {name}_m {span}, got {cell}"
                )

    @property
    def shape_xy(self) -> tuple[int, int]:
        """Number of cells along x and y."""
        return (
            round((self.x_m[1] - self.x_m[0]) / self.cell_xy_m[0]),
            round((self.y_m[1] - self.y_m[0]) / self.cell_xy_m[1]),
        )


@dataclass(frozen=True)
class DepthBins:
    """Depths along the optical axis at which a pixel may lie: start, start + step, ... < stop."""

    start_m: float
    stop_m: float
    step_m: float

    def __post_init__(self) -> None:
        """Refuse depths behind the camera and empty ranges."""
        if not (0 < self.start_m < self.stop_m and self.step_m > 0):
            raise ValueError(f"DepthBins: expected 0 < start_m < stop_m and step_m > 0, got {self}")

    @property
    def count(self) -> int:
        """Number of bins."""
        return math.ceil((self.stop_m - self.start_m) / self.step_m - 1e-9)

    def values_m(self) -> FloatArray:
        """Return the depth of every bin, (D,), metres."""
        return self.start_m + self.step_m * np.arange(self.count, dtype=np.float64)


@dataclass(frozen=True)
class PoolingTables:
    """What each BEV cell sums, for one snapshot.

    Attributes:
        pixel_index: (K,) int32, row of the context (N * Hf * Wf, C).
        depth_index: (K,) int32, element of the flattened depth probabilities (N, D, Hf, Wf).
        cell_offsets: (X * Y + 1,) int32; cell ix * Y + iy owns the entries from offsets[cell] up
            to, not including, offsets[cell + 1].
        pixel_count: N * Hf * Wf.
        depth_count: N * D * Hf * Wf.
    """

    pixel_index: Int32Array
    depth_index: Int32Array
    cell_offsets: Int32Array
    pixel_count: int
    depth_count: int


def pooling_tables(
    grid: BevGrid,
    depth: DepthBins,
    *,
    feature_hw: tuple[int, int],
    input_hw: tuple[int, int],
    bev_from_cam: FloatArray,
    input_from_cam: FloatArray,
    corner_aligned_frustum: bool = False,
    truncated_cells: bool = False,
) -> PoolingTables:
    """Assign every (camera, depth bin, feature pixel) to the BEV cell that it falls into.

    Args:
        grid: The BEV cells, bev frame.
        depth: The depth bins.
        feature_hw: (Hf, Wf) of the feature map that is lifted.
        input_hw: (H, W) of the network input, pixels.
        bev_from_cam: (N, 4, 4), metres.
        input_from_cam: (N, 3, 3), intrinsics after resize and crop, last row (0, 0, 1).
        corner_aligned_frustum: Legacy. Stretch feature columns from input pixel 0 to W - 1 instead
            of placing them at the centres of their strides.
        truncated_cells: Legacy. Round cell indices toward zero instead of down, which also keeps
            points up to one cell below the lower edge of x, y and z.

    Returns:
        Tables whose entries are ordered by cell, then camera, depth and pixel.

    Raises:
        ValueError: If the matrices have other shapes, are not finite or are not a pinhole.
    """
    points_bev = frustum_points(
        depth,
        feature_hw=feature_hw,
        input_hw=input_hw,
        bev_from_cam=bev_from_cam,
        input_from_cam=input_from_cam,
        corner_aligned_frustum=corner_aligned_frustum,
    )
    pixels, points_per_camera = math.prod(feature_hw), depth.count * math.prod(feature_hw)
    cells, depth_index = [], []
    for camera, points in enumerate(points_bev):
        cell, kept = _cells_of(grid, points.reshape(3, -1), truncated_cells)
        cells.append(cell)
        depth_index.append(camera * points_per_camera + kept)
    cell_of_entry = np.concatenate(cells)
    order = np.argsort(cell_of_entry, kind="stable")
    counts = np.bincount(cell_of_entry, minlength=math.prod(grid.shape_xy))
    depth_of_entry = np.concatenate(depth_index)[order]
    pixel_of_entry = depth_of_entry // points_per_camera * pixels + depth_of_entry % pixels
    return PoolingTables(
        pixel_index=pixel_of_entry.astype(np.int32),
        depth_index=depth_of_entry.astype(np.int32),
        cell_offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int32),
        pixel_count=len(points_bev) * pixels,
        depth_count=len(points_bev) * points_per_camera,
    )


def frustum_points(
    depth: DepthBins,
    *,
    feature_hw: tuple[int, int],
    input_hw: tuple[int, int],
    bev_from_cam: FloatArray,
    input_from_cam: FloatArray,
    corner_aligned_frustum: bool = False,
) -> FloatArray:
    """Return where every feature pixel lies at every depth, (N, 3, D, Hf * Wf), bev frame, metres.

    Arguments and errors are those of `pooling_tables`.
    """
    bev_from_cam, input_from_cam = _checked_calibration(bev_from_cam, input_from_cam)
    rays = _pixel_rays(feature_hw, input_hw, corner_aligned_frustum)
    directions_bev = bev_from_cam[:, :3, :3] @ np.linalg.inv(input_from_cam) @ rays  # (N, 3, P)
    points_bev = directions_bev[:, :, None] * depth.values_m()[:, None]
    return np.asarray(points_bev + bev_from_cam[:, :3, 3, None, None])


def calibration_hash(bev_from_cam: FloatArray, input_from_cam: FloatArray) -> str:
    """Return a key that changes whenever the pooling tables of a model would.

    Args:
        bev_from_cam: (N, 4, 4), metres.
        input_from_cam: (N, 3, 3), pixels.
    """
    digest = hashlib.sha256()
    for matrices in (bev_from_cam, input_from_cam):
        values = np.ascontiguousarray(matrices, dtype=np.float64)
        digest.update(repr(values.shape).encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def _pixel_rays(
    feature_hw: tuple[int, int], input_hw: tuple[int, int], corner_aligned: bool
) -> FloatArray:
    """Return (3, Hf * Wf) homogeneous input pixels (u, v, 1) of the feature pixels, row major."""

    def positions_px(features: int, inputs: int) -> FloatArray:
        if corner_aligned:
            return np.linspace(0, inputs - 1, features)
        return (np.arange(features) + 0.5) * (inputs / features) - 0.5

    v, u = np.meshgrid(
        positions_px(feature_hw[0], input_hw[0]),
        positions_px(feature_hw[1], input_hw[1]),
        indexing="ij",
    )
    return np.stack([u.ravel(), v.ravel(), np.ones(u.size)])


def _cells_of(
    grid: BevGrid, points_bev: FloatArray, truncated: bool
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the flat cell of each point inside the grid and the index of that point."""
    low = np.array([grid.x_m[0], grid.y_m[0], grid.z_m[0]])
    size = np.array([*grid.cell_xy_m, grid.z_m[1] - grid.z_m[0]])
    indices = (points_bev - low[:, None]) / size[:, None]
    indices = np.trunc(indices) if truncated else np.floor(indices)
    shape = np.array([*grid.shape_xy, 1])
    kept = np.flatnonzero(((indices >= 0) & (indices < shape[:, None])).all(axis=0))
    x, y = indices[:2, kept].astype(np.int64)
    return x * grid.shape_xy[1] + y, kept


def _checked_calibration(
    bev_from_cam: FloatArray, input_from_cam: FloatArray
) -> tuple[FloatArray, FloatArray]:
    poses = np.asarray(bev_from_cam, dtype=np.float64)
    intrinsics = np.asarray(input_from_cam, dtype=np.float64)
    if poses.ndim != 3 or poses.shape[1:] != (4, 4):
        raise ValueError(f"bev_from_cam: expected shape (N, 4, 4), got {poses.shape}")
    if intrinsics.shape != (len(poses), 3, 3):
        raise ValueError(
            f"input_from_cam: expected shape ({len(poses)}, 3, 3), got {intrinsics.shape}"
        )
    if not (np.isfinite(poses).all() and np.isfinite(intrinsics).all()):
        raise ValueError("calibration: expected finite numbers, got NaN or infinity")
    if not np.allclose(intrinsics[:, 2], [0.0, 0.0, 1.0]):
        raise ValueError("input_from_cam: expected last rows (0, 0, 1), got another homography")
    return poses, intrinsics
