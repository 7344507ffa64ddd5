# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from simdistill_ros.core.lift_geometry import (
    BevGrid,
    DepthBins,
    PoolingTables,
    calibration_hash,
    frustum_points,
    pooling_tables,
)

# A camera at the origin that looks along bev x; one feature pixel, on the optical axis.
FORWARD = np.array([[[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1.0]]])
AXIS = np.array([[[100.0, 0, 3.5], [0, 100.0, 3.5], [0, 0, 1]]])


def one_pixel(grid: BevGrid, bins: DepthBins, **options: bool) -> PoolingTables:
    return pooling_tables(
        grid,
        bins,
        feature_hw=(1, 1),
        input_hw=(8, 8),
        bev_from_cam=options.pop("pose", FORWARD),
        input_from_cam=AXIS,
        **options,
    )


def cells(tables: PoolingTables) -> np.ndarray:
    return np.repeat(np.arange(tables.cell_offsets.size - 1), np.diff(tables.cell_offsets))


def test_pixel_on_the_axis_falls_into_the_cells_ahead():
    grid = BevGrid((0.0, 4.0), (-1.5, 1.5), (-1.0, 1.0), (1.0, 1.0))
    tables = one_pixel(grid, DepthBins(0.5, 4.0, 1.0))  # 0.5, 1.5, 2.5, 3.5 m ahead
    assert cells(tables).tolist() == [1, 4, 7, 10]  # x * 3 + the middle column
    assert tables.depth_index.tolist() == [0, 1, 2, 3]
    assert tables.pixel_index.tolist() == [0, 0, 0, 0]
    assert tables.cell_offsets.tolist() == [0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4]
    assert (tables.pixel_count, tables.depth_count) == (1, 4)


def test_feature_pixels_lie_at_the_centres_of_their_strides():
    # Two columns of stride 8: input pixels 3.5 and 11.5. With focal length 8 and principal point
    # 7.5 their rays leave at -0.5 and +0.5 of the depth, to the left (+y) and to the right.
    intrinsics = np.array([[[8.0, 0, 7.5], [0, 8.0, 3.5], [0, 0, 1]]])
    grid = BevGrid((0.0, 4.0), (-2.0, 2.0), (-1.0, 1.0), (4.0, 0.25))
    tables = pooling_tables(
        grid,
        DepthBins(1.0, 2.0, 1.0),
        feature_hw=(1, 2),
        input_hw=(8, 16),
        bev_from_cam=FORWARD,
        input_from_cam=intrinsics,
    )
    assert cells(tables).tolist() == [6, 10]  # y = -0.5 and +0.5
    assert tables.pixel_index.tolist() == [1, 0]


def test_legacy_frustum_stretches_from_corner_to_corner():
    # Columns at input pixels 0 and 15: rays leave at -7.5 / 8 and +7.5 / 8 of the depth.
    intrinsics = np.array([[[8.0, 0, 7.5], [0, 8.0, 0.0], [0, 0, 1]]])
    grid = BevGrid((0.0, 4.0), (-2.0, 2.0), (-1.0, 1.0), (4.0, 0.25))
    tables = pooling_tables(
        grid,
        DepthBins(1.0, 2.0, 1.0),
        feature_hw=(1, 2),
        input_hw=(8, 16),
        bev_from_cam=FORWARD,
        input_from_cam=intrinsics,
        corner_aligned_frustum=True,
    )
    assert cells(tables).tolist() == [4, 11]  # y = -0.9375 and +0.9375


def test_points_below_the_grid_are_dropped_unless_cells_are_truncated():
    grid = BevGrid((1.0, 3.0), (-0.5, 0.5), (-1.0, 1.0), (1.0, 1.0))
    bins = DepthBins(0.5, 4.0, 1.0)  # x = 0.5 lies half a cell below the grid
    assert cells(one_pixel(grid, bins)).tolist() == [0, 1]
    assert cells(one_pixel(grid, bins, truncated_cells=True)).tolist() == [0, 0, 1]


@pytest.mark.parametrize(("height_m", "is_kept"), [(1.2, False), (0.9, True), (-1.2, False)])
def test_points_above_and_below_the_accepted_heights_are_dropped(height_m, is_kept):
    grid = BevGrid((0.0, 2.0), (-0.5, 0.5), (-1.0, 1.0), (1.0, 1.0))
    pose = FORWARD.copy()
    pose[0, 2, 3] = height_m
    tables = one_pixel(grid, DepthBins(0.5, 1.0, 1.0), pose=pose)
    assert (tables.depth_index.size > 0) == is_kept


def test_each_camera_has_its_own_rows():
    grid = BevGrid((-2.0, 2.0), (-0.5, 0.5), (-1.0, 1.0), (1.0, 1.0))
    backward = FORWARD[0].copy()
    backward[:2] *= -1
    tables = pooling_tables(
        grid,
        DepthBins(0.5, 2.0, 1.0),
        feature_hw=(1, 1),
        input_hw=(8, 8),
        bev_from_cam=np.stack([FORWARD[0], backward]),
        input_from_cam=np.concatenate([AXIS, AXIS]),
    )
    assert cells(tables).tolist() == [0, 1, 2, 3]
    assert tables.pixel_index.tolist() == [1, 1, 0, 0]
    assert tables.depth_index.tolist() == [3, 2, 0, 1]


def ring_of_cameras(count):
    """Return (bev_from_cam, input_from_cam) of cameras that look all around, a little tilted."""
    generator = np.random.default_rng(0)
    poses = []
    for index in range(count):
        turn, tilt = 2 * np.pi * index / count + 0.1, generator.uniform(-0.1, 0.1)
        around = np.array(
            [[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]]
        )
        about = np.array(
            [[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]]
        )
        pose = np.eye(4)
        pose[:3, :3] = around @ FORWARD[0, :3, :3] @ about
        pose[:3, 3] = generator.uniform(-1, 1, 3)
        poses.append(pose)
    return np.stack(poses), np.tile([[40.0, 0, 31.5], [0, 40.0, 15.5], [0, 0, 1]], (count, 1, 1))


@pytest.mark.parametrize("cell_m", [0.8, 0.1])  # 16,384 cells, and too many for 16 bits
@pytest.mark.parametrize("truncated", [False, True])
def test_tables_hold_what_a_plain_walk_over_all_points_finds(cell_m, truncated):
    span = 51.2 if cell_m == 0.8 else 16.0
    grid = BevGrid((-span, span), (-span, span), (-3.0, 5.0), (cell_m, cell_m))
    bins = DepthBins(1.0, 60.0, 2.0)
    poses, intrinsics = ring_of_cameras(3)
    geometry = {"feature_hw": (4, 8), "input_hw": (32, 64)}
    geometry |= {"bev_from_cam": poses, "input_from_cam": intrinsics}
    tables = pooling_tables(grid, bins, truncated_cells=truncated, **geometry)
    points = frustum_points(bins, **geometry)  # (N, 3, D, P)
    low, size = np.array([-span, -span, -3.0]), np.array([cell_m, cell_m, 8.0])
    round_down = np.trunc if truncated else np.floor
    expected = []
    for camera, axis_free in enumerate(points.transpose(0, 2, 3, 1)):
        for depth, row in enumerate(axis_free):
            for pixel, point in enumerate(row):
                x, y, z = round_down((point - low) / size)
                if 0 <= x < grid.shape_xy[0] and 0 <= y < grid.shape_xy[1] and z == 0:
                    cell = int(x * grid.shape_xy[1] + y)
                    entry = camera * points[0, 0].size + depth * 32 + pixel
                    expected.append((cell, entry, camera * 32 + pixel))
    expected.sort()
    found = zip(cells(tables), tables.depth_index, tables.pixel_index, strict=True)
    assert [tuple(map(int, entry)) for entry in found] == expected
    assert len(expected) > 500


def test_an_absent_camera_adds_nothing_and_moves_no_other_entry():
    grid = BevGrid((-51.2, 51.2), (-51.2, 51.2), (-3.0, 5.0), (0.8, 0.8))
    poses, intrinsics = ring_of_cameras(3)
    geometry = {"feature_hw": (4, 8), "input_hw": (32, 64), "input_from_cam": intrinsics}
    bins = DepthBins(1.0, 60.0, 2.0)
    whole = pooling_tables(grid, bins, bev_from_cam=poses, **geometry)
    present = np.array([True, False, True])
    part = pooling_tables(grid, bins, bev_from_cam=poses, present=present, **geometry)
    kept = whole.pixel_index // 32 != 1
    assert part.depth_index.tolist() == whole.depth_index[kept].tolist()
    assert part.pixel_index.tolist() == whole.pixel_index[kept].tolist()
    assert cells(part).tolist() == cells(whole)[kept].tolist()
    assert (part.pixel_count, part.depth_count) == (whole.pixel_count, whole.depth_count)
    none = pooling_tables(grid, bins, bev_from_cam=poses, present=~np.ones(3, bool), **geometry)
    assert none.pixel_index.size == none.cell_offsets.max() == 0
    with pytest.raises(ValueError, match=r"present: expected shape \(3,\), got \(2,\)"):
        pooling_tables(grid, bins, bev_from_cam=poses, present=np.ones(2, bool), **geometry)


def test_tables_are_32_bit_integers():
    grid = BevGrid((0.0, 4.0), (-1.5, 1.5), (-1.0, 1.0), (1.0, 1.0))
    tables = one_pixel(grid, DepthBins(0.5, 4.0, 1.0))
    for table in (tables.pixel_index, tables.depth_index, tables.cell_offsets):
        assert table.dtype == np.int32


def test_depth_bins_stop_before_their_end():
    assert DepthBins(1.0, 60.0, 0.5).count == 118
    assert DepthBins(1.0, 60.0, 0.5).values_m()[-1] == 59.5
    assert DepthBins(0.1, 0.4, 0.1).count == 3


def test_hash_changes_with_any_number_of_the_calibration():
    poses, intrinsics = np.tile(np.eye(4), (2, 1, 1)), np.tile(np.eye(3), (2, 1, 1))
    base = calibration_hash(poses, intrinsics)
    assert base == calibration_hash(poses.copy(), intrinsics.copy())
    moved = poses.copy()
    moved[1, 0, 3] += 1e-9
    assert calibration_hash(moved, intrinsics) != base
    other = intrinsics.copy()
    other[0, 0, 2] += 1e-9
    assert calibration_hash(poses, other) != base
    assert calibration_hash(poses[:1], intrinsics[:1]) != base


def test_calibration_that_is_not_a_pinhole_is_refused():
    grid, bins = BevGrid((0.0, 2.0), (-1.0, 1.0), (-1.0, 1.0), (1.0, 1.0)), DepthBins(1, 2, 1)
    sizes = {"feature_hw": (1, 1), "input_hw": (8, 8)}
    with pytest.raises(ValueError, match=r"bev_from_cam: expected shape \(N, 4, 4\), got \(4, 4\)"):
        pooling_tables(grid, bins, bev_from_cam=np.eye(4), input_from_cam=AXIS, **sizes)
    with pytest.raises(ValueError, match=r"input_from_cam: expected shape \(1, 3, 3\)"):
        pooling_tables(grid, bins, bev_from_cam=FORWARD, input_from_cam=np.eye(3), **sizes)
    with pytest.raises(ValueError, match="finite"):
        pooling_tables(grid, bins, bev_from_cam=FORWARD * np.nan, input_from_cam=AXIS, **sizes)
    tilted = AXIS.copy()
    tilted[0, 2, 0] = 0.1
    with pytest.raises(ValueError, match=r"last rows \(0, 0, 1\)"):
        pooling_tables(grid, bins, bev_from_cam=FORWARD, input_from_cam=tilted, **sizes)


def test_grid_whose_cells_do_not_fill_it_is_refused():
    with pytest.raises(ValueError, match="a cell that divides y_m"):
        BevGrid((0.0, 1.0), (0.0, 1.0), (0.0, 1.0), (0.5, 0.3))
    with pytest.raises(ValueError, match="x_m: expected low < high"):
        BevGrid((1.0, 1.0), (0.0, 1.0), (0.0, 1.0), (0.5, 0.5))
    with pytest.raises(ValueError, match="0 < start_m < stop_m"):
        DepthBins(0.0, 1.0, 0.5)


def test_numbers_of_cells_and_bins_beyond_all_bounds_are_refused() -> None:
    with pytest.raises(ValueError, match="a cell that divides x_m"):
        BevGrid((-1e308, 1e308), (0.0, 1.0), (0.0, 1.0), (1e-300, 1.0))
    with pytest.raises(ValueError, match="can be counted"):
        DepthBins(1.0, 1e308, 1e-300)
