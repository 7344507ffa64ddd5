# SPDX-License-Identifier: Apache-2.0
import inspect

import pytest
import torch

from simdistill_ros.core.model_card import model_card_from_dict
from simdistill_ros.core.network.build import build_student
from simdistill_ros.core.network.convolutions import fold_norms
from simdistill_ros.core.network.geometry_compensation import DeformableAttention
from simdistill_ros.core.network.sampling import use_sum_form
from simdistill_ros.core.network.student import Student

MAPS = {"reg": 2, "height": 1, "dim": 3, "rot": 2, "vel": 2}


@pytest.fixture
def student(small_card) -> Student:
    return build_student(small_card).eval()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(1, 2, 3, 32, 64, generator=torch.Generator().manual_seed(0))


def joined(tasks: list[dict[str, torch.Tensor]]) -> torch.Tensor:
    return torch.cat([maps for task in tasks for maps in task.values()], dim=1)


def test_head_maps_have_the_shapes_the_card_says(small_card, student, images, small_tables):
    with torch.no_grad():
        tasks = student(images, small_tables)
    assert len(tasks) == len(small_card.tasks)
    for task, card_task in zip(tasks, small_card.tasks, strict=True):
        channels = {**MAPS, "heatmap": len(card_task.classes)}
        shapes = {name: tuple(maps.shape) for name, maps in task.items()}
        assert shapes == {n: (1, c, *small_card.head_shape_xy) for n, c in channels.items()}
        assert all(maps.isfinite().all() for maps in task.values())


def test_network_takes_images_and_tables_and_nothing_else():
    assert list(inspect.signature(Student.forward).parameters) == ["self", "images", "tables"]


@pytest.mark.parametrize("camera", [0, 1])
def test_boxes_change_when_any_image_changes(student, images, small_tables, camera):
    changed = images.clone()
    changed[:, camera] += 0.5
    with torch.no_grad():
        before, after = (
            joined(student(images, small_tables)),
            joined(student(changed, small_tables)),
        )
    assert (before - after).abs().max() > 1e-4


def test_gradients_reach_every_parameter_of_both_branches(student, images, small_tables):
    for module in student.modules():  # at first, the places ignore the position embedding
        if isinstance(module, DeformableAttention):
            torch.nn.init.normal_(module.offsets.weight, std=0.01)
            torch.nn.init.normal_(module.attention.weight, std=0.01)
    student.train()
    images = images.repeat(2, 1, 1, 1, 1)
    lifted = student.image_network(images)
    twice = type(small_tables)(
        torch.cat([small_tables.pixel_index, small_tables.pixel_index + 64]),
        torch.cat([small_tables.depth_index, small_tables.depth_index + 64 * 11]),
        torch.cat(
            [
                small_tables.cell_offsets,
                small_tables.cell_offsets[1:] + small_tables.cell_offsets[-1],
            ]
        ),
    )
    assert lifted.depth_camera[0, :, 0].numel() == 64
    maps = student.bev_network(*student.pool(lifted, twice))
    joined(maps).square().mean().backward()
    without = [n for n, p in student.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_branches_have_their_own_weights_and_only_one_is_compensated(student, images):
    with torch.no_grad():
        before = student.image_network(images)
        student.image_network.compensation.block.value.bias += 1.0
        after = student.image_network(images)
    assert torch.equal(before.depth_camera, after.depth_camera)
    assert torch.equal(before.context_camera, after.context_camera)
    assert not torch.equal(before.depth_lidar, after.depth_lidar)
    assert not torch.allclose(before.depth_camera, before.depth_lidar)


def test_bev_compensation_acts_on_the_simulated_lidar_branch_only(student, images, small_tables):
    with torch.no_grad():
        pooled = student.pool(student.image_network(images), small_tables)
        before = student.bev_network.features(*pooled)
        student.bev_network.compensation.block.value.bias += 1.0
        after = student.bev_network.features(*pooled)
    assert torch.equal(before.camera, after.camera)
    assert not torch.equal(before.simulated_lidar, after.simulated_lidar)
    assert not torch.equal(before.fused, after.fused)


def test_legacy_sharing_lifts_once_for_both_branches(small_data, images, small_tables):
    small_data["legacy"] = {"shared_view_transform": True}
    student = build_student(model_card_from_dict(small_data)).eval()
    with torch.no_grad():
        lifted = student.image_network(images)
    assert torch.equal(lifted.depth_camera, lifted.depth_lidar)
    assert not any("camera_" in name for name in student.state_dict())


def test_depth_is_a_distribution(student, images):
    with torch.no_grad():
        lifted = student.image_network(images)
    for depth in (lifted.depth_camera, lifted.depth_lidar):
        torch.testing.assert_close(depth.sum(2), torch.ones_like(depth[:, :, 0]))


def test_halves_and_the_pooling_between_make_the_whole(student, images, small_tables):
    with torch.no_grad():
        pooled = student.pool(student.image_network(images), small_tables)
        halves = joined(student.bev_network(*pooled))
        assert torch.equal(halves, joined(student(images, small_tables)))


@pytest.mark.parametrize("form", ["gather", "grid"])
def test_every_form_of_sampling_gives_the_same_maps(student, images, small_tables, form):
    with torch.no_grad():
        bag = joined(student(images, small_tables))
        use_sum_form(student, form)
        other = joined(student(images, small_tables))
    torch.testing.assert_close(bag, other, atol=1e-5, rtol=1e-5)


def test_folded_norms_give_the_same_maps(student, images, small_tables):
    for name, buffer in student.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.copy_(torch.rand(buffer.shape, generator=torch.Generator().manual_seed(1)) + 0.5)
    with torch.no_grad():
        before = joined(student(images, small_tables))
        assert fold_norms(student) > 50
        assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in student.modules())
        after = joined(student(images, small_tables))
    torch.testing.assert_close(before, after, atol=1e-4, rtol=1e-4)


def test_norms_are_not_folded_while_training(student):
    with pytest.raises(ValueError, match="eval mode"):
        fold_norms(student.train())


def test_halves_can_be_exported_with_fixed_shapes(student, images, small_tables):
    use_sum_form(student, "gather")
    with torch.no_grad():
        pooled = student.pool(student.image_network(images), small_tables)
    image_program = torch.export.export(student.image_network, (images,))
    bev_program = torch.export.export(student.bev_network, pooled)
    with torch.no_grad():
        lifted = image_program.module()(images)
        torch.testing.assert_close(lifted, student.image_network(images))
        maps = bev_program.module()(*pooled)
        torch.testing.assert_close(joined(maps), joined(student.bev_network(*pooled)))
