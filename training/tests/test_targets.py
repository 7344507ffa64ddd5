# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest
import torch

from simdistill_ros.core.boxes import Detections
from simdistill_ros.core.decode import decode_head_maps
from simdistill_ros.core.gaussian import draw_gaussian, gaussian_radius
from simdistill_ros.core.model_card import ModelCard, model_card_from_dict
from simdistill_training.ceiling import perfect_heads
from simdistill_training.targets import (
    TargetConfig,
    center_targets,
    object_mask,
)


def boxes_at(card: ModelCard, centers_m, labels, **fields) -> Detections:
    count = len(labels)
    values = {
        "frame": "bev",
        "stamp_ns": 0,
        "centers_m": np.array(centers_m, dtype=float).reshape(count, 3),
        "sizes_lwh_m": np.tile([4.0, 2.0, 1.5], (count, 1)),
        "yaws_rad": np.full(count, np.pi / 2),
        "velocities_mps": np.tile([3.0, -4.0], (count, 1)),
        "scores": np.ones(count),
        "labels": np.array(labels, dtype=np.int64),
        "class_names": card.classes,
    }
    return Detections(**(values | fields))


def decoded_perfect_heads(boxes: Detections, card: ModelCard) -> Detections:
    """Return the boxes that the vehicle reads from head maps that know the targets."""
    maps = perfect_heads(center_targets([boxes], card))
    return decode_head_maps(
        [{name: plane[0].numpy() for name, plane in task.items()} for task in maps],
        card,
        stamp_ns=0,
    )


def test_codes_of_one_car_by_hand(small_card):
    # A head cell is 1.6 m and the grid begins at -12.8 m: (-12.8 + 3.5 * 1.6, -12.8 + 8.25 * 1.6)
    boxes = boxes_at(small_card, [[-7.2, 0.4, 0.7]], [0])
    task = center_targets([boxes], small_card)[0]
    expected = [0.5, 0.25, 0.7, np.log(4), np.log(2), np.log(1.5), 1, 0, 3, -4]
    np.testing.assert_allclose(task.codes[0, 0], expected, atol=1e-6)
    assert task.cell_index[0, 0] == 3 * 16 + 8
    assert task.mask[0].sum() == 1
    assert task.heatmap[0, 0, 3, 8] == 1


@pytest.mark.parametrize("legacy", [False, True])
def test_decoding_perfect_maps_gives_the_boxes_back(small_card, small_batch, legacy):
    data = small_card.model_dump(mode="json")
    data["legacy"] |= {"lidar_box_convention": legacy, "raised_height": legacy}
    for task in data["tasks"]:
        task["nms"] = {"kind": "circle", "radius_m": 1e-3}
    card = model_card_from_dict(data)
    boxes = small_batch.boxes[0]
    decoded = decoded_perfect_heads(boxes, card)
    assert len(decoded) == len(boxes)
    distances = np.linalg.norm(decoded.centers_m[:, None] - boxes.centers_m[None], axis=-1)
    truth = boxes.select(distances.argmin(1))
    np.testing.assert_allclose(decoded.centers_m, truth.centers_m, atol=1e-5)
    np.testing.assert_allclose(decoded.sizes_lwh_m, truth.sizes_lwh_m, rtol=1e-5)
    np.testing.assert_allclose(np.sin(decoded.yaws_rad - truth.yaws_rad), 0, atol=1e-5)
    np.testing.assert_allclose(decoded.velocities_mps, truth.velocities_mps, atol=1e-5)
    assert np.array_equal(decoded.labels, truth.labels)


def test_two_objects_of_a_class_in_one_cell_are_one_even_to_perfect_heads(small_card):
    apart = boxes_at(small_card, [[0.1, 0.1, 0], [5, 5, 0]], [0, 0])
    together = boxes_at(small_card, [[0.1, 0.1, 0], [0.4, 0.4, 0]], [0, 0])
    assert len(decoded_perfect_heads(apart, small_card)) == 2
    assert len(decoded_perfect_heads(together, small_card)) == 1


def test_peaks_drawn_together_equal_peaks_drawn_one_by_one(small_card):
    generator = np.random.default_rng(0)
    centers = np.column_stack([generator.uniform(-12.7, 12.7, (30, 2)), np.zeros(30)])
    sizes = generator.uniform(1, 14, (30, 3))
    boxes = boxes_at(small_card, centers, [0] * 30, sizes_lwh_m=sizes)
    task = center_targets([boxes], small_card, TargetConfig(min_radius_cells=1))[0]
    expected = np.zeros((16, 16))
    for slot in range(30):
        cell = divmod(int(task.cell_index[0, slot]), 16)
        radius = int(gaussian_radius(sizes[slot, :2] / 1.6, 0.1))
        draw_gaussian(expected, cell, max(radius, 1))
    np.testing.assert_allclose(task.heatmap[0, 0], expected, atol=1e-6)


def test_boxes_outside_the_grid_or_without_extent_leave_an_empty_slot(small_card):
    sizes = np.array([[4.0, 2, 1], [4, 2, 1], [4, 0, 1], [4, 2, 1]])
    centers = [[0.0, 0, 0], [-12.9, 0, 0], [3, 3, 0], [5, 5, 0]]
    boxes = boxes_at(small_card, centers, [0] * 4, sizes_lwh_m=sizes)
    task = center_targets([boxes], small_card)[0]
    assert task.mask[0, :4].tolist() == [True, False, False, True]
    assert (task.heatmap == 1).sum() == 2


def test_objects_beyond_the_slots_are_left_out(small_card):
    boxes = boxes_at(small_card, [[0.0, 0, 0], [5, 5, 0], [-5, -5, 0]], [0] * 3)
    task = center_targets([boxes], small_card, TargetConfig(max_objects=2))[0]
    assert task.codes.shape == (1, 2, 10)
    assert (task.heatmap == 1).sum() == 2


def test_samples_do_not_mix(small_card):
    first, second = boxes_at(small_card, [[0.0, 0, 0]], [9]), boxes_at(small_card, [], [])
    task = center_targets([first, second], small_card)[-1]
    assert task.mask[0].any()
    assert not task.mask[1].any()
    assert task.heatmap[0, 1].max() == 1
    assert not task.heatmap[0, 0].any()
    assert not task.heatmap[1].any()


def test_object_mask_is_at_most_one_unless_published(small_card):
    boxes = boxes_at(small_card, [[0.0, 0, 0], [0.1, 0, 0]], [0, 3])
    targets = center_targets([boxes], small_card)
    assert object_mask(targets).max() == 1
    assert object_mask(targets, clipped=False).max() == 2
    assert object_mask(targets).shape == (1, 1, 16, 16)


def test_boxes_of_other_classes_are_refused(small_card):
    boxes = replace(boxes_at(small_card, [[0.0, 0, 0]], [0]), class_names=("car",))
    with pytest.raises(ValueError, match="expected boxes with the card's classes"):
        center_targets([boxes], small_card)


def test_an_unknown_velocity_stays_unknown(small_card):
    boxes = boxes_at(small_card, [[0.0, 0, 0]], [0], velocities_mps=np.full((1, 2), np.nan))
    codes = center_targets([boxes], small_card)[0].codes[0, 0]
    assert torch.isnan(codes[8:]).all()
    assert torch.isfinite(codes[:8]).all()
