# SPDX-License-Identifier: Apache-2.0
"""The shipped model cards without yaml and pydantic, and small ones for a quick run.

`python -m benchmarks.gpu.cards` rewrites cards.json from the models; a test compares them.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.gpu import plain_pydantic

if TYPE_CHECKING:
    from simdistill_ros.core.model_card import ModelCard

CARDS_FILE = Path(__file__).with_name("cards.json")
MODELS = Path(__file__).resolve().parents[2] / "models"
# What a GPU run measures, the paper's model first.
NAMES = ("swint-256x704", "tiny", "r50-256x704", "small")


def card_of(name: str, *, quick: bool = False) -> ModelCard:
    """Return a shipped model's card, without weights; with `quick` at a fraction of its size."""
    plain_pydantic.install()
    from simdistill_ros.core.model_card import model_card_from_dict

    data = json.loads(CARDS_FILE.read_text())[name]
    return model_card_from_dict(_shrunk(data) if quick else data)


def shipped() -> dict[str, Any]:
    """Return the data of the shipped models without what depends on weights."""
    import yaml

    cards = {}
    for name in NAMES:
        data = yaml.safe_load((MODELS / name / "model.yaml").read_text())
        left_out = ("weights", "training", "metrics", "onnx", "onnx_fp16", "int8", "golden")
        cards[name] = {k: v for k, v in data.items() if k not in left_out} | {"weights": None}
    return cards


def _shrunk(data: dict[str, Any]) -> dict[str, Any]:
    """Return the data of a model with two cameras, 32 x 64 pixels and a 32 x 32 grid."""
    data = copy.deepcopy(data)
    data["cameras"] = data["cameras"][:2]
    data["image"] |= {"input_hw": [32, 64], "resized_width_px": 72}
    data["lift"]["depth_bins"] = {"start_m": 1.0, "stop_m": 12.0, "step_m": 1.0}
    data["bev"] |= {"x_m": [-12.8, 12.8], "y_m": [-12.8, 12.8], "cell_m": 0.8}
    data["neck"]["channels"] = 32
    data["lift"] |= {"context_channels": 16, "hidden_channels": 16}
    data["fuser"]["channels"] = 16
    data["bev_encoder"]["stages"] = [
        {**stage, "blocks": 1, "channels": 16} for stage in data["bev_encoder"]["stages"]
    ]
    data["bev_encoder"]["neck"]["channels"] = 16
    data["head"] = {"shared_channels": 16, "branch_channels": 8}
    data["decode"] |= {"max_candidates": 40, "score_threshold": 0.05}
    if data["encoder"]["kind"] == "swin":
        data["encoder"] |= {"embed_channels": 24, "depths": [2, 2, 2, 2], "heads": [1, 2, 3, 4]}
    if data["encoder"]["kind"] == "resnet":
        data["encoder"] |= {"depths": [1, 1, 1, 1], "base_channels": 8}
    return data


if __name__ == "__main__":
    CARDS_FILE.write_text(json.dumps(shipped(), indent=1) + "\n")
