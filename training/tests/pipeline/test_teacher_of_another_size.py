# SPDX-License-Identifier: Apache-2.0
"""A student may look at more, or fewer, pixels than its teacher, or than it did before."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from simdistill_ros.core.model_card import model_card_from_dict
from simdistill_training.checkpoint import load_weights, plain_card, with_positions_of
from simdistill_training.data.build import open_index, training_dataset, training_loader
from simdistill_training.networks import build_network, run_teacher
from simdistill_training.teacher.own_size import at_own_size
from simdistill_training.train import build_module


def larger(card, factor=2):
    data = plain_card(card)
    data["image"] |= {
        "input_hw": [factor * side for side in card.image.input_hw],
        "resized_width_px": factor * card.image.resized_width_px,
    }
    return model_card_from_dict(data)


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
