# SPDX-License-Identifier: Apache-2.0
"""TensorRT or TensorRT-RTX, whichever is installed: find it and build engines with it.

Both have the same interface as far as it is used here. Networks are strongly typed: a graph's types
are the engine's arithmetic, the builder chooses none. Building needs no torch.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from simdistill_ros.core.backends.base import BackendError

LOGGER = logging.getLogger(__name__)
OLDEST = 10
INSTALL = (
    "pip install tensorrt (Jetson: JetPack 6 or newer has it), or pip install tensorrt-rtx-cu13"
)
WORKSPACE_BYTES = 1 << 30
# TF32 would round what the graph says is single precision: geometry, softmax, norms.
FLAGS = f"strongly typed, no TF32, workspace {WORKSPACE_BYTES >> 20} MiB"


@dataclass(frozen=True)
class TensorRt:
    """The library of this machine.

    Attributes:
        module: What was imported.
        flavour: `tensorrt` or `tensorrt_rtx`.
        version: Its version.
    """

    module: Any
    flavour: str
    version: str

    @property
    def description(self) -> str:
        """Name and version, for people."""
        return f"{self.flavour} {self.version}"


def import_tensorrt() -> TensorRt:
    """Return the library, TensorRT before TensorRT-RTX.

    Raises:
        BackendError: If none is installed, it does not load, or is too old; the message names it
            and says how to install it.
    """
    failures = []
    for importer in (_tensorrt, _tensorrt_rtx):
        try:
            module = importer()
        except ImportError as error:
            if error.name not in ("tensorrt", "tensorrt_rtx"):
                failures.append(str(error))  # it is there, but something that it needs is not
            continue
        library = TensorRt(module, module.__name__, str(module.__version__))
        if library.flavour == "tensorrt" and int(library.version.split(".")[0]) < OLDEST:
            failures.append(f"expected TensorRT {OLDEST} or newer, got {library.version}")
            continue
        return library
    reason = "; ".join(failures) or "the Python packages tensorrt and tensorrt_rtx are missing"
    raise BackendError(f"{reason}: {INSTALL}")


def build_plan(library: TensorRt, onnx: bytes, *, name: str, compute_capability: str) -> bytes:
    """Return the serialised engine of an ONNX graph.

    Args:
        library: What builds it.
        onnx: The graph.
        name: Of the graph, for messages.
        compute_capability: Of the GPU that shall run it, `8.9`. TensorRT-RTX builds for any that it
            knows; TensorRT builds for the GPU at hand.

    Raises:
        BackendError: If the library refuses the graph, or does not know the GPU.
    """
    trt, messages = library.module, logger_of(library)
    builder = trt.Builder(messages)
    if builder is None:
        raise BackendError(f"{library.description} does not start: {messages.last_error}")
    typed = trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED
    network = builder.create_network(1 << int(typed))
    parser = trt.OnnxParser(network, messages)
    if not parser.parse(onnx):
        errors = "; ".join(str(parser.get_error(index)) for index in range(parser.num_errors))
        raise BackendError(f"{name}: {library.description} does not take the graph: {errors}")
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE_BYTES)
    _aim_at(config, library, compute_capability)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise BackendError(
            f"{name}: {library.description} does not build the graph: {messages.last_error}"
        )
    return bytes(plan)


def logger_of(library: TensorRt) -> Any:
    """Return a logger for the library's objects that forwards warnings and keeps the last error."""
    interface = library.module.ILogger
    severity = interface.Severity

    class Messages(interface):  # type: ignore[misc, valid-type]
        def __init__(self) -> None:
            interface.__init__(self)
            self.last_error = "it gives no reason"

        def log(self, level: Any, message: str) -> None:
            if level in (severity.INTERNAL_ERROR, severity.ERROR):
                self.last_error = message
                LOGGER.error("%s: %s", library.flavour, message)
            elif level == severity.WARNING:
                LOGGER.info("%s: %s", library.flavour, message)

    return Messages()


def _aim_at(config: Any, library: TensorRt, compute_capability: str) -> None:
    """Tell TensorRT-RTX the GPU to build for; TensorRT has no such choice."""
    known = getattr(library.module, "ComputeCapability", None)
    if known is None:
        return
    name = "SM" + compute_capability.replace(".", "")
    if name not in known.__members__:
        names = ", ".join(member for member in known.__members__ if member.startswith("SM"))
        raise BackendError(
            f"{library.description} builds for {names}, got {name}; "
            "for this GPU install TensorRT: pip install tensorrt"
        )
    config.num_compute_capabilities = 1
    config.set_compute_capability(known.__members__[name], 0)


def _tensorrt() -> Any:
    import tensorrt

    return tensorrt


def _tensorrt_rtx() -> Any:
    import tensorrt_rtx

    return tensorrt_rtx
