# SPDX-License-Identifier: Apache-2.0
"""Choose the backend: the best one that runs here and gives the model package's numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from simdistill_ros.core.backends.base import Backend, BackendError
from simdistill_ros.core.golden import Golden, load_golden, run_self_test
from simdistill_ros.core.model_card import ModelCard

AUTO = "auto"
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
    factories: Mapping[str, Factory] | None = None,
) -> Choice:
    """Return the backend that a name stands for.

    Args:
        card: The model.
        name: `auto` for the best that passes its self-test, or the only one to try.
        device: `cpu`, `cuda`, or `auto` for CUDA where there is one.
        factories: Backends by name, the best first; None: those of this package.

    Raises:
        ValueError: If there is no backend of that name.
        ModelCardError: If the golden example cannot be used.
        BackendError: If none passes; the message says why each was refused.
    """
    device = _resolved(device)
    candidates = dict(factories) if factories is not None else backends(device)
    if name != AUTO and name not in candidates:
        raise ValueError(f"backend: expected {AUTO}, {', '.join(candidates)}; got {name!r}")
    golden = load_golden(card)
    refused: list[str] = []
    for candidate in [name] if name != AUTO else candidates:
        if name == AUTO and candidate == "onnxruntime" and card.onnx is None:
            continue  # nothing is wrong: the package was not exported
        try:
            backend, proof = _proven(candidates[candidate], card, device, golden)
        except Exception as error:
            refused.append(f"{candidate}: {_message(error)}")
            continue
        return Choice(backend, f"{backend.description}, {proof}", tuple(refused))
    raise BackendError(f"no backend can run model {card.name}: " + "; ".join(refused))


def backends(device: str) -> dict[str, Factory]:
    """Return the backends of this package, the fastest on `cpu` or `cuda` first."""
    known: dict[str, Factory] = {"onnxruntime": _onnxruntime, "torch": _torch}
    order = ("onnxruntime", "torch") if device == "cpu" else ("torch", "onnxruntime")
    return {name: known[name] for name in order}


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
    from simdistill_ros.core.backends.torch_backend import TorchBackend

    return TorchBackend(card, device)


def _onnxruntime(card: ModelCard, device: str) -> Backend:
    from simdistill_ros.core.backends.onnxruntime_backend import OnnxRuntimeBackend

    return OnnxRuntimeBackend(card, device)
