# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from simdistill_ros.core.lift_geometry import BevGrid, DepthBins, PoolingTables, pooling_tables
from simdistill_ros.core.network.geometry_compensation import (
    DeformableAttention,
    GeometryCompensation,
)
from simdistill_ros.core.network.reference_keys import (
    BEV_DOWNSAMPLE,
    DEFORMABLE_ATTENTION,
    rename_keys,
)
from simdistill_ros.core.network.view_transform import BevDownsample, LiftHead, batch_tables
from simdistill_training.convert.teacher_keys import (
    DEPTH_HEAD,
    RASTER_ENCODER,
    SPARSE_ENCODER,
    fold_convolution_biases,
    output_channels_first,
)
from simdistill_training.teacher.camera_branch import DepthLift, RasterEncoder
from simdistill_training.teacher.depth_raster import depth_rasters
from simdistill_training.teacher.sparse_encoder import SparseEncoder
from simdistill_training.teacher.voxelization import (
    VoxelGrid,
    Voxels,
    assign_voxels,
    mean_voxels,
)


def augmented(reference, sample: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return input_from_image (N, 3, 3), image_from_cam (N, 3, 3) and bev_from_lidar (4, 4)."""
    augmentation = reference.array("input.img_aug_matrix")[sample]
    input_from_image = np.tile(np.eye(3), (len(augmentation), 1, 1))
    input_from_image[:, :2, :2] = augmentation[:, :2, :2]
    input_from_image[:, :2, 2] = augmentation[:, :2, 3]
    image_from_cam = reference.array("input.camera_intrinsics")[sample][:, :3, :3]
    return input_from_image, image_from_cam, reference.array("input.lidar_aug_matrix")[sample]


def published_tables(reference, sample: int, grid: BevGrid, bins: DepthBins) -> PoolingTables:
    input_from_image, image_from_cam, bev_from_lidar = augmented(reference, sample)
    return pooling_tables(
        grid,
        bins,
        feature_hw=tuple(reference.config["feature_size"]),
        input_hw=tuple(reference.config["image_size"]),
        bev_from_cam=bev_from_lidar @ reference.array("input.camera2lidar")[sample],
        input_from_cam=input_from_image @ image_from_cam,
        corner_aligned_frustum=True,
        truncated_cells=True,
    )


def published_projection(reference, sample: int) -> torch.Tensor:
    input_from_image, _, bev_from_lidar = augmented(reference, sample)
    image_from_lidar = reference.array("input.lidar2image")[sample][:, :3]
    input_from_bev = input_from_image @ image_from_lidar @ np.linalg.inv(bev_from_lidar)
    return torch.from_numpy(input_from_bev)


def rasters_of(reference) -> torch.Tensor:
    samples = range(len(reference["input.img"]))
    return depth_rasters(
        [reference[f"input.points_{sample}"] for sample in samples],
        torch.stack([published_projection(reference, sample) for sample in samples]),
        tuple(reference.config["image_size"]),
        truncated_pixels=True,
    )


def depth_lift_of(reference, grid: BevGrid, bins: DepthBins) -> DepthLift:
    config, weights = reference.config, reference.weights()
    channels, features = config["out_channels"], config["in_channels"]
    stride = config["image_size"][0] // config["feature_size"][0]
    compensation = torch.nn.Identity()
    if "dfa" in reference.info:
        dfa = reference.info["dfa"]
        attention = DeformableAttention(
            dfa["channels"],
            (dfa["bev_h"], dfa["bev_w"]),
            heads=dfa["nhead"],
            points=dfa["npoints"],
            corner_reference_points=True,
        )
        attention.load_state_dict(
            rename_keys(reference.weights("deformAttn."), DEFORMABLE_ATTENTION)
        )
        compensation = GeometryCompensation(attention)
    lift = DepthLift(
        raster_encoder=RasterEncoder(stride),
        compensation=compensation,
        head=LiftHead(
            64 + features,
            hidden_channels=features,
            hidden_layers=2,
            depth_bins=bins.count,
            context_channels=channels,
        ),
        downsample=BevDownsample(channels, [1, 2, 1]),
        shape_xy=grid.shape_xy,
    )
    for prefix, rules, module in (
        ("dtransform.", RASTER_ENCODER, lift.raster_encoder),
        ("depthnet.", DEPTH_HEAD, lift.head),
        ("downsample.", BEV_DOWNSAMPLE, lift.downsample),
    ):
        own = {key: value for key, value in weights.items() if key.startswith(prefix)}
        module.load_state_dict(fold_convolution_biases(rename_keys(own, rules)))
    return lift.eval()


@pytest.mark.reference("03_depth_lss_transform")
def test_reference_depth_rasters_are_the_published_ones(reference):
    rasters = rasters_of(reference)
    expected = reference["output.depth_map"]
    assert (expected > 0).sum() > 1000
    torch.testing.assert_close(rasters, expected, atol=1e-4, rtol=1e-5)


@pytest.mark.reference("03_depth_lss_transform")
def test_reference_depth_lift_gives_the_published_maps(reference):
    config = reference.config
    x_bound, y_bound, z_bound = config["xbound"], config["ybound"], config["zbound"]
    grid = BevGrid(
        tuple(x_bound[:2]), tuple(y_bound[:2]), tuple(z_bound[:2]), (x_bound[2], y_bound[2])
    )
    bins = DepthBins(*config["dbound"])
    lift = depth_lift_of(reference, grid, bins)
    images = reference["input.img"]
    tables = batch_tables(
        [published_tables(reference, sample, grid, bins) for sample in range(len(images))]
    )
    with torch.no_grad():
        bev, depth = lift(images, rasters_of(reference), tables)
    torch.testing.assert_close(bev, reference["output.bev"], atol=1e-4, rtol=1e-4)
    if "output.depth" in reference.tensors:
        torch.testing.assert_close(depth, reference["output.depth"], atol=1e-4, rtol=1e-4)


def voxel_grid_of(reference) -> VoxelGrid:
    low_high = reference.config["point_cloud_range"]
    size = reference.config["voxel_size"]
    shape = tuple(round((low_high[i + 3] - low_high[i]) / size[i]) for i in range(3))
    return VoxelGrid(tuple(low_high[:3]), tuple(size), shape)


@pytest.mark.reference("09_hard_voxelization")
@pytest.mark.parametrize(
    ("limit", "prefix"), [("max_voxels", ""), ("limited_max_voxels", "limited.")]
)
def test_reference_voxels_are_the_published_ones(reference, limit, prefix):
    config = reference.config
    clouds = [reference[name] for name in sorted(reference.tensors) if "input.points." in name]
    options = {"max_points": config["max_num_points"], "max_voxels": config[limit][1]}
    grid = voxel_grid_of(reference)
    voxels = mean_voxels(clouds, grid, **options)
    assert torch.equal(voxels.cells, reference[f"output.{prefix}coords"])
    expected = reference[f"output.{prefix}mean"]
    torch.testing.assert_close(voxels.features, expected, atol=1e-6, rtol=1e-6)
    counts = torch.cat(
        [torch.bincount(assign_voxels(cloud, grid, **options).voxel) for cloud in clouds]
    )
    assert torch.equal(counts.int(), reference[f"output.{prefix}num_points"])


@pytest.mark.reference("09_hard_voxelization")
def test_reference_points_sit_in_the_published_slots(reference):
    config = reference.config
    clouds = [reference[name] for name in sorted(reference.tensors) if "input.points." in name]
    slots = []
    for cloud in clouds:
        assigned = assign_voxels(
            cloud,
            voxel_grid_of(reference),
            max_points=config["max_num_points"],
            max_voxels=config["max_voxels"][1],
        )
        raw = torch.zeros(len(assigned.cells), config["max_num_points"], cloud.shape[1])
        raw[assigned.voxel, assigned.slot] = cloud[assigned.point]
        slots.append(raw)
    raw = torch.cat(slots)
    assert torch.equal(raw[:, 0], reference["output.first_point"])
    sampled = raw[reference["output.sample_index"].long()]
    assert torch.equal(sampled, reference["output.sample_voxels"])


@pytest.mark.reference("09_sparse_encoder")
@pytest.mark.parametrize("engine", ["torch", "spconv"])
def test_reference_sparse_encoder_gives_the_published_map(reference, engine):
    if engine == "spconv":
        pytest.importorskip("spconv")
    config = reference.config
    encoder = SparseEncoder(
        config["in_channels"],
        [stage[0] for stage in config["encoder_channels"]],
        config["output_channels"],
        tuple(config["sparse_shape"]),
        engine=engine,
    ).eval()
    renamed = rename_keys(reference.weights(), SPARSE_ENCODER)
    encoder.load_state_dict(output_channels_first(renamed))
    cells = reference["input.coords"]
    voxels = Voxels(reference["input.voxel_features"], cells)
    with torch.no_grad():
        last = encoder.last_stage(voxels, int(cells[:, 0].max()) + 1)
        bev = encoder(voxels, int(cells[:, 0].max()) + 1)
    torch.testing.assert_close(bev, reference["output.bev"], atol=1e-4, rtol=1e-4)
    assert list(last.spatial_shape) == reference["output.stage4.spatial_shape"].tolist()
    expected = dict(
        zip(
            map(tuple, reference["output.stage4.indices"].tolist()),
            reference["output.stage4.features"],
            strict=True,
        )
    )
    assert len(last.indices) == len(expected)
    for cell, features in zip(last.indices.tolist(), last.features, strict=True):
        torch.testing.assert_close(features, expected[tuple(cell)], atol=1e-4, rtol=1e-4)
