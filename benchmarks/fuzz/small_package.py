# SPDX-License-Identifier: Apache-2.0
"""A model package of a few kilobytes: a real card, files whose content only the hash knows."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from safetensors.numpy import save

from simdistill_ros.core.model_card import CARD_FILE, model_card_from_dict
from simdistill_ros.core.onnx_interface import bev_interface, image_interface
from simdistill_ros.resources import model_folder

BOXES = 2
OPAQUE = ("weights.safetensors", "image.onnx", "bev.onnx")


def write_package(folder: Path) -> None:
    """Write card, golden example, and stand-ins for weights and graphs."""
    data = _small_card()
    golden = save(_golden_arrays(data))
    contents = {name: f"stand-in for {name}".encode() * 20 for name in OPAQUE}
    contents["golden.safetensors"] = golden
    entries = {
        name: {"file": name, "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in contents.items()
    }
    data["weights"] = entries["weights.safetensors"]
    data["golden"] = {**entries["golden.safetensors"], "tolerance": 0.01}
    graphs = {"image": entries["image.onnx"], "bev": entries["bev.onnx"]}
    data["onnx"] = {**graphs, "opset": 17, "precision": "fp32"}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    (folder / CARD_FILE).write_text(yaml.safe_dump(data, sort_keys=False))


def _small_card() -> dict[str, Any]:
    data: dict[str, Any] = yaml.safe_load((model_folder("tiny") / CARD_FILE).read_text())
    data["cameras"] = data["cameras"][:2]
    data["image"]["input_hw"], data["image"]["resized_width_px"] = [16, 32], 32
    data["bev"]["cell_m"] = 12.8
    data["lift"]["depth_bins"]["step_m"] = 20.0
    return data | {"training": None, "metrics": None}  # of weights that these are not


def _golden_arrays(data: dict[str, Any]) -> dict[str, Any]:
    card = model_card_from_dict(data)
    cameras = len(card.cameras)
    arrays: dict[str, Any] = {
        "images": np.zeros(image_interface(card).inputs["images"], np.uint8),
        "bev_from_cam": np.tile(np.eye(4), (cameras, 1, 1)),
        "input_from_cam": np.tile(np.eye(3), (cameras, 1, 1)),
        "boxes.labels": np.zeros(BOXES, np.int64),
    }
    for name, shape in bev_interface(card).outputs.items():
        arrays[name] = np.zeros(shape, np.float32)
    for name, width in (("centers_m", 3), ("sizes_lwh_m", 3), ("velocities_mps", 2)):
        arrays[f"boxes.{name}"] = np.ones((BOXES, width))
    for name in ("yaws_rad", "scores"):
        arrays[f"boxes.{name}"] = np.full(BOXES, 0.5)
    return arrays
