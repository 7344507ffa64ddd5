# SPDX-License-Identifier: Apache-2.0
"""A model package of a small network with a golden example and no ONNX files."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file

from simdistill_ros.core.backends.torch_backend import TorchBackend
from simdistill_ros.core.golden import record_golden, save_golden
from simdistill_ros.core.model_card import ModelCard, load_model_card, model_card_from_dict
from simdistill_ros.core.network.build import build_student

MODELS = Path(__file__).resolve().parents[3] / "models"
TOLERANCE = 1e-4


def write_card(folder: Path, card: ModelCard, **files: dict[str, object]) -> ModelCard:
    """Write a card that names files of its folder; their hashes are computed."""
    data = card.model_dump(mode="json")
    for key, entry in files.items():
        content = (folder / str(entry["file"])).read_bytes()
        data[key] = {**entry, "sha256": hashlib.sha256(content).hexdigest()}
    (folder / "model.yaml").write_text(yaml.safe_dump(data))
    return load_model_card(folder)


@pytest.fixture
def package(package_template: Path, tmp_path: Path) -> ModelCard:
    """Return the card of a package that a test may damage."""
    return load_model_card(shutil.copytree(package_template, tmp_path / "package"))


@pytest.fixture(scope="session")
def package_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write `tiny` at a fraction of its sizes, with seeded weights that see things."""
    folder = tmp_path_factory.mktemp("package")
    data = yaml.safe_load((MODELS / "tiny" / "model.yaml").read_text())
    data["cameras"] = ["cam_front", "cam_back"]
    data["image"] |= {"input_hw": [32, 64], "resized_width_px": 64}
    data["lift"]["depth_bins"] = {"start_m": 1.0, "stop_m": 12.0, "step_m": 1.0}
    data["bev"] |= {"x_m": [-12.8, 12.8], "y_m": [-6.4, 6.4]}
    card = model_card_from_dict(data)
    student = build_student(card)
    with torch.no_grad():
        for name, weights in student.bev_network.head.tasks.named_parameters():
            if name.endswith(".1.weight"):
                weights.mul_(50)
    save_file(student.state_dict(), folder / "weights.safetensors")
    weights = {"file": "weights.safetensors"}
    card = write_card(folder, card, weights=weights)
    forward = np.array([[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1.0]])
    intrinsics = np.array([[50.0, 0, 31.5], [0, 50.0, 10.5], [0, 0, 1]])
    golden = record_golden(
        card,
        TorchBackend(card),
        np.random.default_rng(0).integers(0, 256, (2, 32, 64, 3), np.uint8),
        bev_from_cam=np.stack([forward, np.diag([-1.0, -1.0, 1.0, 1.0]) @ forward]),
        input_from_cam=np.stack([intrinsics, intrinsics]),
        tolerance=TOLERANCE,
    )
    save_golden(golden, folder / "golden.safetensors")
    entry = {"file": "golden.safetensors", "tolerance": TOLERANCE}
    write_card(folder, card, weights=weights, golden=entry)
    return folder
