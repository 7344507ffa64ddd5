# SPDX-License-Identifier: Apache-2.0
"""A small card, and a rig of two cameras with its pooling tables."""

from __future__ import annotations

import numpy as np
import pytest

from simdistill_ros.core.lift_geometry import pooling_tables
from simdistill_ros.core.model_card import ModelCard, model_card_from_dict
from simdistill_ros.core.network.view_transform import BatchedPoolingTables, batch_tables


@pytest.fixture
def small_card(small_data) -> ModelCard:
    return model_card_from_dict(small_data)


@pytest.fixture
def small_tables(small_card) -> BatchedPoolingTables:
    """Return the tables of one snapshot: a camera ahead and one to the back."""
    forward = np.array([[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1.0]])
    backward = np.diag([-1.0, -1.0, 1.0, 1.0]) @ forward
    intrinsics = np.array([[50.0, 0, 31.5], [0, 50.0, 10.5], [0, 0, 1]])
    return batch_tables(
        [
            pooling_tables(
                small_card.bev.grid,
                small_card.lift.depth,
                feature_hw=small_card.feature_hw,
                input_hw=small_card.image.input_hw,
                bev_from_cam=np.stack([forward, backward]),
                input_from_cam=np.stack([intrinsics, intrinsics]),
            )
        ]
    )
