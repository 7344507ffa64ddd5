# SPDX-License-Identifier: Apache-2.0
"""A stand-in for the TensorRT module that runs its engines in ONNX Runtime, on the CPU.

It has the calls that the backend makes, with the same meaning: a plan is made of an ONNX graph, a
context reads and writes memory by address. What it cannot show is TensorRT's own arithmetic.
"""

from __future__ import annotations

import ctypes
import enum
import math
import re
import types
from typing import Any

import numpy as np
import onnxruntime

MAGIC = b"fake engine:"
TYPES = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8}


class Severity(enum.Enum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2
    INFO = 3


class ILogger:
    Severity = Severity

    def log(self, severity: Severity, message: str) -> None:
        raise NotImplementedError


class Network:
    graph: bytes


class Parser:
    def __init__(self, network: Network, logger: ILogger) -> None:
        self._network, self.num_errors = network, 0

    def parse(self, graph: bytes) -> bool:
        self._network.graph = graph
        return True


class Config:
    def __init__(self) -> None:
        self.cleared: list[str] = []

    def clear_flag(self, flag: str) -> None:
        self.cleared.append(flag)

    def set_memory_pool_limit(self, pool: str, size: int) -> None:
        assert size > 0


class Builder:
    plans_built = 0

    def __init__(self, logger: ILogger) -> None:
        pass

    def create_network(self, flags: int) -> Network:
        assert flags == 1, "strongly typed"
        return Network()

    def create_builder_config(self) -> Config:
        return Config()

    def build_serialized_network(self, network: Network, config: Config) -> bytes:
        assert config.cleared == ["TF32"]
        Builder.plans_built += 1
        return MAGIC + network.graph


class Runtime:
    def __init__(self, logger: ILogger) -> None:
        self._logger = logger

    def deserialize_cuda_engine(self, plan: bytes) -> Engine | None:
        assert plan.startswith(MAGIC), "bytes that no builder made reached the runtime"
        if b"no memory" in FAULTS:
            self._logger.log(Severity.ERROR, "Cuda Runtime (out of memory)")
            return None
        return Engine(plan.removeprefix(MAGIC))


class Engine:
    def __init__(self, graph: bytes) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(graph, options, ["CPUExecutionProvider"])
        self.nodes = {n.name: n for n in (*self.session.get_inputs(), *self.session.get_outputs())}
        self.num_io_tensors = len(self.nodes)

    def get_tensor_name(self, index: int) -> str:
        return list(self.nodes)[index]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(self.nodes[name].shape)

    def get_tensor_dtype(self, name: str) -> str:
        return {"tensor(float)": "FLOAT", "tensor(uint8)": "UINT8"}[self.nodes[name].type]

    def create_execution_context(self) -> Context:
        return Context(self)


class Context:
    def __init__(self, engine: Engine) -> None:
        self._engine, self._addresses = engine, dict[str, int]()

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        # CUDA's allocations begin at multiples of 256 bytes, the host's do not: compare with the
        # first of the outputs, which lie in one allocation.
        outputs = [node.name for node in self._engine.session.get_outputs()]
        if name in outputs and outputs[0] in self._addresses:
            assert (address - self._addresses[outputs[0]]) % 256 == 0, name
        return name in self._engine.nodes

    def execute_async_v3(self, stream: int) -> bool:
        if b"refuses" in FAULTS:
            return False
        session = self._engine.session
        feed = {node.name: self._memory(node).copy() for node in session.get_inputs()}
        names = [node.name for node in session.get_outputs()]
        for name, values in zip(names, session.run(names, feed), strict=True):
            self._memory(self._engine.nodes[name])[...] = values
        return True

    def _memory(self, node: Any) -> np.ndarray:
        kind = np.dtype(TYPES[node.type])
        size = math.prod(node.shape) * kind.itemsize
        raw = (ctypes.c_char * size).from_address(self._addresses[node.name])
        return np.frombuffer(raw, kind).reshape(node.shape)


FAULTS: set[bytes] = set()


def fake_module(name: str = "tensorrt", version: str = "10.9.0.34") -> types.ModuleType:
    """Return a module of this name with the calls of TensorRT."""
    assert re.fullmatch(r"tensorrt(_rtx)?", name)
    module = types.ModuleType(name)
    FAULTS.clear()
    vars(module).update(
        __version__=version,
        ILogger=ILogger,
        Builder=Builder,
        OnnxParser=Parser,
        Runtime=Runtime,
        NetworkDefinitionCreationFlag=types.SimpleNamespace(STRONGLY_TYPED=0),
        DataType=types.SimpleNamespace(FLOAT="FLOAT", UINT8="UINT8"),
        BuilderFlag=types.SimpleNamespace(TF32="TF32"),
        MemoryPoolType=types.SimpleNamespace(WORKSPACE="WORKSPACE"),
    )
    return module
