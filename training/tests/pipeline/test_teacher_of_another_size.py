# SPDX-License-Identifier: Apache-2.0
"""A student may see more pixels or finer cells than its teacher, or than it did before."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from simdistill_ros.core.model_card import model_card_from_dict
from simdistill_ros.core.model_card_parts import TrainingCard
from simdistill_training.checkpoint import (
    CheckpointError,
    load_weights,
    plain_card,
    start_weights,
    write_package,
)
from simdistill_training.data.build import open_index, training_dataset, training_loader
from simdistill_training.networks import build_network, run_teacher
from simdistill_training.start_sizes import fitted, with_positions_of
from simdistill_training.teacher.own_size import at_own_size
from simdistill_training.train import build_module


def larger(card, factor=2):
    data = plain_card(card)
    data["image"] |= {
        "input_hw": [factor * side for side in card.image.input_hw],
        "resized_width_px": factor * card.image.resized_width_px,
    }
    return model_card_from_dict(data)


def finer(card, **bev):
    data = plain_card(card)
    data["bev"] |= {"cell_m": card.bev.cell_m / 2, **bev}
    data["lift"]["depth_bins"]["step_m"] = card.lift.depth_bins.step_m / 2
    return model_card_from_dict(data)


def without_boxes(experiment):
    terms = experiment.distillation
    prediction = replace(terms.mmd_prediction, box_weight=0.0)
    return replace(experiment, distillation=replace(terms, mmd_prediction=prediction))


@pytest.fixture
def taught(experiment_named, teacher_run):
    experiment = experiment_named("student-simdistill-tiny", steps=3)
    return replace(
        experiment,
        data=replace(experiment.data, views=1),
        teacher_checkpoint=str(teacher_run),
    )


def first_batch(experiment, card):
    dataset = training_dataset(experiment, card, open_index(experiment.data))
    return next(iter(training_loader(experiment, dataset)))


def test_images_tables_and_projections_are_those_of_the_teachers_size(taught, card):
    own, given = first_batch(taught, card), first_batch(taught, larger(card))
    pixels = given.images.permute(0, 1, 4, 2, 3).float()

    images, tables, input_from_bev = at_own_size(card, pixels, given.input_from_bev)

    difference = (images - own.images.permute(0, 1, 4, 2, 3).float()).abs()
    assert difference.mean() < 4  # of 255: resampled twice and once
    torch.testing.assert_close(input_from_bev, own.input_from_bev, rtol=1e-4, atol=1e-3)
    cells = [np.diff(each.cell_offsets.numpy()) for each in (tables, own.tables)]
    assert np.abs(cells[0] - cells[1]).sum() <= 0.002 * cells[1].sum()


def test_a_student_with_larger_images_learns_from_the_teachers_maps(taught, card):
    module = build_module(taught, larger(card))
    small = build_module(taught, card)
    batch, own = first_batch(taught, larger(card)), first_batch(taught, card)

    ours = run_teacher(module._teacher[0], module.pixels(batch.images), batch)
    theirs = run_teacher(small._teacher[0], small.pixels(own.images), own)
    losses = module.losses(batch, 1.0)

    assert ours.fused_bev.shape == theirs.fused_bev.shape
    torch.testing.assert_close(ours.lidar_bev, theirs.lidar_bev)
    alike = torch.nn.functional.cosine_similarity(ours.fused_bev, theirs.fused_bev, dim=1)
    assert alike.mean() > 0.97
    assert torch.isfinite(losses["distillation/mmd_feature"])


def test_a_teacher_whose_images_show_something_else_is_refused(taught, card):
    data = plain_card(larger(card))
    data["image"]["input_hw"][0] -= 32
    with pytest.raises(ValueError, match="differs in image, in more than its scale"):
        build_module(taught, model_card_from_dict(data))


def test_a_student_with_finer_cells_learns_from_the_same_maps_as_one_with_the_teachers(
    taught, card
):
    fine, own = build_module(without_boxes(taught), finer(card)), build_module(taught, card)
    batch, given = first_batch(taught, finer(card)), first_batch(taught, card)

    ours = run_teacher(fine._teacher[0], fine.pixels(batch.images), batch)
    theirs = run_teacher(own._teacher[0], own.pixels(given.images), given)
    losses = fine.losses(batch, 1.0)

    torch.testing.assert_close(ours.lidar_bev, theirs.lidar_bev)
    alike = torch.nn.functional.cosine_similarity(ours.fused_bev, theirs.fused_bev, dim=1)
    assert alike.mean() > 0.99
    distilled = {name: loss.item() for name, loss in losses.items() if "distillation" in name}
    assert len(distilled) == 5
    assert distilled.pop("distillation/mmd_prediction/boxes") == 0
    assert all(0 < loss < np.inf for loss in distilled.values())


def test_boxes_are_not_compared_between_cells_of_two_sizes(taught, card):
    with pytest.raises(ValueError, match=r"no mmd_prediction.box_weight, because .* finer"):
        build_module(taught, finer(card))


def test_cells_over_other_ground_or_coarser_than_the_teachers_are_refused(taught, card):
    low, high = card.bev.x_m
    expected = "differs in bev, lift.downsample_strides or bev_encoder, in more than finer cells"
    for other in (
        finer(card, x_m=[low, (low + high) / 2]),
        finer(card, cell_m=2 * card.bev.cell_m),
    ):
        with pytest.raises(ValueError, match=expected):
            build_module(without_boxes(taught), other)


def test_training_goes_on_with_other_depths_cells_and_a_coarser_map(
    experiment_named, card, tmp_path
):
    experiment = experiment_named("student-baseline-tiny")
    data = plain_card(finer(larger(card)))
    data["lift"]["stride"] = 2 * card.lift.stride
    other = model_card_from_dict(data)
    before, after = build_network(experiment, card), build_network(experiment, other)
    package = write_package(
        tmp_path,
        card,
        before,
        training=TrainingCard(commit="0", data="generated", seed=0),
        half=False,
    )
    start = replace(experiment.start, weights=str(package.file.parent))

    start_weights(after, start, other)

    old, new = before.image_network, after.image_network
    assert (len(old.neck.laterals), len(new.neck.laterals)) == (3, 2)
    for ours, theirs in zip(new.neck.laterals, list(old.neck.laterals)[1:], strict=True):
        torch.testing.assert_close(ours.conv.weight, theirs.conv.weight)
    rows, given = new.lidar_lift.output.weight, old.lidar_lift.output.weight
    count, given_count = other.lift.depth.count, card.lift.depth.count
    torch.testing.assert_close(rows[0:count:2], given[:given_count])
    torch.testing.assert_close(rows[1], (given[0] + given[1]) / 2)
    torch.testing.assert_close(rows[count:], given[given_count:])  # the context
    for ours, theirs in zip(
        after.bev_network.parameters(), before.bev_network.parameters(), strict=False
    ):
        if ours.shape == theirs.shape:
            torch.testing.assert_close(ours, theirs)


def test_a_published_neck_goes_on_at_a_coarser_map_too(experiment_named, card):
    experiment = experiment_named("student-baseline-tiny")
    data = plain_card(card)
    data["neck"]["kind"] = "concat"
    fine = model_card_from_dict(data)
    data["lift"]["stride"] = 16
    coarse = model_card_from_dict(data)
    before, after = (build_network(experiment, each) for each in (fine, coarse))
    depths = card.lift.depth

    load_weights(after, fitted(after, before.state_dict(), own=depths, given=depths), "a run")

    old, new = before.image_network.neck, after.image_network.neck
    assert (len(old.laterals), len(new.laterals)) == (2, 1)
    torch.testing.assert_close(new.laterals[0].conv.weight, old.laterals[1].conv.weight)
    torch.testing.assert_close(new.outputs[0].conv.weight, old.outputs[1].conv.weight)


def test_weights_of_other_channels_are_still_refused(experiment_named, card, tmp_path):
    experiment = experiment_named("student-baseline-tiny")
    data = plain_card(card)
    data["lift"]["context_channels"] *= 2
    network = build_network(experiment, card)
    write_package(
        tmp_path, card, network, training=TrainingCard(commit="0", data="generated", seed=0)
    )
    other = model_card_from_dict(data)
    start = replace(experiment.start, weights=str(tmp_path))
    with pytest.raises(CheckpointError, match="of another shape"):
        start_weights(build_network(experiment, other), start, other)


def test_training_goes_on_with_larger_images_at_the_same_places(experiment_named, card):
    experiment = experiment_named("student-baseline-tiny")
    small, large = (build_network(experiment, c) for c in (card, larger(card)))
    state = small.state_dict()
    positions = [key for key in state if state[key].shape != large.state_dict()[key].shape]
    assert [key.rsplit(".", 1)[1] for key in positions] == ["embedding_u", "embedding_v"]
    for key in positions:
        state[key] = torch.arange(len(state[key]))[:, None].expand(state[key].shape).float()

    load_weights(large, with_positions_of(large, state), "a run")

    for key, values in large.state_dict().items():
        expected = state[key]
        if key in positions:  # pixel 0 is as wide as the new pixels 0 and 1
            places = (torch.arange(len(values)) + 0.5) / 2 - 0.5
            expected = places.clamp(0, len(state[key]) - 1)[:, None].expand(values.shape)
        torch.testing.assert_close(values, expected)
