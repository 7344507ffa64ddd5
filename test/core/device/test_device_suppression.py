# SPDX-License-Identifier: Apache-2.0
"""Suppression in tensor operations against the rules in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from simdistill_ros.core.device.suppression import (
    circle_suppresses,
    greedy_keep,
    rotated_iou,
    rotated_suppresses,
)
from simdistill_ros.core.suppression import circle_nms, rotated_nms
from simdistill_ros.core.suppression import rotated_iou as numpy_iou


def random_boxes(count: int, seed: int, spread_m: float = 12.0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return np.column_stack(
        [
            generator.uniform(-spread_m, spread_m, (count, 2)),
            generator.uniform(0.3, 6.0, (count, 2)),
            generator.uniform(-4, 4, count),
        ]
    )


def test_overlap_equals_the_polygon_that_numpy_clips() -> None:
    boxes, others = random_boxes(4000, 0, 3.0), random_boxes(4000, 1, 3.0)

    ours = rotated_iou(torch.tensor(boxes).float(), torch.tensor(others).float())

    expected = numpy_iou(boxes, others)
    assert (expected > 0.3).sum() > 100
    np.testing.assert_allclose(ours.numpy(), expected, atol=2e-5)


@pytest.mark.parametrize(
    ("other", "iou"),
    [
        ((0, 0, 4, 2, 0.0), 1.0),  # the same box
        ((0, 0, 4, 2, np.pi), 1.0),
        ((4, 0, 4, 2, 0.0), 0.0),  # edges that lie on each other, from outside
        ((0, 2, 4, 2, 0.0), 0.0),
        ((0, 0, 2, 1, 0.0), 0.25),  # inside
        ((0, 0, 8, 4, np.pi / 2), 8 / 32),  # around
        ((2, 0, 4, 2, 0.0), 4 / 12),
        ((1, 0, 2, 4, 0.0), 4 / 12),
        ((50, 50, 4, 2, 1.0), 0.0),
    ],
)
def test_boxes_whose_edges_coincide_overlap_as_they_should(other, iou: float) -> None:
    box = torch.tensor([[0.0, 0.0, 4.0, 2.0, 0.0]])

    both_ways = [rotated_iou(box, torch.tensor([other]).float()),
                 rotated_iou(torch.tensor([other]).float(), box)]  # fmt: skip

    assert [float(value) for value in both_ways] == pytest.approx([iou, iou], abs=1e-5)


def test_greedy_rounds_settle_on_what_numpy_keeps() -> None:
    boxes = np.stack([random_boxes(60, seed) for seed in range(3)])
    tensors = torch.tensor(boxes).float()
    pairs = torch.triu_indices(60, 60, 1)
    radius_m, max_iou = torch.full((3,), 2.5), torch.full((3,), 0.1)
    everything = torch.ones(3, 60, dtype=torch.bool)

    circles, circles_final = greedy_keep(
        circle_suppresses(tensors[..., :2], radius_m), everything, 61
    )
    rotated, rotated_final = greedy_keep(
        rotated_suppresses(tensors, max_iou, pairs), everything, 61
    )

    assert circles_final
    assert rotated_final
    for task in range(3):
        np.testing.assert_array_equal(
            circles[task].nonzero()[:, 0], circle_nms(boxes[task, :, :2], 2.5)
        )
        np.testing.assert_array_equal(rotated[task].nonzero()[:, 0], rotated_nms(boxes[task], 0.1))
    assert 0 < rotated.sum() < 180


def test_a_chain_that_is_longer_than_the_rounds_is_not_called_final() -> None:
    centers = torch.stack([torch.arange(20.0), torch.zeros(20)], -1)[None]  # each hits the next
    suppresses = circle_suppresses(centers, torch.tensor([1.0]))
    everything = torch.ones(1, 20, dtype=torch.bool)

    _, is_final = greedy_keep(suppresses, everything, 5)
    kept, is_final_at_last = greedy_keep(suppresses, everything, 21)

    assert not is_final
    assert is_final_at_last
    assert kept[0].tolist() == [True, False] * 10


def test_padding_neither_stays_nor_suppresses() -> None:
    centers = torch.zeros(1, 3, 2)
    is_box = torch.tensor([[False, True, True]])

    kept, _ = greedy_keep(circle_suppresses(centers, torch.tensor([1.0])), is_box, 4)

    assert kept.tolist() == [[False, True, False]]
