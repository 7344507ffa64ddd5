# SPDX-License-Identifier: Apache-2.0
"""Choose backend and precision: the best that run here and give the model package's numbers.

An 8-bit variant of a package was written only because its scores were good enough, so `auto` takes
it first where 8 bits are fast: on the CPU. On CUDA it takes half precision first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

from simdistill_ros.core.backends.base import Backend, BackendError
from simdistill_ros.core.golden import Golden, load_golden, run_self_test
from simdistill_ros.core.model_card import ModelCard, ModelCardError
from simdistill_ros.core.model_card_deployment import Precision

AUTO = "auto"
FP32: Precision = "fp32"
FP16: Precision = "fp16"
INT8: Precision = "int8"
PRECISIONS = (AUTO, FP32, FP16, INT8)
FLOAT_ONLY = ("torch",)  # backends that know the weights, not the package's graphs
NEED_GRAPHS = ("onnxruntime", "tensorrt")  # backends that know the graphs, not the weights
Factory = Callable[[ModelCard, str], Backend]


@dataclass(frozen=True)
class Choice:
    """The backend that serves.

    Attributes:
        backend: Ready to run.
        reason: Which one it is and why, for people.
        refused: Why each better one was refused.
    """

    backend: Backend
    reason: str
    refused: tuple[str, ...]


def choose_backend(
    card: ModelCard,
    name: str = AUTO,
    device: str = "cpu",
    *,
    precision: str = AUTO,
    engine_folder: Path | None = None,
    factories: Mapping[str, Factory] | None = None,
) -> Choice:
    """Return the backend that a name and a precision stand for.

    Args:
        card: The model.
        name: `auto` for the best that passes its self-test, or the only one to try.
        device: `cpu`, `cuda`, or `auto` for CUDA where there is one.
        precision: `fp32`, `fp16`, `int8`, or `auto` for the fastest that the package has.
        engine_folder: Where TensorRT's engines are kept; None: the user's cache folder.
        factories: Backends by name, the best first; None: those of this package.

    Raises:
        ValueError: If there is no backend or precision of that name.
        ModelCardError: If the golden example cannot be used.
        BackendError: If none passes; the message says why each was refused.
    """
    device = _resolved(device)
    candidates = dict(factories) if factories is not None else backends(device, engine_folder)
    if name == "tensorrt" and name not in candidates:
        raise ValueError(f"backend tensorrt: needs device cuda, got {device}")
    if name != AUTO and name not in candidates:
        raise ValueError(f"backend: expected {AUTO}, {', '.join(candidates)}; got {name!r}")
    if precision not in PRECISIONS:
        raise ValueError(f"precision: expected {', '.join(PRECISIONS)}; got {precision!r}")
    if precision == INT8 and name in FLOAT_ONLY:
        raise ValueError(f"backend {name}: has no int8; set precision to fp32 or backend to auto")
    refused: list[str] = []
    for level in _levels(card, name, device, precision):
        wanted = {
            candidate: factory
            for candidate, factory in candidates.items()
            if candidate == name or (name == AUTO and not _is_left_out(candidate, card, level))
        }
        choice = _best_of(wanted, card, device, level, refused)
        if choice is not None:
            return choice
    raise BackendError(f"no backend can run model {card.name}: " + "; ".join(refused))


def backends(device: str, engine_folder: Path | None = None) -> dict[str, Factory]:
    """Return the backends of this package, the fastest on `cpu` or `cuda` first."""
    known: dict[str, Factory] = {
        "onnxruntime": _onnxruntime,
        "tensorrt": partial(_tensorrt, engine_folder=engine_folder),
        "torch": _torch,
    }
    order = {"cpu": ("onnxruntime", "torch"), "cuda": ("tensorrt", "torch", "onnxruntime")}
    return {name: known[name] for name in order[device]}


def _levels(card: ModelCard, name: str, device: str, precision: str) -> tuple[Precision, ...]:
    if precision != AUTO:
        return (cast(Precision, precision),)
    if device == "cuda" and card.onnx_fp16 is not None:
        return (FP16, FP32)
    is_for_cpu = card.int8 is not None and card.int8.activations == "uint8"
    is_fast_in_int8 = is_for_cpu and device == "cpu" and name not in FLOAT_ONLY
    return (INT8, FP32) if is_fast_in_int8 else (FP32,)


def _is_left_out(name: str, card: ModelCard, level: Precision) -> bool:
    """Tell whether `auto` passes a backend by, because the package has nothing for it."""
    if level == INT8:
        return name in FLOAT_ONLY
    return name in NEED_GRAPHS and card.onnx is None


def _best_of(
    wanted: Mapping[str, Factory],
    card: ModelCard,
    device: str,
    level: Precision,
    refused: list[str],
) -> Choice | None:
    """Return the first backend that passes at a precision; adds why the others do not."""
    try:
        variant = card.in_precision(level)
        golden = load_golden(variant)
    except ModelCardError as error:
        if level == FP32:
            raise
        refused.append(f"{level}: {error}")
        return None
    for name, factory in wanted.items():
        try:
            backend, proof = _proven(factory, variant, device, golden)
        except Exception as error:
            label = name if level == FP32 else f"{name} {level}"
            refused.append(f"{label}: {_message(error)}")
            continue
        words = backend.description if level == FP32 else f"{backend.description} {level}"
        return Choice(backend, f"{words}, {proof}", tuple(refused))
    return None


def _proven(
    factory: Factory, card: ModelCard, device: str, golden: Golden | None
) -> tuple[Backend, str]:
    backend = factory(card, device)
    if golden is None:
        return backend, "not self-tested: the model package has no golden example"
    try:
        return backend, str(run_self_test(card, golden, backend))
    except Exception:
        backend.close()
        raise


def _message(error: Exception) -> str:
    is_ours = isinstance(error, BackendError | ValueError | OSError)
    return str(error) if is_ours else f"{type(error).__name__}: {error}"


def _resolved(device: str) -> str:
    if device != AUTO:
        return device
    from simdistill_ros.core.backends.torch_backend import resolve_device

    return resolve_device(AUTO).type


def _torch(card: ModelCard, device: str) -> Backend:
    from simdistill_ros.core.backends.torch_backend import TorchBackend, TorchFrameBackend

    if device == "cuda":
        return TorchFrameBackend(card, device, card.precision)
    if card.precision != FP32:
        raise BackendError(f"torch on the CPU runs fp32 only, got {card.precision}")
    return TorchBackend(card, device)


def _onnxruntime(card: ModelCard, device: str) -> Backend:
    from simdistill_ros.core.backends.onnxruntime_backend import OnnxRuntimeBackend

    return OnnxRuntimeBackend(card, device)


def _tensorrt(card: ModelCard, device: str, engine_folder: Path | None) -> Backend:
    from simdistill_ros.core.backends.tensorrt_backend import TensorRtBackend

    return TensorRtBackend(card, device, engine_folder)
