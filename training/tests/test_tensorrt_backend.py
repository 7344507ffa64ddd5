# SPDX-License-Identifier: Apache-2.0
"""The TensorRT backend around a stand-in for the library: wiring, cache, faults and fallbacks."""

from __future__ import annotations

import contextlib
import logging
import shutil
import sys
import types
from pathlib import Path

import pytest
import torch
from fake_tensorrt import FAULTS, MAGIC, Builder, fake_module

from simdistill_ros import build_engines
from simdistill_ros.core.backends import tensorrt_backend, tensorrt_engine
from simdistill_ros.core.backends.base import BackendError
from simdistill_ros.core.backends.choose import choose_backend
from simdistill_ros.core.backends.tensorrt_backend import TensorRtBackend
from simdistill_ros.core.backends.tensorrt_library import import_tensorrt
from simdistill_ros.core.backends.torch_backend import TorchBackend
from simdistill_ros.core.golden import load_golden
from simdistill_ros.core.model_card import ModelCard, ModelCardError, load_model_card
from simdistill_ros.core.onnx_interface import GraphInterface, image_interface


class CpuStream:
    """In place of a CUDA stream: work is done when it is given."""

    cuda_stream = 0


@pytest.fixture(autouse=True)
def _gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make torch name a GPU whose memory is the host's."""
    monkeypatch.setattr(tensorrt_engine, "DEVICE", "cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Orin")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 7))
    monkeypatch.setattr(torch.cuda, "Stream", CpuStream)
    monkeypatch.setattr(torch.cuda, "stream", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)


@pytest.fixture(autouse=True)
def library(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    return install(monkeypatch, fake_module())


def install(monkeypatch: pytest.MonkeyPatch, module: types.ModuleType) -> types.ModuleType:
    for name in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, name, module if name == module.__name__ else None)
    Builder.plans_built = 0
    return module


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "engines"


def cpu_torch(card: ModelCard, device: str) -> TorchBackend:
    return TorchBackend(card)


def tensorrt_then_torch(folder: Path):
    """The order on CUDA, with torch on the CPU because there is no GPU."""
    return {"tensorrt": lambda c, d: TensorRtBackend(c, d, folder), "torch": cpu_torch}


@pytest.mark.parametrize("flavour", ["tensorrt", "tensorrt_rtx"])
def test_auto_on_cuda_serves_with_tensorrt_in_half_precision_and_the_self_test_passes(
    exported: ModelCard, folder: Path, monkeypatch: pytest.MonkeyPatch, flavour: str
) -> None:
    install(monkeypatch, fake_module(flavour))
    choice = choose_backend(exported, device="cuda", engine_folder=folder)
    assert choice.reason.startswith(f"{flavour} 10.9.0.34 on Orin fp16, self-test: error ")
    assert choice.refused == ()
    names = sorted(path.name.rsplit("-", 1)[0] for path in folder.glob("*.engine"))
    assert names == ["tiny-bev-fp16", "tiny-image-fp16"]


def test_single_precision_gives_the_numbers_of_torch_again_and_again(
    exported: ModelCard, folder: Path
) -> None:
    choice = choose_backend(exported, "tensorrt", "cuda", precision="fp32", engine_folder=folder)
    golden = load_golden(exported)
    assert golden is not None
    tables = exported.pooling_tables(golden.bev_from_cam, golden.input_from_cam)
    first = choice.backend.infer(golden.images, tables)
    other = choice.backend.infer(255 - golden.images, tables)
    again = choice.backend.infer(golden.images, tables)
    for task, changed, repeated in zip(first, other, again, strict=True):
        for name, values in task.items():
            assert (values == repeated[name]).all(), name
            assert (values != changed[name]).any(), name  # earlier answers are not overwritten
    choice.backend.close()


def test_engines_are_built_once_and_again_when_the_library_changes(
    exported: ModelCard,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for _ in range(2):
        TensorRtBackend(exported, "cuda", folder).close()
    assert Builder.plans_built == 2
    install(monkeypatch, fake_module(version="10.11.0"))
    with caplog.at_level(logging.WARNING):
        TensorRtBackend(exported, "cuda", folder).close()
    assert Builder.plans_built == 2
    assert "version was 10.9.0.34, is 10.11.0" in caplog.text


def test_the_command_builds_what_the_node_then_finds(
    exported: ModelCard, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--model", str(exported.file.parent), "--engine-folder", str(folder)]
    assert build_engines.main(arguments) == 0
    assert Builder.plans_built == 2
    printed = capsys.readouterr().out
    assert "tiny image fp16: " in printed
    assert f"engines: {folder}" in printed
    choose_backend(exported, device="cuda", engine_folder=folder).backend.close()
    assert Builder.plans_built == 2


def test_a_flipped_byte_in_an_engine_never_reaches_the_runtime(
    exported: ModelCard, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    TensorRtBackend(exported, "cuda", folder).close()
    for file in folder.glob("*.engine"):
        file.write_bytes(b"x" + file.read_bytes()[1:])
        assert not file.read_bytes().startswith(MAGIC)
    TensorRtBackend(exported, "cuda", folder).close()  # the stand-in asserts what it is given
    assert Builder.plans_built == 4
    assert caplog.text.count("is refused: its sha256") == 2


def test_a_flipped_byte_in_a_graph_is_refused_by_name_before_anything_is_built(
    exported: ModelCard, folder: Path, tmp_path: Path
) -> None:
    copy = load_model_card(shutil.copytree(exported.file.parent, tmp_path / "copy"))
    graph = copy.file.parent / "image.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"x")
    with pytest.raises(ModelCardError, match=r"onnx\.image\.sha256: .*image\.onnx"):
        TensorRtBackend(copy, "cuda", folder)
    assert Builder.plans_built == 0


def test_without_the_library_torch_serves_and_the_message_says_how_to_get_it(
    exported: ModelCard, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, name, None)
    choice = choose_backend(exported, factories=tensorrt_then_torch(folder))
    assert isinstance(choice.backend, TorchBackend)
    monkeypatch.setattr(tensorrt_backend, "EngineCache", None)  # not even looked for
    with pytest.raises(
        BackendError,
        match=r"packages tensorrt and tensorrt_rtx are missing: pip install tensorrt .*rtx-cu13",
    ):
        TensorRtBackend(exported, "cuda", folder)


def test_a_library_that_is_too_old_is_named(
    exported: ModelCard, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, fake_module(version="8.6.1"))
    with pytest.raises(BackendError, match=r"expected TensorRT 10 or newer, got 8\.6\.1"):
        TensorRtBackend(exported, "cuda", folder)


def test_without_a_gpu_the_message_says_what_to_do(
    exported: ModelCard, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BackendError, match=r"sees no CUDA device.*set device to cpu"):
        TensorRtBackend(exported, "cuda", folder)


def test_an_engine_with_another_interface_is_refused_with_both(
    exported: ModelCard, library: types.ModuleType
) -> None:
    graph = (exported.file.parent / "image.onnx").read_bytes()
    found = import_tensorrt()
    assert found.module is library
    expected = image_interface(exported)
    other = GraphInterface(expected.inputs, {**expected.outputs, "depth_lidar": (1, 2, 3, 4)})
    with pytest.raises(BackendError, match=r"image: expected .*\(1, 2, 3, 4\), 'FLOAT'.*, got "):
        tensorrt_engine.Engine(found, MAGIC + graph, other, name="image")


def test_graphs_that_take_the_cameras_in_parts_are_refused_as_made_for_cpus(
    exported: ModelCard, folder: Path
) -> None:
    assert exported.onnx is not None
    parts = exported.onnx.model_copy(update={"cameras_per_run": 1})
    card = exported.model_copy(update={"onnx": parts})
    with pytest.raises(BackendError, match=r"made for CPUs: run `simdistill quantize --for"):
        TensorRtBackend(card, "cuda", folder)


def test_a_package_that_was_not_exported_says_how_to(plain: ModelCard, folder: Path) -> None:
    with pytest.raises(BackendError, match="no ONNX files: make them with `simdistill export`"):
        TensorRtBackend(plain, "cuda", folder)


def on_cuda(card: ModelCard, folder: Path):
    """Choose among TensorRT and torch as on CUDA."""
    return choose_backend(card, device="cuda", factories=tensorrt_then_torch(folder))


def test_a_gpu_without_memory_for_the_engine_is_named_and_the_next_backend_serves(
    exported: ModelCard, folder: Path
) -> None:
    FAULTS.add(b"no memory")
    choice = on_cuda(exported, folder)
    assert isinstance(choice.backend, TorchBackend)
    assert any("image graph: the engine does not load: Cuda Runtime (out of memory)" in refusal
               for refusal in choice.refused)  # fmt: skip


def test_a_gpu_without_memory_for_the_tensors_is_named_and_the_next_backend_serves(
    exported: ModelCard, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorrt_engine, "_views_of_one", out_of_memory)
    choice = on_cuda(exported, folder)
    assert isinstance(choice.backend, TorchBackend)
    assert choice.refused[0].startswith("tensorrt fp16: the GPU's memory is full while model tiny")
    assert "set device to cpu" in choice.refused[0]


def test_running_out_of_memory_costs_one_snapshot_and_says_so(
    exported: ModelCard, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = TensorRtBackend(exported, "cuda", folder)
    golden = load_golden(exported)
    assert golden is not None
    tables = exported.pooling_tables(golden.bev_from_cam, golden.input_from_cam)
    with monkeypatch.context() as patch:
        patch.setattr(tensorrt_backend, "pool_two_bevs", out_of_memory)
        with pytest.raises(BackendError, match=r"memory is full.*tried to allocate 2 GiB"):
            backend.infer(golden.images, tables)
    FAULTS.add(b"refuses")
    with pytest.raises(BackendError, match="image graph: the engine does not run"):
        backend.infer(golden.images, tables)
    FAULTS.clear()
    assert len(backend.infer(golden.images, tables)) == len(exported.tasks)


def out_of_memory(*_: object) -> None:
    raise torch.OutOfMemoryError("tried to allocate 2 GiB")
