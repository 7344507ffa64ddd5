# SPDX-License-Identifier: Apache-2.0
"""Exported packages: graphs that deploy, and numbers that are those of the network."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from simdistill_ros.core.backends.base import BackendError
from simdistill_ros.core.backends.choose import choose_backend
from simdistill_ros.core.backends.onnxruntime_backend import OnnxRuntimeBackend
from simdistill_ros.core.backends.torch_backend import TorchBackend
from simdistill_ros.core.detector import Detector
from simdistill_ros.core.golden import load_golden, run_self_test
from simdistill_ros.core.map_errors import max_map_error
from simdistill_ros.core.model_card import ModelCard, ModelCardError, load_model_card
from simdistill_ros.core.onnx_interface import bev_interface, image_interface
from simdistill_ros.core.preprocess import InputRule, Preprocessor
from simdistill_training.cli import main
from simdistill_training.export import export_package
from simdistill_training.onnx_lint import lint_graph

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

REPOSITORY = Path(__file__).resolve().parents[2]
TOLERANCE = 1e-4


@pytest.fixture
def copy(exported: ModelCard, tmp_path: Path) -> ModelCard:
    """A copy of the exported package that a test may damage."""
    return load_model_card(shutil.copytree(exported.file.parent, tmp_path / "copy"))


@pytest.fixture
def both(exported: ModelCard) -> Iterator[tuple[TorchBackend, OnnxRuntimeBackend]]:
    backends = TorchBackend(exported), OnnxRuntimeBackend(exported)
    yield backends
    for backend in backends:
        backend.close()


@pytest.mark.parametrize(
    ("file", "interface"),
    [
        ("image", image_interface),
        ("bev", bev_interface),
        ("image.fp16", image_interface),
        ("bev.fp16", bev_interface),
    ],
)
def test_graphs_pass_the_checker_and_the_lint_and_have_the_cards_interface(
    exported: ModelCard, file: str, interface
) -> None:
    path = exported.file.parent / f"{file}.onnx"
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert lint_graph(model) == []
    expected = interface(exported)
    for values, shapes in (
        (model.graph.input, expected.inputs),
        (model.graph.output, expected.outputs),
    ):
        actual = {v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim) for v in values}
        assert actual == shapes
    assert not {"BatchNormalization", "GridSample"} & {node.op_type for node in model.graph.node}
    # Nothing of the machine that exported it.
    assert str(REPOSITORY).encode() not in path.read_bytes()
    assert exported.weights is not None
    assert {p.key: p.value for p in model.metadata_props} == {
        "model": "tiny",
        "weights": exported.weights.sha256,
        "cameras": "cam_front cam_back",
    }


def test_the_image_graph_begins_with_a_cast_of_uint8(exported: ModelCard) -> None:
    model = onnx.load(exported.file.parent / "image.onnx")
    (reader,) = [node for node in model.graph.node if "images" in node.input]
    assert reader.op_type == "Cast"
    assert model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8


@pytest.mark.parametrize("file", ["image", "bev"])
def test_the_half_graph_takes_and_gives_what_the_single_one_does_with_half_the_weights(
    exported: ModelCard, file: str
) -> None:
    single, half = (
        onnx.load(exported.file.parent / f"{file}{kind}.onnx") for kind in ("", ".fp16")
    )
    for values, others in (
        (single.graph.input, half.graph.input),
        (single.graph.output, half.graph.output),
    ):
        assert [v.type for v in values] == [v.type for v in others]
    assert half.ByteSize() < 0.6 * single.ByteSize()
    nodes = {name: node for node in half.graph.node for name in node.output}
    types = {tensor.name: tensor.data_type for tensor in half.graph.initializer}
    for node in half.graph.node:
        if node.op_type in ("Conv", "MatMul") and node.input[1] in types:  # a product with weights
            is_offset = "offset" in node.input[1] or types[node.input[1]] == onnx.TensorProto.FLOAT
            assert is_offset or types[node.input[1]] == onnx.TensorProto.FLOAT16
        if node.op_type in ("Softmax", "Floor"):
            assert nodes[node.input[0]].op_type != "Conv"  # a cast stands between


def test_onnxruntime_in_half_precision_is_near_torch_and_finds_its_boxes(
    exported: ModelCard,
) -> None:
    variant = exported.in_precision("fp16")
    golden = load_golden(variant)
    assert golden is not None
    backend = OnnxRuntimeBackend(variant)
    result = run_self_test(variant, golden, backend)
    assert TOLERANCE < result.max_error < 0.03  # half precision, and no more than it costs
    assert result.box_count > 5


def test_onnxruntime_equals_torch_on_the_golden_input(exported: ModelCard, both) -> None:
    golden = load_golden(exported)
    assert golden is not None
    assert len(golden.boxes) > 10
    tables = exported.pooling_tables(golden.bev_from_cam, golden.input_from_cam)
    expected, actual = (backend.infer(golden.images, tables) for backend in both)
    error, name = max_map_error(expected, actual)
    assert error < TOLERANCE, name
    # Images and geometry matter: other pixels give other maps.
    other = both[1].infer(255 - golden.images, tables)
    assert max_map_error(expected, other)[0] > 100 * TOLERANCE


def test_onnxruntime_finds_the_boxes_of_torch_on_a_real_frame(exported: ModelCard, both) -> None:
    reader = pytest.importorskip("simdistill_ros.replay.nuscenes_reader")
    root = Path(os.environ.get("NUSCENES_DATAROOT", REPOSITORY.parent / "shared/real/nuscenes"))
    if not (root / "v1.0-mini").is_dir():
        pytest.skip(f"no nuScenes frames at {root}; set NUSCENES_DATAROOT")
    nusc = reader.load_nuscenes(root, "v1.0-mini")
    sample = reader.samples_of_scene(nusc, "scene-0916")[10]
    snapshot = reader.snapshot_of_sample(nusc, sample.token, exported.cameras)

    expected, actual = (Detector(exported, backend).detect(snapshot) for backend in both)

    assert len(expected) > 10
    assert len(actual) == len(expected)
    np.testing.assert_array_equal(actual.labels, expected.labels)
    for field in ("centers_m", "sizes_lwh_m", "velocities_mps", "scores"):
        np.testing.assert_allclose(
            getattr(actual, field), getattr(expected, field), rtol=TOLERANCE, atol=TOLERANCE
        )
    image = exported.image
    rule = InputRule(image.input_hw, image.resized_width_px, image.resize_kernel)
    network_input = Preprocessor(rule, exported.cameras)(snapshot)
    tables = Detector(exported, both[0]).tables_of(network_input)
    error, name = max_map_error(*(backend.infer(network_input.images, tables) for backend in both))
    assert error < TOLERANCE, name


def test_auto_takes_onnxruntime_on_the_cpu_and_says_why(exported: ModelCard) -> None:
    choice = choose_backend(exported)
    assert isinstance(choice.backend, OnnxRuntimeBackend)
    assert choice.reason.startswith("onnxruntime ")
    assert "self-test: error" in choice.reason
    assert choice.refused == ()


def test_onnxruntime_serves_without_reading_the_weights_that_stand_in_its_graphs(
    copy: ModelCard,
) -> None:
    (copy.file.parent / "weights.safetensors").unlink()
    choice = choose_backend(copy)
    assert isinstance(choice.backend, OnnxRuntimeBackend)
    assert choice.refused == ()


@pytest.mark.parametrize("file", ["image.onnx", "bev.onnx"])
def test_a_flipped_byte_in_a_graph_is_refused_by_name_and_torch_serves(
    copy: ModelCard, file: str
) -> None:
    flip_a_byte(copy.file.parent / file)
    choice = choose_backend(copy)
    assert isinstance(choice.backend, TorchBackend)
    (refusal,) = choice.refused
    assert refusal.startswith("onnxruntime: ")
    assert f"onnx.{file.removesuffix('.onnx')}.sha256" in refusal
    assert file in refusal


def test_a_flipped_byte_in_the_weights_is_refused_by_name(copy: ModelCard) -> None:
    flip_a_byte(copy.file.parent / "weights.safetensors")
    with pytest.raises(BackendError, match=r"torch: .*weights\.sha256.*weights\.safetensors"):
        choose_backend(copy, "torch")
    with pytest.raises(ModelCardError, match=r"weights\.sha256"):
        export_package(copy.file.parent, copy.file.parent)


def test_graphs_of_another_model_are_refused(copy: ModelCard) -> None:
    lift = copy.lift.model_copy(update={"context_channels": 48})
    other = copy.model_copy(update={"lift": lift})
    other._file = copy.file
    with pytest.raises(ModelCardError, match=r"onnx\.image: expected .*48.*image\.onnx, got .*32"):
        OnnxRuntimeBackend(other)


def test_exporting_again_gives_the_same_graphs_and_keeps_the_weights(copy: ModelCard) -> None:
    again, _ = export_package(copy.file.parent, copy.file.parent)
    assert (again.onnx, again.onnx_fp16) == (copy.onnx, copy.onnx_fp16)
    assert again.weights == copy.weights
    assert sorted(path.name for path in again.file.parent.iterdir()) == [
        "bev.fp16.onnx", "bev.onnx", "golden.safetensors", "image.fp16.onnx", "image.onnx",
        "model.yaml", "weights.safetensors",
    ]  # fmt: skip


def test_a_tolerance_that_onnxruntime_misses_ends_with_a_message_and_no_package(
    plain: ModelCard, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["export", str(plain.file.parent), str(tmp_path), "--tolerance", "1e-12"]
    assert main(arguments) == 2
    message = "ONNX Runtime does not run the exported model in fp32: self-test"
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
