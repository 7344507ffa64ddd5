# SPDX-License-Identifier: Apache-2.0
"""One engine on the GPU: torch tensors as its memory, bound to it by address."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from simdistill_ros.core.backends.base import BackendError
from simdistill_ros.core.backends.tensorrt_library import TensorRt, logger_of
from simdistill_ros.core.onnx_interface import GraphInterface, Shapes

DEVICE = "cuda"
ALIGNMENT = 64  # float32 values; TensorRT wants addresses in multiples of 256 bytes
INPUT_TYPES = {"images": torch.uint8}  # everything else is float32


class Engine:
    """Runs one graph; its inputs and outputs have fixed shapes and stay where they are."""

    def __init__(
        self, library: TensorRt, plan: bytes, interface: GraphInterface, *, name: str
    ) -> None:
        """Load a plan and give it memory.

        Args:
            library: What built it.
            plan: The engine's bytes, which must be trustworthy: they hold code.
            interface: The inputs and outputs that it must have.
            name: Of the graph, for messages.

        Raises:
            BackendError: If the library does not load it, or it has another interface.
        """
        self._name, self._messages = name, logger_of(library)
        self._runtime = library.module.Runtime(self._messages)
        self._engine = self._loaded(self._runtime.deserialize_cuda_engine(plan))
        self._check(interface, library.module.DataType)
        self._context = self._loaded(self._engine.create_execution_context())
        self.inputs = {
            name: torch.empty(shape, dtype=INPUT_TYPES.get(name, torch.float32), device=DEVICE)
            for name, shape in interface.inputs.items()
        }
        self.outputs_at_once, self.outputs = _views_of_one(interface.outputs)
        for name, tensor in (*self.inputs.items(), *self.outputs.items()):
            self._bind(name, tensor)

    def set_input(self, name: str, values: Tensor) -> None:
        """Read an input from other memory than the engine's own from now on."""
        own = self.inputs[name]
        assert (values.shape, values.dtype) == (own.shape, own.dtype), name
        self.inputs[name] = values.contiguous()  # kept: the engine knows the address only
        self._bind(name, self.inputs[name])

    def run(self, stream: Any) -> None:
        """Put one run on a CUDA stream.

        Raises:
            BackendError: If the library refuses.
        """
        if not self._context.execute_async_v3(stream.cuda_stream):
            raise BackendError(f"{self._name}: the engine does not run: {self._last_error}")

    @property
    def _last_error(self) -> str:
        return str(self._messages.last_error)

    def _loaded(self, part: Any) -> Any:
        if part is None:
            raise BackendError(f"{self._name}: the engine does not load: {self._last_error}")
        return part

    def _bind(self, name: str, tensor: Tensor) -> None:
        if not self._context.set_tensor_address(name, tensor.data_ptr()):
            raise BackendError(f"{self._name}: {name} is not taken: {self._last_error}")

    def _check(self, interface: GraphInterface, types: Any) -> None:
        engine = self._engine
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        actual = {
            name: (tuple(engine.get_tensor_shape(name)), engine.get_tensor_dtype(name))
            for name in names
        }
        expected = {
            name: (shape, types.UINT8 if name in INPUT_TYPES else types.FLOAT)
            for name, shape in {**interface.inputs, **interface.outputs}.items()
        }
        if actual != expected:
            raise BackendError(f"{self._name}: expected an engine with {expected}, got {actual}")


def _views_of_one(shapes: Shapes) -> tuple[Tensor, dict[str, Tensor]]:
    """Return one flat float32 tensor and, in it, one a name, so that one copy moves them all."""
    sizes = {
        name: math.ceil(math.prod(shape) / ALIGNMENT) * ALIGNMENT for name, shape in shapes.items()
    }
    whole = torch.empty(sum(sizes.values()), dtype=torch.float32, device=DEVICE)
    return whole, split_views(whole, shapes)


def split_views(whole: Tensor, shapes: Shapes) -> dict[str, Tensor]:
    """Return the tensors that lie one after the other, each at an aligned place, in a flat one."""
    views, first = {}, 0
    for name, shape in shapes.items():
        count = math.prod(shape)
        views[name] = whole[first : first + count].view(shape)
        first += math.ceil(count / ALIGNMENT) * ALIGNMENT
    return views
