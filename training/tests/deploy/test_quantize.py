# SPDX-License-Identifier: Apache-2.0
"""8-bit graphs: what is in them, what they give, and which are refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from simdistill_ros.core.backends.choose import choose_backend
from simdistill_ros.core.backends.onnxruntime_backend import OnnxRuntimeBackend
from simdistill_ros.core.golden import load_golden
from simdistill_ros.core.model_card import ModelCard, load_model_card
from simdistill_training.deploy import quantize
from simdistill_training.deploy.comparison import found
from simdistill_training.deploy.frames import FrameReader, FrameSource
from simdistill_training.deploy.qdq_graph import Int8Form
from simdistill_training.deploy.quantize import QuantiseOptions, quantise_package
from simdistill_training.onnx_graphs import ExportError
from simdistill_training.onnx_lint import lint_graph


@pytest.fixture(autouse=True)
def _agreement_for_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Score the share of the float network's boxes: a seeded network finds no real objects."""
    first: list[Any] = []

    def score(reader: FrameReader, records: Any, folder: Path) -> dict[str, float]:
        first.append(records)
        total = sum(len(boxes) for boxes in first[0].values())
        share = sum(found(boxes, records[token]) for token, boxes in first[0].items()) / total
        return {"mAP": share, "NDS": share}

    monkeypatch.setattr(FrameReader, "score", score)


def options_for(source: FrameSource, form: Int8Form, **changes: Any) -> QuantiseOptions:
    frames = replace(source, limit=1)
    defaults = QuantiseOptions(source, frames, form, frames=2, max_drop=0.9)
    return replace(defaults, **changes)


@pytest.mark.parametrize("activations", ["uint8", "int8"])
def test_the_8_bit_graphs_run_pass_the_lint_and_are_near_the_float_ones(
    package: ModelCard, source: FrameSource, activations: str, caplog: pytest.LogCaptureFixture
) -> None:
    form = Int8Form(activations=activations)
    card, _ = quantise_package(package.file.parent, options_for(source, form))

    assert "Please consider" not in caplog.text  # the quantiser's advice is not for these graphs
    assert card.int8 is not None
    assert card.int8.onnx.precision == "int8"
    assert card.onnx == package.onnx
    for file in ("image.int8.onnx", "bev.int8.onnx"):
        model = onnx.load(card.file.parent / file)
        onnx.checker.check_model(model, full_check=True)
        operators = {node.op_type for node in model.graph.node}
        assert ("GridSample" in operators) == (activations == "uint8")  # TensorRT's are wrong
        assert lint_graph(model, operators & {"GridSample"}) == []
        weights = weights_of(model)
        assert len(weights) > 20
        assert {values.dtype for values in weights} == {np.dtype(np.int8)}
        assert max(np.abs(values.astype(int)).max() for values in weights) <= 64  # 7 bits
    # Proven with the 8-bit graphs' own golden example; on a CPU, `auto` takes those made for it.
    choice = choose_backend(card, precision="auto" if activations == "uint8" else "int8")
    assert isinstance(choice.backend, OnnxRuntimeBackend)
    assert re.search(r" int8, self-test: error .*, [1-9]\d* boxes found again", choice.reason)
    golden = load_golden(card)
    assert golden is not None
    tables = card.pooling_tables(golden.bev_from_cam, golden.input_from_cam)
    actual = choice.backend.infer(golden.images, tables)
    for expected, maps in zip(golden.head_maps, actual, strict=True):
        error = np.linalg.norm(maps["heatmap"] - expected["heatmap"])
        assert 0 < error < 0.3 * np.linalg.norm(expected["heatmap"])


def test_ranges_of_black_frames_are_refused_for_what_they_lose(
    package: ModelCard, source: FrameSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(file.name for file in package.file.parent.iterdir())
    read = FrameReader.read
    blacken(monkeypatch, lambda reader, token: read(reader, token))
    options = options_for(source, Int8Form(), max_drop=0.2)
    with pytest.raises(ExportError, match=r"8 bits lose too much on .*mAP 1\.0000 -> 0\."):
        quantise_package(package.file.parent, options)
    assert sorted(file.name for file in package.file.parent.iterdir()) == before


def test_graphs_that_this_machine_computes_wrongly_are_refused(
    package: ModelCard, source: FrameSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overflowed(*arguments: Any) -> Any:
        maps = OnnxRuntimeBackend.infer(*arguments)
        return [{name: values / 2 for name, values in task.items()} for task in maps]

    monkeypatch.setattr(quantize._AsWritten, "infer", overflowed)
    with pytest.raises(ExportError, match=r"does not compute the 8-bit graphs as written"):
        quantise_package(package.file.parent, options_for(source, Int8Form()))
    assert load_model_card(package.file.parent).int8 is None


def test_a_package_that_was_not_exported_is_refused(
    package: ModelCard, source: FrameSource
) -> None:
    changed = package.model_copy(update={"onnx": None, "onnx_fp16": None, "golden": None})
    quantize.write_card(package.file.parent, changed)
    with pytest.raises(ExportError, match="expected float ONNX graphs, got none"):
        quantise_package(package.file.parent, options_for(source, Int8Form()))


def blacken(monkeypatch: pytest.MonkeyPatch, read: Callable[..., Any]) -> None:
    """Make the frames that set the ranges black; those that are scored stay as they are."""

    def read_black(reader: FrameReader, token: str) -> Any:
        frame = read(reader, token)
        is_calibration = reader.source.limit is None
        return replace(frame, images=frame.images * 0) if is_calibration else frame

    monkeypatch.setattr(FrameReader, "read", read_black)


def weights_of(model: Any) -> list[np.ndarray]:
    """Return the weights of the convolutions that were quantised."""
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    made_by = {node.output[0]: node for node in model.graph.node}
    sources = [made_by.get(n.input[1]) for n in model.graph.node if n.op_type == "Conv"]
    return [numpy_helper.to_array(stored[s.input[0]]) for s in sources if s is not None]
