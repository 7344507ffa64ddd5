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
BoolArray = npt.NDArray[np.bool_]


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
            if not math.isfinite(cells) or round(cells) < 1 or abs(cells - round(cells)) > 1e-6:
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
        if not math.isfinite((self.stop_m - self.start_m) / self.step_m):
            raise ValueError(
                f"DepthBins: expected a number of bins that can be counted, got {self}"
            )

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
    present: BoolArray | None = None,
) -> PoolingTables:
    """Assign every (camera, depth bin, feature pixel) to the BEV cell that it falls into.

    It runs for every snapshot where ego motion is compensated, hence the reused buffers; on one
    core the tables of the `tiny` model take about three milliseconds.

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
        present: (N,), which cameras have an image; the others add nothing to any cell. None: all.

    Returns:
        Tables whose entries are ordered by cell, then camera, depth and pixel.

    Raises:
        ValueError: If the arrays have other shapes, are not finite or are not a pinhole.
    """
    poses, intrinsics = _checked_calibration(bev_from_cam, input_from_cam)
    used = np.ones(len(poses), np.bool_) if present is None else np.asarray(present, np.bool_)
    if used.shape != (len(poses),):
        raise ValueError(f"present: expected shape ({len(poses)},), got {used.shape}")
    directions_bev = _ray_directions(
        poses, intrinsics, _pixel_rays(feature_hw, input_hw, corner_aligned_frustum)
    )
    pixels, points_per_camera = math.prod(feature_hw), depth.count * math.prod(feature_hw)
    finder = _CellFinder(grid, depth.values_m(), pixels, truncated_cells)
    cells, depth_index = [np.empty(0, np.int32)], [np.empty(0, np.int32)]
    for camera in np.flatnonzero(used):
        cell, kept = finder(directions_bev[camera], poses[camera, :3, 3])
        cells.append(cell)
        depth_index.append((camera * points_per_camera + kept).astype(np.int32))
    cell_of_entry = np.concatenate(cells)
    counts = np.bincount(cell_of_entry, minlength=math.prod(grid.shape_xy))
    depth_of_entry = np.concatenate(depth_index)[_order_by_cell(cell_of_entry, grid)]
    camera_of_entry = depth_of_entry // points_per_camera
    # The pixel within its camera is the remainder; a product is faster than `%`.
    pixel_of_entry = depth_of_entry - depth_of_entry // pixels * pixels + camera_of_entry * pixels
    return PoolingTables(
        pixel_index=pixel_of_entry,
        depth_index=depth_of_entry,
        cell_offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int32),
        pixel_count=len(poses) * pixels,
        depth_count=len(poses) * points_per_camera,
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
    directions_bev = _ray_directions(bev_from_cam, input_from_cam, rays)
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


def _ray_directions(
    bev_from_cam: FloatArray, input_from_cam: FloatArray, rays: FloatArray
) -> FloatArray:
    """Return (N, 3, P): how far a pixel's point moves in the bev frame per metre of depth."""
    return np.asarray(bev_from_cam[:, :3, :3] @ np.linalg.inv(input_from_cam) @ rays)


class _CellFinder:
    """Finds the BEV cells of one camera's points; its buffers serve all cameras."""

    def __init__(self, grid: BevGrid, depths_m: FloatArray, pixels: int, truncated: bool) -> None:
        self._depths_m = depths_m[:, None]
        self._low = (grid.x_m[0], grid.y_m[0], grid.z_m[0])
        self._size = (*grid.cell_xy_m, grid.z_m[1] - grid.z_m[0])
        self._count = (*grid.shape_xy, 1)
        # Rounded toward zero, what lies less than a cell below the edge is in the first cell.
        self._is_inside = (np.greater, -1.0) if truncated else (np.greater_equal, 0.0)
        shape = (len(depths_m), pixels)
        self._index = np.empty(shape)
        self._cell, self._cell_y = np.empty(shape, np.int32), np.empty(shape, np.int32)
        self._inside, self._test = np.empty(shape, np.bool_), np.empty(shape, np.bool_)

    @np.errstate(invalid="ignore")  # casts of indices far outside, which are not kept
    def __call__(
        self, directions_bev: FloatArray, origin_bev_m: FloatArray
    ) -> tuple[Int32Array, npt.NDArray[np.int64]]:
        """Return the flat cell of each point inside the grid and the index of that point."""
        self._inside.fill(True)
        for axis in (0, 1, 2):
            np.multiply(directions_bev[axis], self._depths_m, out=self._index)
            self._index += origin_bev_m[axis]
            self._index -= self._low[axis]
            self._index /= self._size[axis]
            compare, lowest = self._is_inside
            self._inside &= compare(self._index, lowest, out=self._test)
            self._inside &= np.less(self._index, self._count[axis], out=self._test)
            if axis == 0:
                np.copyto(self._cell, self._index, casting="unsafe")
                self._cell *= self._count[1]
            elif axis == 1:
                np.copyto(self._cell_y, self._index, casting="unsafe")
                self._cell += self._cell_y
        kept = np.flatnonzero(self._inside)
        return self._cell.ravel()[kept], kept


def _order_by_cell(cells: Int32Array, grid: BevGrid) -> npt.NDArray[np.int64]:
    """Return the stable order of flat cells: numpy sorts 16-bit numbers by radix, in two passes."""
    if math.prod(grid.shape_xy) <= 2**16:
        return np.argsort(cells.astype(np.uint16), kind="stable")
    x, y = np.divmod(cells, np.int32(grid.shape_xy[1]))
    by_y = np.argsort(y.astype(np.uint16), kind="stable")
    return np.asarray(by_y[np.argsort(x.astype(np.uint16)[by_y], kind="stable")])


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
