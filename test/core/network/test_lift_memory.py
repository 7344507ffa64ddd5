# SPDX-License-Identifier: Apache-2.0
"""The lift never holds a large tensor, at the paper's size; every output of every kernel counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from simdistill_ros.core.frames import rigid, rotation_about_z
from simdistill_ros.core.model_card import ModelCard, load_model_card
from simdistill_ros.core.network.view_transform import (
    BatchedPoolingTables,
    LiftHead,
    batch_tables,
    pool_two_bevs,
)

MODELS = Path(__file__).resolve().parents[3] / "models"
LARGEST_BYTES = 48e6
OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


class LargestTensor(TorchDispatchMode):
    """Remembers the largest tensor that any operation returns, also in the backward."""

    def __init__(self) -> None:
        super().__init__()
        self.size_bytes, self.name = 0, ""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(output):
            if isinstance(leaf, torch.Tensor) and leaf.nbytes > self.size_bytes:
                self.size_bytes, self.name = leaf.nbytes, str(func)
        return output


@pytest.fixture(scope="module")
def card() -> ModelCard:
    return load_model_card(MODELS / "swint-256x704")


@pytest.fixture(scope="module")
def tables(card: ModelCard) -> BatchedPoolingTables:
    """Return the tables of six cameras in a ring."""
    poses = [rigid(rotation_about_z(np.pi / 3 * i) @ OPTICAL, [1.0, 0.0, 1.5]) for i in range(6)]
    intrinsics = np.array([[560.0, 0, 352], [0, 560.0, 80], [0, 0, 1]])
    return batch_tables([card.pooling_tables(np.stack(poses), np.stack([intrinsics] * 6))])


def branch(card: ModelCard, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    depth = torch.rand(1, 6, card.lift.depth.count, *card.feature_hw, generator=generator)
    channels = card.lift.context_channels
    return depth, torch.rand(1, 6, *card.feature_hw, channels, generator=generator)


def test_the_counter_sees_the_outer_product_that_the_lift_avoids(card) -> None:
    depth, context = branch(card, 0)

    with LargestTensor() as largest:
        _ = depth[0, 0, :, :, :, None] * context[0, 0]

    assert largest.size_bytes == 118 * 32 * 88 * 80 * 4  # one camera of six
    assert largest.size_bytes > LARGEST_BYTES


def test_pooling_and_its_backward_hold_no_tensor_above_48_mb(card, tables) -> None:
    tensors = [tensor.requires_grad_() for seed in (0, 1) for tensor in branch(card, seed)]
    branches = (tensors[0], tensors[1]), (tensors[2], tensors[3])

    with LargestTensor() as largest:
        pooled = pool_two_bevs(branches, tables, card.bev.grid.shape_xy)
        sum(maps.square().sum() for maps in pooled).backward()

    assert largest.size_bytes <= LARGEST_BYTES, largest.name
    assert largest.size_bytes >= 360 * 360 * 80 * 4  # the map itself: the counter did count
    assert all(tensor.grad.any() for tensor in tensors)


def test_the_lift_head_holds_no_tensor_above_48_mb(card) -> None:
    with torch.device("meta"):
        head = LiftHead(
            card.neck.channels,
            hidden_channels=card.lift.hidden_channels,
            hidden_layers=card.lift.hidden_layers,
            depth_bins=card.lift.depth.count,
            context_channels=card.lift.context_channels,
        )
        features = torch.empty(6, card.neck.channels, *card.feature_hw)

    with LargestTensor() as largest:
        depth, context = head(features)

    assert (depth.shape[1], context.shape[3]) == (118, 80)
    assert 10e6 < largest.size_bytes <= LARGEST_BYTES, largest.name
