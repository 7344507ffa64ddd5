# SPDX-License-Identifier: Apache-2.0
"""The joined head gives the head's maps, each brought to the range of 8 bits before."""

from __future__ import annotations

import pytest
import torch

from simdistill_ros.core.model_card import ModelCard, model_card_from_dict
from simdistill_ros.core.network.build import build_student, load_student
from simdistill_ros.core.network.convolutions import fold_norms
from simdistill_ros.core.network.student import BevNetwork
from simdistill_training.deploy.joined_head import JoinedCenterHead, Ranges, head_ranges


@pytest.fixture(scope="module")
def network(plain: ModelCard) -> BevNetwork:
    student = load_student(plain).eval()
    fold_norms(student)
    return student.bev_network


@pytest.fixture(scope="module")
def pooled(plain: ModelCard) -> list[tuple[torch.Tensor, torch.Tensor]]:
    shape = (1, plain.lift.context_channels, *plain.bev.grid.shape_xy)
    generator = torch.Generator().manual_seed(0)
    return [
        (torch.randn(shape, generator=generator), torch.randn(shape, generator=generator))
        for _ in range(3)
    ]


@pytest.fixture(scope="module")
def ranges(network: BevNetwork, pooled: list[tuple[torch.Tensor, torch.Tensor]]) -> Ranges:
    return head_ranges(network, pooled)


@torch.no_grad()
def test_the_joined_head_gives_the_maps_of_the_head(network, pooled, ranges) -> None:
    joined = JoinedCenterHead(network.head, ranges)
    features = network.neck(network.encoder(network.features(*pooled[0]).fused))
    expected, actual = network.head(features), joined(features)
    assert [set(task) for task in actual] == [set(task) for task in expected]
    for task, other in zip(expected, actual, strict=True):
        for name, maps in task.items():
            torch.testing.assert_close(other[name], maps, atol=2e-5, rtol=2e-5, msg=name)


@torch.no_grad()
def test_hidden_values_and_outputs_of_every_branch_fill_one_range(network, pooled, ranges) -> None:
    joined = JoinedCenterHead(network.head, ranges)
    hidden, outputs = [], []
    for maps in pooled:
        features = network.neck(network.encoder(network.features(*maps).fused))
        first = joined.tasks[1].first(joined.shared(features)).relu()
        hidden.append(first.amax((0, 2, 3)))
        outputs.append(joined.tasks[1].second(first))
    branches = torch.stack(hidden).amax(0).view(6, -1).amax(1)  # six branches of as many channels
    torch.testing.assert_close(branches, torch.ones(6), atol=1e-4, rtol=0)
    values = torch.cat(outputs)
    read = sum(joined.tasks[1].channels.values())
    assert values.shape[1] % 16 == 0  # ONNX Runtime is fast with whole groups of 16
    assert not values[:, read:].any()
    values = values[:, :read]
    farthest = torch.maximum(values.amax((0, 2, 3)), -values.amin((0, 2, 3)))
    torch.testing.assert_close(farthest, torch.ones_like(farthest), atol=1e-4, rtol=0)


@torch.no_grad()
def test_a_branch_that_gives_nothing_stays_finite(network, pooled, ranges) -> None:
    broken = [{**task} for task in ranges]
    empty = torch.zeros_like(broken[0]["vel"].low)
    broken[0]["vel"] = type(broken[0]["vel"])(torch.tensor(0.0), empty, empty)
    features = network.neck(network.encoder(network.features(*pooled[0]).fused))
    expected, actual = network.head(features), JoinedCenterHead(network.head, broken)(features)
    torch.testing.assert_close(actual[0]["vel"], expected[0]["vel"], atol=1e-3, rtol=1e-3)


@torch.no_grad()
def test_a_task_that_fills_its_group_of_outputs_needs_no_others(plain: ModelCard, pooled) -> None:
    classes, nms = plain.classes, {"kind": "circle", "radius_m": 1.0}
    data = plain.model_dump(mode="json") | {"weights": None}
    data["tasks"] = [{"classes": part, "nms": nms} for part in (classes[:6], classes[6:])]
    student = build_student(model_card_from_dict(data)).eval()
    fold_norms(student)
    network = student.bev_network
    joined = JoinedCenterHead(network.head, head_ranges(network, pooled))
    features = network.neck(network.encoder(network.features(*pooled[0]).fused))
    assert [task.unread for task in joined.tasks] == [0, 2]
    for task, other in zip(network.head(features), joined(features), strict=True):
        for name, maps in task.items():
            torch.testing.assert_close(other[name], maps, atol=2e-5, rtol=2e-5, msg=name)
