# SPDX-License-Identifier: Apache-2.0
"""Paths that agree pass; each way in which one can differ is found and named."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from simdistill_ros.core.model_card import ModelCard
from simdistill_ros.core.preprocess import InputRule
from simdistill_ros.core.snapshot import ImageArray
from simdistill_training.checkpoint import write_card
from simdistill_training.cli import main
from simdistill_training.deploy.frames import FrameSource
from simdistill_training.deploy.parity import Parity, ParityOptions, check_parity
from simdistill_training.deploy.pixels import Route, vehicle_route

EXACT = vehicle_route("exact")


def swapped_channels(file: Path, rule: InputRule) -> ImageArray:
    return EXACT(file, rule)[..., ::-1]


def other_kernel(file: Path, rule: InputRule) -> ImageArray:
    return EXACT(file, replace(rule, resize_kernel="bicubic_antialias"))


def check(
    card: ModelCard, source: FrameSource, out: Path, routes: dict[str, Route] | None = None
) -> Parity:
    options = ParityOptions(replace(source, limit=1), out, ros=False)
    return check_parity(card, options, routes)


def test_backends_and_the_nodes_pixels_agree_and_the_numbers_are_kept(
    exported: ModelCard, source: FrameSource, tmp_path: Path
) -> None:
    parity = check(exported, source, tmp_path)
    paths = {comparison.name: comparison for comparison in parity.comparisons}

    assert parity.failures == []
    assert parity.absent == {"tensorrt": "runs on device cuda only"}
    runtime = paths["onnxruntime fp32"]
    assert {"depth_camera", "context_lidar", "pooled_camera", "task0_heatmap"} <= set(
        runtime.tensors
    )
    assert 0 < runtime.tensors["pooled_lidar"].relative < 1e-4
    assert runtime.boxes["expected"] > 10
    assert runtime.found_share == 1.0
    assert paths["pixels exact"].tensors["images"].largest <= 1
    assert paths["pixels fast"].tensors["images"].mean > 0.2  # decoded at half size
    kept = json.loads((tmp_path / "parity.json").read_text())
    assert [entry["path"] for entry in kept["paths"]] == list(paths)
    assert kept["failures"] == []


@pytest.mark.parametrize("route", [swapped_channels, other_kernel])
def test_other_pixels_are_found(
    exported: ModelCard, source: FrameSource, tmp_path: Path, route: Route
) -> None:
    parity = check(exported, source, tmp_path, {"exact": route})
    (failure, *_) = parity.failures
    assert failure.startswith("pixels exact: pixels differ by ")


def test_one_flipped_weight_is_found_and_the_command_fails(
    package: ModelCard, source: FrameSource, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flip_a_weight(package, "image")
    arguments = ["parity", str(package.file.parent), "--dataroot", str(source.dataroot)]
    arguments += ["--limit", "1", "--no-ros", "--out", str(tmp_path / "out")]
    assert main(arguments) == 1
    output = capsys.readouterr().out
    assert "onnxruntime fp32  torch fp32" in output
    assert "not equal: onnxruntime fp32: depth_camera differs by" in output
    assert json.loads((tmp_path / "out" / "parity.json").read_text())["failures"]


def test_a_package_that_was_not_exported_ends_with_a_message(
    small_card: ModelCard, source: FrameSource, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="expected a golden example: run `simdistill export`"):
        check(small_card, source, tmp_path)


def test_the_node_gives_the_boxes_of_its_backend_called_directly(
    exported: ModelCard, source: FrameSource, tmp_path: Path
) -> None:
    pytest.importorskip("rclpy")
    parity = check_parity(exported, ParityOptions(replace(source, limit=1), tmp_path), {})
    node = parity.comparisons[-1]
    assert node.name == "ros node"
    assert node.boxes["expected"] > 10
    assert node.found_share == 1.0
    assert parity.failures == []


def flip_a_weight(card: ModelCard, graph: str) -> None:
    """Change the sign of the largest weight of a graph's last convolution, and the card's hash."""
    assert card.onnx is not None
    entry = getattr(card.onnx, graph)
    file = card.file.parent / entry.file
    model = onnx.load(file)
    last = [node for node in model.graph.node if node.op_type == "Conv"][-1]
    (tensor,) = (t for t in model.graph.initializer if t.name == last.input[1])
    weights = numpy_helper.to_array(tensor).copy()
    weights.flat[np.abs(weights).argmax()] *= -1
    tensor.CopyFrom(numpy_helper.from_array(weights, tensor.name))
    onnx.save(model, file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    changed = card.onnx.model_copy(update={graph: entry.model_copy(update={"sha256": digest})})
    write_card(card.file.parent, card.model_copy(update={"onnx": changed}))
