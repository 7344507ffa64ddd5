# SPDX-License-Identifier: Apache-2.0
"""Which backend serves, and why the others do not."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch

from simdistill_ros.core.backends.base import Backend, BackendError, HeadMaps
from simdistill_ros.core.backends.choose import backends, choose_backend
from simdistill_ros.core.backends.torch_backend import TorchBackend
from simdistill_ros.core.golden import load_golden
from simdistill_ros.core.lift_geometry import PoolingTables
from simdistill_ros.core.model_card import ModelCard, ModelCardError
from simdistill_ros.core.model_card_deployment import (
    CalibrationCard,
    Int8Card,
    OnnxCard,
    OnnxFileCard,
    QuantisedScoresCard,
)

Change = Callable[[HeadMaps], None]


class Altered:
    """The torch backend with a change in its answer."""

    def __init__(self, card: ModelCard, change: Change) -> None:
        self._torch, self._change = TorchBackend(card), change
        self.description = "altered"
        self.closed = False

    def infer(self, images: np.ndarray, tables: PoolingTables) -> HeadMaps:
        maps = self._torch.infer(images, tables)
        self._change(maps)
        return maps

    def close(self) -> None:
        self.closed = True


def torch_factory(card: ModelCard, device: str) -> Backend:
    return TorchBackend(card, device)


def altered_then_torch(change: Change, made: list[Altered] | None = None):
    def factory(card: ModelCard, device: str) -> Backend:
        backend = Altered(card, change)
        if made is not None:
            made.append(backend)
        return backend

    return {"altered": factory, "torch": torch_factory}


def shift_heatmap(maps: HeadMaps) -> None:
    maps[1]["heatmap"][0, 3, 4] += 0.05


def spoil(maps: HeadMaps) -> None:
    maps[0]["vel"][0, 0, 0] = np.nan


def drop_a_map(maps: HeadMaps) -> None:
    del maps[2]["rot"]


def crash(maps: HeadMaps) -> None:
    raise MemoryError("out of device memory")


def fill_the_device(maps: HeadMaps) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")


def test_the_package_has_boxes_to_lose(package: ModelCard) -> None:
    golden = load_golden(package)
    assert golden is not None
    assert len(golden.boxes) > 5


def test_the_first_backend_that_gives_the_packages_numbers_serves(package: ModelCard) -> None:
    choice = choose_backend(package, factories=altered_then_torch(lambda maps: None))
    assert choice.reason.startswith("altered, self-test: error ")
    assert "boxes found again" in choice.reason
    assert choice.refused == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (shift_heatmap, r"task1_heatmap differs by 0\.0\d+.*expected at most 0\.0001"),
        (spoil, "task0_vel differs by inf"),
        (drop_a_map, "task2_rot differs by inf"),
        (crash, "MemoryError: out of device memory"),
        (fill_the_device, r"OutOfMemoryError: CUDA out of memory\. Tried to allocate 2 GiB"),
    ],
)
def test_a_backend_that_fails_its_self_test_is_refused_by_name_and_the_next_one_serves(
    package: ModelCard, change: Change, message: str
) -> None:
    made: list[Altered] = []
    choice = choose_backend(package, factories=altered_then_torch(change, made))
    assert isinstance(choice.backend, TorchBackend)
    assert choice.reason.startswith("torch ")
    (refusal,) = choice.refused
    assert refusal.startswith("altered: ")
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(refusal)
    assert made[0].closed


def test_boxes_that_are_lost_refuse_a_backend_whose_maps_are_within_the_tolerance(
    package: ModelCard,
) -> None:
    assert package.golden is not None
    generous = package.golden.model_copy(update={"tolerance": 0.9})
    card = package.model_copy(update={"golden": generous})

    def hide_everything(maps: HeadMaps) -> None:
        for task in maps:
            task["heatmap"] -= 0.2 * np.abs(task["heatmap"]).max()

    choice = choose_backend(card, factories=altered_then_torch(hide_everything))
    assert "best boxes of the model package are lost" in choice.refused[0]


def test_a_backend_asked_for_by_name_is_not_replaced(package: ModelCard) -> None:
    factories = altered_then_torch(shift_heatmap)
    with pytest.raises(BackendError, match=r"no backend can run model tiny: altered: self-test"):
        choose_backend(package, "altered", factories=factories)
    assert choose_backend(package, "torch", factories=factories).refused == ()


def test_when_nothing_passes_every_reason_is_named(package: ModelCard) -> None:
    assert package.weights is not None
    weights = package.file.parent / package.weights.file
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)

    def missing(card: ModelCard, device: str) -> Backend:
        raise BackendError("the Python package fast is missing: pip install fast")

    with pytest.raises(BackendError) as error:
        choose_backend(package, factories={"fast": missing, "torch": torch_factory})
    assert "fast: the Python package fast is missing: pip install fast" in str(error.value)
    assert "torch: " in str(error.value)
    assert "weights.sha256: expected" in str(error.value)


def test_a_flipped_byte_in_the_golden_file_is_refused_by_name(package: ModelCard) -> None:
    golden = package.file.parent / "golden.safetensors"
    content = bytearray(golden.read_bytes())
    content[-1] ^= 1
    golden.write_bytes(content)
    with pytest.raises(ModelCardError, match=r"golden\.sha256: expected .*golden\.safetensors"):
        choose_backend(package)


def test_a_package_that_was_not_exported_is_served_by_torch_and_says_so(
    package: ModelCard,
) -> None:
    plain = package.model_copy(update={"golden": None})
    plain._file = package.file
    choice = choose_backend(plain)
    assert isinstance(choice.backend, TorchBackend)
    assert "not self-tested" in choice.reason
    assert choice.refused == ()
    with pytest.raises(BackendError, match="no ONNX files: make them with `simdistill export`"):
        choose_backend(plain, "onnxruntime")


def test_without_onnxruntime_torch_serves_and_the_message_says_how_to_get_it(
    package: ModelCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    file = OnnxFileCard(file="image.onnx", sha256="0" * 64)
    onnx = OnnxCard(image=file, bev=file, opset=20, precision="fp32")
    card = package.model_copy(update={"onnx": onnx})
    card._file = package.file
    choice = choose_backend(card)
    assert isinstance(choice.backend, TorchBackend)
    assert choice.refused == (
        "onnxruntime: the Python package onnxruntime is missing: pip install onnxruntime "
        "(for device cuda: onnxruntime-gpu)",
    )


def test_a_device_that_is_full_while_a_network_is_loaded_is_named_and_the_next_backend_serves(
    package: ModelCard,
) -> None:
    def full(card: ModelCard, device: str) -> Backend:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    choice = choose_backend(package, factories={"full": full, "torch": torch_factory})
    assert isinstance(choice.backend, TorchBackend)
    assert choice.refused == (
        "full: OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB",
    )


def test_an_unknown_backend_names_the_known_ones(package: ModelCard) -> None:
    with pytest.raises(ValueError, match=r"expected auto, onnxruntime, torch; got 'tensorflow'"):
        choose_backend(package, "tensorflow")


def test_tensorrt_comes_first_on_cuda_and_onnxruntime_on_the_cpu() -> None:
    assert list(backends("cpu")) == ["onnxruntime", "torch"]
    assert list(backends("cuda")) == ["tensorrt", "torch", "onnxruntime"]


def test_tensorrt_on_the_cpu_is_a_clear_error(package: ModelCard) -> None:
    with pytest.raises(ValueError, match="backend tensorrt: needs device cuda, got cpu"):
        choose_backend(package, "tensorrt")


def with_int8(card: ModelCard) -> ModelCard:
    """The card with an 8-bit variant whose golden example is the float one, ten times looser."""
    assert card.golden is not None
    graph = OnnxFileCard(file="image-int8.onnx", sha256="0" * 64)
    scores = QuantisedScoresCard(
        data="none", frames=1, mean_ap_float=0.5, nds_float=0.5, mean_ap=0.5, nds=0.5, max_drop=0.01
    )
    int8 = Int8Card(
        onnx=OnnxCard(image=graph, bev=graph, opset=20, precision="int8"),
        golden=card.golden.model_copy(update={"tolerance": 10 * card.golden.tolerance}),
        activations="uint8",
        weight_bits=7,
        float_nodes=3,
        calibration=CalibrationCard(data="none", frames=1),
        scores=scores,
    )
    changed = card.model_copy(update={"int8": int8})
    changed._file = card.file
    return changed


class Recalled:
    """Answers the golden example's head maps, changed."""

    description = "recalled"

    def __init__(self, card: ModelCard, change: Change) -> None:
        golden = load_golden(card)
        assert golden is not None
        self._maps = golden.head_maps
        change(self._maps)

    def infer(self, images: np.ndarray, tables: PoolingTables) -> HeadMaps:
        return self._maps

    def close(self) -> None:
        pass


def which_graphs(made: list[tuple[str, str]]):
    """Backends that note their name and the precision of the graphs they were given."""

    def named(name: str):
        def factory(card: ModelCard, device: str) -> Backend:
            made.append((name, card.onnx.precision if card.onnx else "none"))
            return Recalled(card, lambda maps: None)

        return factory

    return {"onnxruntime": named("onnxruntime"), "torch": named("torch")}


def test_auto_takes_int8_on_the_cpu_and_fp32_elsewhere_or_when_asked(package: ModelCard) -> None:
    card = with_int8(package)
    made: list[tuple[str, str]] = []
    choice = choose_backend(card, factories=which_graphs(made))
    assert made == [("onnxruntime", "int8")]
    assert " int8, self-test: error " in choice.reason
    for arguments in ({"device": "cuda"}, {"precision": "fp32"}, {"name": "torch"}):
        made.clear()
        choice = choose_backend(card, **arguments, factories=which_graphs(made))
        assert made == [("torch", "none")], arguments
        assert "int8" not in choice.reason


def test_auto_leaves_int8_graphs_that_were_made_for_tensorrt_out_on_the_cpu(
    package: ModelCard,
) -> None:
    card = with_int8(package)
    assert card.int8 is not None
    slow = card.model_copy(update={"int8": card.int8.model_copy(update={"activations": "int8"})})
    made: list[tuple[str, str]] = []
    choose_backend(slow, factories=which_graphs(made))
    assert made == [("torch", "none")]


def test_int8_graphs_that_fail_their_self_test_give_way_to_float_ones(package: ModelCard) -> None:
    def wrong_in_int8(card: ModelCard, device: str) -> Backend:
        is_int8 = card.onnx is not None and card.onnx.precision == "int8"
        return Recalled(card, shift_heatmap if is_int8 else lambda maps: None)

    choice = choose_backend(with_int8(package), factories={"altered": wrong_in_int8})
    (refusal,) = choice.refused
    assert refusal.startswith("altered int8: self-test: task1_heatmap differs by 0.0")
    assert "expected at most 0.001" in refusal
    assert choice.reason.startswith("recalled, self-test")


def test_int8_asked_for_and_not_there_is_a_clear_error(package: ModelCard) -> None:
    with pytest.raises(BackendError, match=r"expected 8-bit graphs, got none.*simdistill quantize"):
        choose_backend(package, precision="int8")
    with pytest.raises(ValueError, match="backend torch: has no int8; set precision to fp32"):
        choose_backend(package, "torch", precision="int8")
    with pytest.raises(ValueError, match=r"precision: expected auto, fp32, fp16, int8; got 'int4'"):
        choose_backend(package, precision="int4")


def with_half_graphs(package: ModelCard) -> ModelCard:
    assert package.golden is not None
    file = OnnxFileCard(file="image.onnx", sha256="0" * 64)
    graphs = OnnxCard(image=file, bev=file, opset=20, precision="fp16")
    golden = package.golden.model_copy(update={"tolerance_fp16": 0.03})
    return package.model_copy(update={"onnx_fp16": graphs, "golden": golden})


def test_on_cuda_half_precision_is_tried_first_within_its_own_tolerance(package: ModelCard) -> None:
    def shift(maps: HeadMaps) -> None:  # too much for single, little enough for half precision
        maps[1]["vel"] += 0.005 * np.abs(maps[1]["vel"]).max()

    def shifted(card: ModelCard, device: str) -> Backend:
        return Recalled(card, shift)

    card = with_half_graphs(package)
    choice = choose_backend(card, device="cuda", factories={"shifted": shifted})
    assert choice.reason.startswith("recalled fp16, self-test: error ")
    assert choice.refused == ()

    def spoiled_in_half(card: ModelCard, device: str) -> Backend:
        return Recalled(card, spoil if card.precision == "fp16" else lambda maps: None)

    choice = choose_backend(card, device="cuda", factories={"spoiled": spoiled_in_half})
    assert choice.reason.startswith("recalled, self-test: error ")
    assert choice.refused[0].startswith("spoiled fp16: self-test: task0_vel differs by inf")


def test_half_precision_that_the_package_does_not_have_is_a_clear_refusal(
    package: ModelCard,
) -> None:
    with pytest.raises(BackendError, match=r"fp16: .*onnx_fp16.*`simdistill export`"):
        choose_backend(package, precision="fp16")
