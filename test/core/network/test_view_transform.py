# SPDX-License-Identifier: Apache-2.0
from typing import Any

import numpy as np
import pytest
import torch

from simdistill_ros.core.lift_geometry import (
    BevGrid,
    DepthBins,
    PoolingTables,
    frustum_points,
    pooling_tables,
)
from simdistill_ros.core.network.reference_keys import BEV_DOWNSAMPLE, LIFT_HEAD, rename_keys
from simdistill_ros.core.network.view_transform import (
    BevDownsample,
    LiftHead,
    batch_tables,
    pool_bev,
)

GRID = BevGrid((-8.0, 8.0), (-6.0, 6.0), (-2.0, 2.0), (1.0, 1.5))
DEPTH = DepthBins(1.0, 9.0, 1.0)
CAM_FORWARD = np.array([[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0.5], [0, 0, 0, 1.0]])
INTRINSICS = np.array([[20.0, 0, 15.5], [0, 20.0, 7.5], [0, 0, 1]])


def tables_of(bev_from_cam: np.ndarray) -> PoolingTables:
    return pooling_tables(
        GRID,
        DEPTH,
        feature_hw=(2, 4),
        input_hw=(16, 32),
        bev_from_cam=bev_from_cam,
        input_from_cam=np.stack([INTRINSICS] * len(bev_from_cam)),
    )


def turned(yaw_rad: float) -> np.ndarray:
    cos, sin = np.cos(yaw_rad), np.sin(yaw_rad)
    turn = np.array([[cos, -sin, 0, 0], [sin, cos, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    return turn @ CAM_FORWARD


def outer_product_pooling(depth, context, bev_from_cam) -> torch.Tensor:
    """Pool one snapshot by forming the whole product in float64 and adding it up point by point."""
    cameras, bins, rows, columns = depth.shape
    volume = depth.double()[..., None] * context.double()[:, None]  # (N, D, Hf, Wf, C)
    bev = torch.zeros(*GRID.shape_xy, context.shape[-1], dtype=torch.float64)
    for n in range(cameras):
        for d in range(bins):
            for r in range(rows):
                for c in range(columns):
                    pixel = np.array([8 * c + 3.5, 8 * r + 3.5, 1]) * DEPTH.values_m()[d]
                    point = bev_from_cam[n] @ [*(np.linalg.inv(INTRINSICS) @ pixel), 1]
                    x, y = int(np.floor(point[0] + 8)), int(np.floor((point[1] + 6) / 1.5))
                    if 0 <= x < 16 and 0 <= y < 8 and -2 <= point[2] < 2:
                        bev[x, y] += volume[n, d, r, c]
    return bev.permute(2, 0, 1)


def random_lift(batch: int, cameras: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    depth = torch.randn(batch, cameras, DEPTH.count, 2, 4, generator=generator).softmax(2)
    return depth, torch.randn(batch, cameras, 2, 4, 5, generator=generator)


def test_pooling_equals_the_scattered_outer_product():
    poses = np.stack([turned(0.1), turned(2.0)])
    depth, context = random_lift(1, 2)
    pooled = pool_bev(depth, context, batch_tables([tables_of(poses)]), GRID.shape_xy)
    expected = outer_product_pooling(depth[0], context[0], poses)
    assert expected.abs().sum() > 1
    torch.testing.assert_close(pooled[0].double(), expected, atol=1e-5, rtol=1e-5)


def test_cells_that_no_camera_sees_are_zero():
    buried = CAM_FORWARD.copy()
    buried[2, 3] = -50.0
    depth, context = random_lift(1, 1)
    pooled = pool_bev(depth, context, batch_tables([tables_of(buried[None])]), GRID.shape_xy)
    assert pooled.shape == (1, 5, *GRID.shape_xy)
    assert not pooled.any()


def test_samples_of_a_batch_are_pooled_independently():
    poses = [np.stack([turned(0.0), turned(1.0)]), np.stack([turned(-2.0), turned(3.0)])]
    depth, context = random_lift(2, 2)
    tables = [tables_of(pose) for pose in poses]
    together = pool_bev(depth, context, batch_tables(tables), GRID.shape_xy)
    for sample in range(2):
        alone = pool_bev(
            depth[sample : sample + 1],
            context[sample : sample + 1],
            batch_tables([tables[sample]]),
            GRID.shape_xy,
        )
        torch.testing.assert_close(together[sample], alone[0])
    assert not torch.allclose(together[0], together[1])


def test_pooling_passes_gradients_to_depth_and_context():
    depth, context = (values.double().requires_grad_() for values in random_lift(1, 1))
    tables = batch_tables([tables_of(turned(0.3)[None])])
    assert torch.autograd.gradcheck(
        lambda d, c: pool_bev(d, c, tables, GRID.shape_xy), (depth, context)
    )


def test_tables_of_different_sizes_are_not_joined():
    one, two = tables_of(turned(0.0)[None]), tables_of(np.stack([turned(0.0)] * 2))
    with pytest.raises(ValueError, match="tables of one size"):
        batch_tables([one, two])


@pytest.mark.reference("03_lss_transform")
def test_reference_view_transform_gives_the_published_maps(reference):
    config = reference.config
    x_bound, y_bound, z_bound = config["xbound"], config["ybound"], config["zbound"]
    grid = BevGrid(
        tuple(x_bound[:2]), tuple(y_bound[:2]), tuple(z_bound[:2]), (x_bound[2], y_bound[2])
    )
    bins, channels = DepthBins(*config["dbound"]), config["out_channels"]
    head = LiftHead(
        config["in_channels"],
        hidden_channels=0,
        hidden_layers=0,
        depth_bins=bins.count,
        context_channels=channels,
    ).eval()
    parts = split_view_transform(reference.weights())
    head.load_state_dict(rename_keys(parts["depthnet"], LIFT_HEAD))
    downsample = BevDownsample(channels, [1, 2, 1] if config["downsample"] == 2 else []).eval()
    downsample.load_state_dict(rename_keys(parts.get("downsample", {}), BEV_DOWNSAMPLE))
    image_features = reference["input.img"]
    batch_cameras = image_features.shape[:2]
    tables = batch_tables(
        [published_tables(reference, sample, grid, bins) for sample in range(batch_cameras[0])]
    )
    with torch.no_grad():
        depth, context = (
            values.unflatten(0, batch_cameras) for values in head(image_features.flatten(0, 1))
        )
        pooled = pool_bev(depth, context, tables, grid.shape_xy)
        bev = downsample(pooled)
    torch.testing.assert_close(depth, reference["output.depth"], atol=1e-4, rtol=1e-4)
    expected = reference["output.context"].permute(0, 1, 3, 4, 2)
    torch.testing.assert_close(context, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(pooled, reference["output.bev_pooled"], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(bev, reference["output.bev"], atol=1e-4, rtol=1e-4)


def split_view_transform(weights) -> dict[str, dict[str, torch.Tensor]]:
    parts: dict[str, dict[str, torch.Tensor]] = {}
    for key, value in weights.items():
        parts.setdefault(key.split(".")[0], {})[key] = value
    return parts


def published_geometry(reference, sample: int) -> dict[str, Any]:
    config = reference.config
    augmentation = reference.array("input.img_aug_matrix")[sample]
    input_from_image = np.tile(np.eye(3), (len(augmentation), 1, 1))
    input_from_image[:, :2, :2] = augmentation[:, :2, :2]
    input_from_image[:, :2, 2] = augmentation[:, :2, 3]
    image_from_cam = reference.array("input.camera_intrinsics")[sample][:, :3, :3]
    bev_from_lidar = reference.array("input.lidar_aug_matrix")[sample]
    lidar_from_cam = reference.array("input.camera2lidar")[sample]
    return {
        "feature_hw": tuple(config["feature_size"]),
        "input_hw": tuple(config["image_size"]),
        "bev_from_cam": bev_from_lidar @ lidar_from_cam,
        "input_from_cam": input_from_image @ image_from_cam,
        "corner_aligned_frustum": True,
    }


def published_tables(reference, sample: int, grid: BevGrid, bins: DepthBins) -> PoolingTables:
    geometry = published_geometry(reference, sample)
    return pooling_tables(grid, bins, **geometry, truncated_cells=True)


@pytest.mark.reference("03_lss_transform")
def test_reference_frustum_points_lie_where_published(reference):
    bins = DepthBins(*reference.config["dbound"])
    for sample in range(len(reference["input.img"])):
        points = frustum_points(bins, **published_geometry(reference, sample))
        expected = reference.array("output.geometry")[sample]  # (N, D, Hf, Wf, 3)
        points = points.transpose(0, 2, 3, 1).reshape(expected.shape)
        np.testing.assert_allclose(points, expected, atol=1e-4)


@pytest.mark.reference("03_lss_transform")
def test_reference_bins_are_exactly_the_published_ones(reference):
    config = reference.config
    x_bound, y_bound, z_bound = config["xbound"], config["ybound"], config["zbound"]
    grid = BevGrid(
        tuple(x_bound[:2]), tuple(y_bound[:2]), tuple(z_bound[:2]), (x_bound[2], y_bound[2])
    )
    bins = DepthBins(*config["dbound"])
    for sample in range(len(reference["input.img"])):
        tables = published_tables(reference, sample, grid, bins)
        kept = reference["output.bin_kept"][sample].flatten().numpy().astype(bool)
        assert np.array_equal(np.sort(tables.depth_index), np.flatnonzero(kept))
        cell = np.repeat(np.arange(np.prod(grid.shape_xy)), np.diff(tables.cell_offsets))
        expected = reference["output.bin_index"][sample].reshape(-1, 3).numpy()[tables.depth_index]
        assert np.array_equal(cell, expected[:, 0] * grid.shape_xy[1] + expected[:, 1])
