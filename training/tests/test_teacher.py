# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from simdistill_ros.core.lift_geometry import BevGrid
from simdistill_training.teacher.depth_raster import depth_labels, depth_rasters
from simdistill_training.teacher.frozen import (
    FrozenTeacher,
    TeacherCheckpointError,
    load_teacher,
)
from simdistill_training.teacher.pillar_encoder import PillarEncoder
from simdistill_training.teacher.teacher import (
    PillarConfig,
    SparseConfig,
    Teacher,
    TeacherConfig,
)

PILLARS = TeacherConfig(pillars=PillarConfig(point_channels=16, stages=((1, 16, 2), (1, 24, 2))))
SPARSE = TeacherConfig(
    lidar="sparse",
    sparse=SparseConfig((0.2, 0.2, 0.2), stage_channels=(4, 4, 8, 8), out_channels=6),
)


def run(teacher, images, batch):
    return teacher(images, batch.tables, batch.points, batch.input_from_bev)


@pytest.mark.parametrize("config", [PILLARS, SPARSE])
def test_teacher_maps_have_the_cells_of_the_students_and_every_weight_learns(
    config, small_card, small_batch, normalised_images
):
    teacher = Teacher(small_card, config)
    outputs = run(teacher, normalised_images, small_batch)
    for bev, channels in (
        (outputs.camera_bev, teacher.camera_channels),
        (outputs.lidar_bev, teacher.lidar_channels),
        (outputs.fused_bev, teacher.fused_channels),
    ):
        assert bev.shape == (2, channels, *small_card.compensated_shape_xy)
    assert outputs.heads[0]["heatmap"].shape == (2, 1, *small_card.head_shape_xy)
    sum(maps.square().sum() for task in outputs.heads for maps in task.values()).backward()
    silent = [name for name, value in teacher.named_parameters() if value.grad is None]
    assert silent == []


def test_teacher_sees_lidar_in_both_branches(small_card, small_batch, normalised_images):
    teacher = Teacher(small_card, PILLARS).eval()
    moved = [cloud + torch.tensor([3.0, 0, 0, 0, 0]) for cloud in small_batch.points]
    with torch.no_grad():
        before = run(teacher, normalised_images, small_batch)
        after = teacher(normalised_images, small_batch.tables, moved, small_batch.input_from_bev)
    assert not torch.allclose(before.camera_bev, after.camera_bev)
    assert not torch.allclose(before.lidar_bev, after.lidar_bev)


def test_lidar_cells_must_be_the_students(small_card):
    config = TeacherConfig(pillars=PillarConfig(stages=((1, 16, 2),)))
    with pytest.raises(
        ValueError, match=r"expected a LiDAR map of \(16, 16\) cells.*got \(32, 32\)"
    ):
        Teacher(small_card, config)


def test_frozen_teacher_stays_in_eval_mode_and_takes_no_gradient(
    small_card, small_batch, normalised_images
):
    frozen = FrozenTeacher(Teacher(small_card, PILLARS))
    around = torch.nn.Sequential(frozen)
    before = {name: value.clone() for name, value in frozen.state_dict().items()}
    around.train()
    outputs = run(frozen, normalised_images.requires_grad_(), small_batch)
    assert not any(module.training for module in frozen.modules())
    assert not outputs.fused_bev.requires_grad
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    for name, value in frozen.state_dict().items():  # running statistics included
        assert torch.equal(value, before[name]), name


def test_a_saved_teacher_is_loaded_back(tmp_path, small_card, small_batch, normalised_images):
    teacher = Teacher(small_card, PILLARS)
    with torch.no_grad():
        run(teacher, normalised_images, small_batch)  # moves the running statistics
        expected = run(teacher.eval(), normalised_images, small_batch)
    state = {f"network.{name}": value for name, value in teacher.state_dict().items()}
    torch.save({"state_dict": state | {"other.x": torch.zeros(1)}}, tmp_path / "t.ckpt")
    loaded = load_teacher(small_card, PILLARS, tmp_path / "t.ckpt", prefix="network")
    torch.testing.assert_close(
        run(loaded, normalised_images, small_batch).fused_bev, expected.fused_bev
    )


@pytest.mark.parametrize("damage", ["missing", "unknown", "shape"])
def test_a_checkpoint_that_does_not_cover_the_teacher_is_refused(tmp_path, small_card, damage):
    state = Teacher(small_card, PILLARS).state_dict()
    key = "head.tasks.0.heatmap.1.bias"
    if damage == "missing":
        del state[key]
    elif damage == "unknown":
        key = "surprise.weight"
        state[key] = torch.zeros(1)
    else:
        state[key] = torch.zeros(7)
    save_file(state, tmp_path / "t.safetensors")
    with pytest.raises(TeacherCheckpointError, match=key):
        load_teacher(small_card, PILLARS, tmp_path / "t.safetensors")


def test_a_point_is_drawn_at_the_pixel_whose_centre_is_nearest():
    # u = 10 x / z + 5, v = 10 y / z + 2, depth = z
    projection = torch.tensor([[[[10.0, 0, 5, 0], [0, 10, 2, 0], [0, 0, 1, 0]]]])
    points = torch.tensor([[0.16, 0.0, 1.0], [0.0, 0.0, 4.0], [0.0, 0.0, 3.0], [0.0, 0.0, -2.0]])
    raster = depth_rasters([points], projection, (4, 8))[0, 0, 0]
    expected = torch.zeros(4, 8)
    expected[2, 7] = 1.0  # u = 6.6
    expected[2, 5] = 3.0  # the nearer of two; the one behind the camera is not seen
    assert torch.equal(raster, expected)


def test_depth_labels_are_the_bins_that_the_lift_places_nearest():
    raster = torch.zeros(4, 8)
    raster[0, 0], raster[3, 3], raster[1, 6] = 2.4, 2.2, 40.0
    options = {"start_m": 1.0, "step_m": 0.5, "bins": 10}
    assert depth_labels(raster, 4, **options).tolist() == [[2, -1]]
    assert depth_labels(raster, 4, rounding="down", **options).tolist() == [[2, -1]]
    raster[3, 3] = 2.3
    assert depth_labels(raster, 4, **options).tolist() == [[3, -1]]
    assert depth_labels(raster, 4, rounding="down", **options).tolist() == [[2, -1]]


def test_pillars_without_points_stay_empty_and_order_of_points_does_not_matter():
    torch.manual_seed(0)
    grid = BevGrid((-4.0, 4.0), (-2.0, 2.0), (-1.0, 3.0), (1.0, 1.0))
    encoder = PillarEncoder(grid, 6, ()).eval()
    encoder.encoder = KeepLast()
    generator = np.random.default_rng(0)
    low, high = (-4, -2, -1, 0, 0), (0, 2, 3, 255, 0.5)
    points = torch.from_numpy(generator.uniform(low, high, (40, 5))).float()
    with torch.no_grad():
        bev = encoder([points])
        shuffled = encoder([points.flip(0)])
    assert bev.shape == (1, 6, 8, 4)
    assert bev[:, :, :4].any()
    assert not bev[:, :, 4:].any()
    torch.testing.assert_close(bev, shuffled)


def test_clouds_without_a_point_in_the_grid_are_an_error():
    grid = BevGrid((-4.0, 4.0), (-2.0, 2.0), (-1.0, 3.0), (1.0, 1.0))
    with pytest.raises(ValueError, match="expected LiDAR points inside the grid"):
        PillarEncoder(grid, 6, ((1, 6, 1),))([torch.full((3, 5), 100.0)])


class KeepLast(torch.nn.Module):
    def forward(self, bev):
        return [bev]
