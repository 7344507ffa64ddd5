# SPDX-License-Identifier: Apache-2.0
"""Small ONNX graphs to test with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402


def model_of(*nodes: Any, shape: tuple[int, ...] = (1, 4), weights: Any = None) -> Any:
    """Return a graph from `x` of a shape to `y`, with weights by name."""
    tensors = [
        numpy_helper.from_array(np.asarray(values, np.float32), name)
        for name, values in (weights or {}).items()
    ]
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    model.ir_version = 10
    return onnx.shape_inference.infer_shapes(model)
