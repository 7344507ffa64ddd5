# SPDX-License-Identifier: Apache-2.0
"""Choose backend and precision: the best that run here and give the model package's numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from simdistill_ros.core.backends.base import Backend, BackendError, BackendOptions
from simdistill_ros.core.golden import Golden, load_golden, run_self_test
from simdistill_ros.core.model_card import ModelCard, ModelCardError
from simdistill_ros.core.model_card_deployment import Precision

AUTO = "auto"
NEEDS_GRAPHS = ("onnxruntime",)  # the others build the network from the weights
Factory = Callable[[ModelCard, BackendOptions], Backend]


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
    options: BackendOptions | None = None,
    *,
    factories: Mapping[str, Factory] | None = None,
) -> Choice:
    """Return the backend that a name and a precision stand for.

    Args:
        card: The model.
        name: `auto` for the best that passes its self-test, or the only one to try.
        options: Device and more; None: the CPU. The device may be `auto`: CUDA where there is one.
        factories: Backends by name, the best first; None: those of this package.

    Raises:
        ValueError: If there is no backend of that name.
        ModelCardError: If the golden example cannot be used.
        BackendError: If none passes; the message says why each was refused.
    """
    options = options or BackendOptions()
    options = replace(options, device=_resolved(options.device))
    candidates = dict(factories) if factories is not None else backends(options.device)
    if name != AUTO and name not in candidates:
        raise ValueError(f"backend: expected {AUTO}, {', '.join(candidates)}; got {name!r}")
    if name != AUTO:
        candidates = {name: candidates[name]}
    elif card.onnx is None:  # nothing is wrong: the package was not exported
        candidates = {key: made for key, made in candidates.items() if key not in NEEDS_GRAPHS}
    refused: list[str] = []
    for precision in _precisions(card, options):
        wanted = replace(options, precision=precision)
        choice = _first_that_passes(candidates, card, wanted, refused)
        if choice is not None:
            return choice
    raise BackendError(f"no backend can run model {card.name}: " + "; ".join(refused))


def backends(device: str) -> dict[str, Factory]:
    """Return the backends of this package, the fastest on `cpu` or `cuda` first."""
    known: dict[str, Factory] = {"onnxruntime": _onnxruntime, "torch": _torch}
    order = ("onnxruntime", "torch") if device == "cpu" else ("torch", "onnxruntime")
    return {name: known[name] for name in order}


def _precisions(card: ModelCard, options: BackendOptions) -> tuple[Precision, ...]:
    if options.precision is not None:
        return (options.precision,)
    is_fast_in_half = options.device == "cuda" and card.onnx_fp16 is not None
    return ("fp16", "fp32") if is_fast_in_half else ("fp32",)


def _first_that_passes(
    candidates: Mapping[str, Factory],
    card: ModelCard,
    options: BackendOptions,
    refused: list[str],
) -> Choice | None:
    """Return the first backend that passes in the options' precision; adds why others do not."""
    assert options.precision is not None
    is_single = options.precision == "fp32"
    try:
        variant = card.in_precision(options.precision)
        golden = load_golden(variant)
    except ModelCardError as error:
        if is_single:
            raise
        refused.append(f"{options.precision}: {error}")
        return None
    for name, factory in candidates.items():
        label = name if is_single else f"{name} {options.precision}"
        try:
            backend, proof = _proven(factory, variant, options, golden)
        except Exception as error:
            refused.append(f"{label}: {_message(error)}")
            continue
        what = backend.description if is_single else f"{backend.description} {options.precision}"
        return Choice(backend, f"{what}, {proof}", tuple(refused))
    return None


def _proven(
    factory: Factory, card: ModelCard, options: BackendOptions, golden: Golden | None
) -> tuple[Backend, str]:
    backend = factory(card, options)
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


def _torch(card: ModelCard, options: BackendOptions) -> Backend:
    from simdistill_ros.core.backends.torch_backend import TorchBackend

    if options.precision != "fp32":
        raise BackendError(f"precision: expected fp32, got {options.precision}")
    return TorchBackend(card, options.device)


def _onnxruntime(card: ModelCard, options: BackendOptions) -> Backend:
    from simdistill_ros.core.backends.onnxruntime_backend import OnnxRuntimeBackend

    return OnnxRuntimeBackend(card, options.device)
