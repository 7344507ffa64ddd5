# SPDX-License-Identifier: Apache-2.0
"""From the command line to what a TensorRT-family builder takes, on the shipped tiny model."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from simdistill_ros.core.backends.tensorrt_library import build_plan, import_tensorrt
from simdistill_ros.core.model_card import ModelCard, load_model_card
from simdistill_ros.core.model_card_deployment import OnnxCard
from simdistill_training import onnx_lint
from simdistill_training.checkpoint import write_card
from simdistill_training.cli import main

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

TINY = Path(__file__).resolve().parents[2] / "models" / "tiny"
CAPABILITY = "8.9"


def test_one_command_makes_tiny_a_package_whose_graphs_tensorrt_builds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(TINY), str(tmp_path)]) == 0
    assert "fp16 self-test: error " in capsys.readouterr().out

    card = load_model_card(tmp_path)
    assert card.onnx is not None
    assert card.onnx_fp16 is not None
    assert card.golden is not None
    assert card.golden.tolerance_fp16 is not None
    assert card.golden.tolerance_fp16 <= 0.1
    singles, halves = _checked(card, card.onnx), _checked(card, card.onnx_fp16)
    for single, half in zip(singles, halves, strict=True):
        assert _product_weights(single) == {onnx.TensorProto.FLOAT}
        assert _product_weights(half) == {onnx.TensorProto.FLOAT16}
    library = import_tensorrt()
    files = zip(_files(card.onnx), _files(card.onnx_fp16), strict=True)
    for graphs, model in zip(files, singles, strict=True):
        single, half = (
            build_plan(library, (tmp_path / file).read_bytes(), name=file,
                       compute_capability=CAPABILITY)
            for file in graphs
        )  # fmt: skip
        # Strongly typed: weights take half. What stays single, as attention's places, does not.
        assert len(single) - len(half) > 0.3 * _product_weight_bytes(model)


def _files(graphs: OnnxCard) -> list[str]:
    return [graphs.image.file, graphs.bev.file]


def _checked(card: ModelCard, graphs: OnnxCard) -> list[onnx.ModelProto]:
    """Return the image and the bev graph; both must be valid and hold nothing refused."""
    models = [onnx.load(card.file.parent / file) for file in _files(graphs)]
    for model in models:
        onnx.checker.check_model(model, full_check=True)
        assert onnx_lint.lint_graph(model) == []
    return models


def _product_weights(model: onnx.ModelProto) -> set[int]:
    """Return the types of the weights of convolutions."""
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    return {types[node.input[1]] for node in model.graph.node if node.op_type == "Conv"}


def _product_weight_bytes(model: onnx.ModelProto) -> int:
    """Return the bytes of the weights of convolutions."""
    names = {node.input[1] for node in model.graph.node if node.op_type == "Conv"}
    return sum(len(t.raw_data) for t in model.graph.initializer if t.name in names)


def test_a_graph_that_tensorrt_refuses_is_named_with_its_operator_and_nothing_is_written(
    plain: ModelCard,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(onnx_lint.REFUSED, "Softmax", "stands for an operator that is refused")

    assert main(["export", str(plain.file.parent), str(tmp_path)]) == 2

    message = capsys.readouterr().err
    assert "image.onnx: not deployable: node " in message
    assert "(Softmax): stands for an operator that is refused" in message
    assert list(tmp_path.iterdir()) == []


def test_a_weight_that_no_half_can_hold_is_named_and_nothing_is_written(
    plain: ModelCard, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    _copy_with_a_huge_weight(plain, source)

    assert main(["export", str(source), str(out)]) == 2

    message = capsys.readouterr().err
    assert "bev.fp16.onnx: weight " in message
    assert "expected at most 65504" in message
    assert list(out.iterdir()) == []


def _copy_with_a_huge_weight(card: ModelCard, folder: Path) -> None:
    assert card.weights is not None
    folder.mkdir()
    tensors = load_file(card.file.parent / card.weights.file)
    # Each fits; the product that comes of folding the norm into its convolution does not.
    norm = next(key for key in tensors if "head" in key and key.endswith("running_var"))
    tensors[norm][0] = 0
    tensors[norm.replace("running_var", "weight")][0] = 6e4
    save_file(tensors, folder / card.weights.file)
    digest = hashlib.sha256((folder / card.weights.file).read_bytes()).hexdigest()
    weights = card.weights.model_copy(update={"sha256": digest})
    write_card(folder, card.model_copy(update={"weights": weights}))
