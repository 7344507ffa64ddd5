# SPDX-License-Identifier: Apache-2.0
"""A student small enough to run whole frames of."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def card_data(small_data: dict[str, Any]) -> dict[str, Any]:
    """Return `tiny` with two cameras, 32 x 64 pixels and a 32 x 32 map."""
    small_data["image"]["resized_width_px"] = 72
    small_data["bev"]["y_m"] = [-12.8, 12.8]
    small_data["decode"] |= {"max_candidates": 60, "score_threshold": 0.05}
    return small_data


@pytest.fixture(
    params=[
        {"kind": "efficientnet_lite0"},
        {"kind": "resnet", "depths": [1, 1, 1, 1], "base_channels": 4},
        {"kind": "swin", "embed_channels": 8, "depths": [2, 2, 2, 2], "heads": [1, 2, 2, 2],
         "window": 3, "mlp_ratio": 2, "drop_path": 0.0},
    ],
    ids=lambda encoder: encoder["kind"],
)  # fmt: skip
def encoder(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return an image encoder of each kind."""
    return request.param
