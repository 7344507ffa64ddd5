# SPDX-License-Identifier: Apache-2.0
import copy
import math

import numpy as np
import pytest
import torch
from torch import distributed

from simdistill_ros.core.boxes import empty_detections
from simdistill_training.losses import (
    DetectionWeights,
    depth_loss,
    detection_losses,
    gaussian_focal_loss,
)
from simdistill_training.targets import TargetConfig, center_targets

SMALL = TargetConfig(max_objects=20)


def random_maps(card, batch: int, seed: int = 0) -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    channels = {"reg": 2, "height": 1, "dim": 3, "rot": 2, "vel": 2}
    return [
        {
            name: torch.randn(batch, count, *card.head_shape_xy, generator=generator)
            for name, count in (channels | {"heatmap": len(task.classes)}).items()
        }
        for task in card.tasks
    ]


def test_focal_loss_equals_its_formula_and_survives_huge_logits():
    logits = torch.tensor([0.3, -1.2, 2.0], requires_grad=True)
    heatmap = torch.tensor([1.0, 0.4, 0.0])
    p = logits.detach().sigmoid()
    expected = torch.stack(
        [
            -((1 - p[0]) ** 2) * p[0].log(),
            -(p[1] ** 2) * 0.6**4 * (1 - p[1]).log(),
            -(p[2] ** 2) * (1 - p[2]).log(),
        ]
    )
    torch.testing.assert_close(gaussian_focal_loss(logits, heatmap), expected)
    extreme = torch.tensor([-200.0, 200.0, 200.0], requires_grad=True)
    loss = gaussian_focal_loss(extreme, heatmap)
    loss.sum().backward()
    torch.testing.assert_close(loss, torch.tensor([200.0, 200 * 0.6**4, 200.0]))
    assert extreme.grad.isfinite().all()
    assert (extreme.grad != 0).all()


def test_losses_are_zero_gradients_only_where_nothing_is_known(small_card, small_batch):
    maps = random_maps(small_card, 2)
    for task in maps:
        for values in task.values():
            values.requires_grad_()
    empty = empty_detections("bev", 0, small_card.classes)
    targets = center_targets([empty, empty], small_card, SMALL)
    losses = detection_losses(maps, targets, DetectionWeights())
    assert len(losses) == 2 * len(small_card.tasks)
    torch.stack(list(losses.values())).sum().backward()
    for task in maps:
        assert not task["reg"].grad.any()
        assert task["heatmap"].grad.abs().min() > 0  # every cell is a negative


def test_box_loss_looks_only_at_cells_of_objects(small_card, small_batch):
    targets = center_targets(small_batch.boxes, small_card, SMALL)
    maps = random_maps(small_card, 2)
    before = detection_losses(maps, targets, DetectionWeights())
    for task, maps_of_task in zip(targets, maps, strict=True):
        away = torch.ones(2, 16 * 16, dtype=torch.bool)
        away.scatter_(1, task.cell_index, False)
        maps_of_task["dim"].flatten(2)[away[:, None].expand(-1, 3, -1)] += 5
    after = detection_losses(maps, targets, DetectionWeights())
    for name in before:
        torch.testing.assert_close(before[name], after[name])


def test_unknown_velocities_are_not_trained(small_card, small_batch):
    boxes = [copy.copy(sample) for sample in small_batch.boxes]
    for sample in boxes:
        object.__setattr__(sample, "velocities_mps", np.full_like(sample.velocities_mps, np.nan))
    targets = center_targets(boxes, small_card, SMALL)
    maps = random_maps(small_card, 2)
    for task in maps:
        task["vel"].requires_grad_()
        task["dim"].requires_grad_()
    losses = detection_losses(maps, targets, DetectionWeights())
    total = torch.stack(list(losses.values())).sum()
    total.backward()
    assert total.isfinite()
    assert not any(task["vel"].grad.any() for task in maps)
    assert any(task["dim"].grad.any() for task in maps)


def test_depth_loss_is_least_for_the_true_distribution():
    labels = torch.tensor([[[2, -1]]])
    right, wrong = torch.full((1, 4, 1, 2), 1e-4), torch.full((1, 4, 1, 2), 1e-4)
    right[:, 2], wrong[:, 0] = 1.0, 1.0
    for form in ("binary", "categorical"):
        assert depth_loss(right, labels, form) < 1e-3
        assert depth_loss(wrong, labels, form) > 5
    even = torch.full((1, 4, 1, 2), 0.25)
    torch.testing.assert_close(depth_loss(even, labels, "categorical"), torch.tensor(math.log(4.0)))
    assert depth_loss(right, torch.full_like(labels, -1)) == 0


def test_weights_below_zero_are_refused():
    with pytest.raises(ValueError, match="expected none below zero"):
        DetectionWeights(heatmap=-1.0)
    with pytest.raises(ValueError, match="expected ten code weights"):
        DetectionWeights(codes=(1.0,))


def half_of_the_batch(rank, folder, card, batch, gradients):
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2
    )
    maps = random_maps(card, 2)
    own = [{n: v[rank : rank + 1].clone().requires_grad_() for n, v in t.items()} for t in maps]
    targets = center_targets(batch.boxes[rank : rank + 1], card, SMALL)
    losses = detection_losses(own, targets, DetectionWeights())
    torch.stack(list(losses.values())).sum().backward()
    gradients[rank] = [{n: v.grad / 2 for n, v in t.items()} for t in own]  # as DDP averages
    distributed.destroy_process_group()


def test_two_processes_give_the_gradients_of_the_joined_batch(tmp_path, small_card, small_batch):
    with torch.multiprocessing.Manager() as manager:
        gradients = manager.dict()
        torch.multiprocessing.spawn(
            half_of_the_batch, (tmp_path, small_card, small_batch, gradients), nprocs=2
        )
        halves = [gradients[0], gradients[1]]
    maps = random_maps(small_card, 2)
    for task in maps:
        for values in task.values():
            values.requires_grad_()
    targets = center_targets(small_batch.boxes, small_card, SMALL)
    torch.stack(list(detection_losses(maps, targets, DetectionWeights()).values())).sum().backward()
    for number, task in enumerate(maps):
        for name, values in task.items():
            joined = torch.cat([half[number][name] for half in halves])
            torch.testing.assert_close(joined, values.grad, atol=1e-7, rtol=1e-5)
