# SPDX-License-Identifier: Apache-2.0
"""A student small enough to run whole frames of."""

from __future__ import annotations

from typing import Any

import pytest
import yaml


@pytest.fixture
def card_data(models_folder) -> dict[str, Any]:
    """Return `tiny` with two cameras, 32 x 64 pixels and a 32 x 32 map."""
    data = yaml.safe_load((models_folder / "tiny" / "model.yaml").read_text())
    data["cameras"] = ["front", "back"]
    data["image"] |= {"input_hw": [32, 64], "resized_width_px": 72}
    data["lift"]["depth_bins"] = {"start_m": 1.0, "stop_m": 12.0, "step_m": 1.0}
    data["bev"] |= {"x_m": [-12.8, 12.8], "y_m": [-12.8, 12.8]}
    data["decode"] |= {"max_candidates": 60, "score_threshold": 0.05}
    data["weights"] = None
    return data


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
