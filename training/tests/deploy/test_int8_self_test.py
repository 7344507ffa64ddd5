# SPDX-License-Identifier: Apache-2.0
"""Where 8-bit graphs were recorded, the self-test finds a single wrong number in them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from simdistill_ros.core.backends.onnxruntime_backend import OnnxRuntimeBackend
from simdistill_ros.core.golden import EXACT, SelfTestError, load_golden, run_self_test
from simdistill_ros.core.model_card import ModelCard, load_model_card
from simdistill_ros.core.model_card_deployment import OnnxFileCard
from simdistill_training.deploy.frames import FrameReader, FrameSource
from simdistill_training.deploy.int8_graphs import digest
from simdistill_training.deploy.qdq_graph import Int8Form
from simdistill_training.deploy.quantize import QuantiseOptions, quantise_package

Fault = Callable[[Any], None]


@pytest.fixture(scope="module")
def quantised(
    exported: ModelCard, source: FrameSource, tmp_path_factory: pytest.TempPathFactory
) -> ModelCard:
    """Return the 8-bit variant of a package."""
    folder = tmp_path_factory.mktemp("int8")
    shutil.copytree(exported.file.parent, folder, dirs_exist_ok=True)
    options = QuantiseOptions(source, replace(source, limit=1), Int8Form(), frames=2, max_drop=0.9)
    with pytest.MonkeyPatch.context() as patch:  # a seeded network finds no real objects
        patch.setattr(FrameReader, "score", lambda *_: {"mAP": 1.0, "NDS": 1.0})
        quantise_package(folder, options)
    return load_model_card(folder).in_precision("int8")


def wrong_zero_point(model: Any) -> None:
    """Shift what one convolution in the middle reads by a step."""
    node = middle_input(model, 0)
    (tensor,) = (t for t in model.graph.initializer if t.name == node.input[2])
    shifted = numpy_helper.to_array(tensor) + np.uint8(1)
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(shifted), "shifted"))
    node.input[2] = "shifted"


def flipped_weight_byte(model: Any) -> None:
    """Flip the highest bit of the largest weight of a convolution in the middle."""
    node = middle_input(model, 1)
    (tensor,) = (t for t in model.graph.initializer if t.name == node.input[0])
    weights = numpy_helper.to_array(tensor).copy()
    weights.view(np.uint8).flat[np.abs(weights.astype(int)).argmax()] ^= 0x80
    tensor.CopyFrom(numpy_helper.from_array(weights, tensor.name))


def swapped_channels(model: Any) -> None:
    """Turn red and blue of the images around."""
    cast = model.graph.node[0]
    index = numpy_helper.from_array(np.array([2, 1, 0]), "turned")
    model.graph.initializer.append(index)
    turned = helper.make_node("Gather", ["images", "turned"], ["turned_images"], axis=3)
    cast.input[0] = "turned_images"
    model.graph.node.insert(0, turned)


def middle_input(model: Any, position: int) -> Any:
    """Return what dequantises an input of the middle one of the quantised convolutions."""
    made_by = {node.output[0]: node for node in model.graph.node}
    nodes = [node for node in model.graph.node if node.op_type == "Conv"]
    nodes = [node for node in nodes if node.input[1] in made_by]  # those in 8 bits
    return made_by[nodes[len(nodes) // 2].input[position]]


def with_fault(card: ModelCard, graph: str, fault: Fault, folder: Path) -> ModelCard:
    """Return a copy of the package with a fault in a graph that its hash does not show."""
    shutil.copytree(card.file.parent, folder)
    assert card.onnx is not None
    file = folder / getattr(card.onnx, graph).file
    model = onnx.load(file)
    fault(model)
    onnx.checker.check_model(model)
    onnx.save(model, file)
    entry = OnnxFileCard(file=file.name, sha256=digest(file))
    changed = card.model_copy(update={"onnx": card.onnx.model_copy(update={graph: entry})})
    changed._file = folder / card.file.name
    return changed


def self_test(card: ModelCard) -> Any:
    golden = load_golden(card)
    assert golden is not None
    return run_self_test(card, golden, OnnxRuntimeBackend(card))


def elsewhere(card: ModelCard) -> ModelCard:
    """Return the card as one that was recorded on another processor."""
    assert card.golden is not None
    golden = card.golden.model_copy(update={"exact_on": "onnxruntime 1.0 on a toaster"})
    changed = card.model_copy(update={"golden": golden})
    changed._file = card.file
    return changed


@pytest.mark.parametrize("threads", ["1", "3"])
def test_a_sound_package_gives_its_numbers_exactly_whatever_the_threads(
    quantised: ModelCard, monkeypatch: pytest.MonkeyPatch, threads: str
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    result = self_test(quantised)
    assert result.max_error <= EXACT
    assert result.box_count > 0


@pytest.mark.parametrize(
    ("graph", "fault"),
    [
        ("image", wrong_zero_point),
        ("bev", wrong_zero_point),
        ("image", flipped_weight_byte),
        ("bev", flipped_weight_byte),
        ("image", swapped_channels),
    ],
)
def test_one_wrong_number_is_found_although_the_hashes_are_right(
    quantised: ModelCard, tmp_path: Path, graph: str, fault: Fault
) -> None:
    broken = with_fault(quantised, graph, fault, tmp_path / "broken")
    with pytest.raises(SelfTestError, match=r"differs by .* expected at most 0\.001"):
        self_test(broken)


def test_on_another_processor_rounding_is_allowed_what_it_was_measured_to_do_and_no_more(
    quantised: ModelCard, tmp_path: Path
) -> None:
    other = elsewhere(quantised)
    assert other.golden is not None
    assert EXACT < other.golden.tolerance < 1
    assert self_test(other).box_count > 0

    def all_zero_points(model: Any) -> None:
        for tensor in model.graph.initializer:
            values = numpy_helper.to_array(tensor)
            if tensor.name.endswith("zero_point") and values.dtype == np.uint8:
                moved = np.asarray((values.astype(int) + 64) % 256, np.uint8)
                tensor.CopyFrom(numpy_helper.from_array(moved, tensor.name))

    broken = elsewhere(with_fault(quantised, "bev", all_zero_points, tmp_path / "broken"))
    with pytest.raises(SelfTestError, match="differs by"):
        self_test(broken)
