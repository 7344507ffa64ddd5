# SPDX-License-Identifier: Apache-2.0
"""The large models' graphs go through a real TensorRT-family builder, without a GPU.

`test_export_for_tensorrt.py` takes tiny's the whole way.

TensorRT-RTX builds ahead of time for a GPU that is not there. What it builds cannot be run here.
"""

from __future__ import annotations

import logging
import platform
import sys
from pathlib import Path

import pytest
from onnx_models import model_of

from simdistill_ros.core.backends.base import BackendError
from simdistill_ros.core.backends.engine_cache import EngineCache, EngineKey
from simdistill_ros.core.backends.tensorrt_library import (
    FLAGS,
    TensorRt,
    build_plan,
    import_tensorrt,
    logger_of,
)
from simdistill_ros.core.model_card import load_model_card
from simdistill_training.onnx_graphs import write_graphs, write_half_graph
from simdistill_training.onnx_lint import lint_graph

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
from onnx import helper  # noqa: E402

MODELS = Path(__file__).resolve().parents[2] / "models"
CAPABILITY = "8.9"


@pytest.fixture(scope="session")
def library() -> TensorRt:
    """The installed builder, which must be there where the requirements have one."""
    try:
        return import_tensorrt()
    except BackendError as error:
        if sys.platform == "linux" and platform.machine() == "x86_64":
            pytest.fail(f"make setup installs TensorRT-RTX here, but {error}")
        pytest.skip(f"no TensorRT for {platform.machine()}: {error}")


@pytest.mark.timeout(900)
@pytest.mark.parametrize("model", ["r50-256x704", "swint-256x704"])
def test_the_graphs_parse_and_build_in_single_and_in_half_precision(
    library: TensorRt, model: str, tmp_path: Path
) -> None:
    card = load_model_card(MODELS / model)
    singles = [tmp_path / "image.onnx", tmp_path / "bev.onnx"]
    write_graphs(card, *singles)
    for single in singles:
        half = single.with_suffix(".fp16.onnx")
        write_half_graph(single, half)
        sizes = []
        for file in (single, half):
            graph = file.read_bytes()
            loaded = onnx.load_model_from_string(graph)
            onnx.checker.check_model(loaded, full_check=True)
            assert lint_graph(loaded) == []
            plan = build_plan(library, graph, name=file.name, compute_capability=CAPABILITY)
            sizes.append(len(plan))
        assert sizes[1] < 0.8 * sizes[0]  # half the weights: it is strongly typed


@pytest.fixture
def small(library: TensorRt) -> bytes:
    """A graph that is built in no time."""
    weights = {"w": [[1.0, 2.0], [3.0, 4.0]]}
    return bytes(
        model_of(
            helper.make_node("MatMul", ["x", "w"], ["y"]), shape=(1, 2), weights=weights
        ).SerializeToString()
    )


def test_a_real_engine_survives_the_cache_and_a_flipped_byte_in_it_does_not(
    library: TensorRt, small: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    built: list[bytes] = []

    def build() -> bytes:
        built.append(build_plan(library, small, name="small", compute_capability=CAPABILITY))
        return built[-1]

    key = EngineKey("0" * 64, library.flavour, library.version, "any", CAPABILITY, "fp32", FLAGS)
    assert EngineCache(tmp_path).engine("small", key, build) == built[0]
    assert EngineCache(tmp_path).engine("small", key, build) == built[0]
    assert len(built) == 1
    (file,) = tmp_path.glob("*.engine")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert EngineCache(tmp_path).engine("small", key, build) == built[1]
    assert "is refused: its sha256" in caplog.text


def test_a_graph_that_the_builder_does_not_take_is_named_with_its_reason(
    library: TensorRt, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(BackendError, match=r"image\.onnx: tensorrt.* does not take the graph: .*"):
        build_plan(library, b"no graph", name="image.onnx", compute_capability=CAPABILITY)
    custom = model_of(helper.make_node("NonZero", ["x"], ["y"]), shape=(1, 2)).SerializeToString()
    with pytest.raises(BackendError, match=r"x\.onnx: tensorrt.* does not (take|build) the graph"):
        build_plan(library, custom, name="x.onnx", compute_capability=CAPABILITY)
    assert {record.levelno for record in caplog.records} >= {logging.ERROR}


def test_a_gpu_that_the_builder_does_not_know_is_named_with_what_to_install(
    library: TensorRt, small: bytes
) -> None:
    if library.flavour != "tensorrt_rtx":
        pytest.skip("TensorRT builds for the GPU at hand only")
    with pytest.raises(BackendError, match=r"builds for SM75, .*, got SM87; .*pip install tensorr"):
        build_plan(library, small, name="small", compute_capability="8.7")


def test_without_a_driver_the_runtime_says_why_it_loads_nothing(
    library: TensorRt, small: bytes
) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    messages = logger_of(library)
    plan = build_plan(library, small, name="small", compute_capability=CAPABILITY)
    assert library.module.Runtime(messages).deserialize_cuda_engine(plan) is None
    assert "driver" in messages.last_error
