# SPDX-License-Identifier: Apache-2.0
"""fp32 ONNX graph → the same graph in half precision, with every cast written down.

Runtimes that take a graph's types as they are (TensorRT's strongly typed networks) run it in half
precision without choosing anything themselves. Convolutions and matrix products are half, and so
are the moves and sums between them. Single precision stay: the graph's inputs and outputs, softmax,
norms, sums over rows, and the geometry, which is everything from the last product before a `Floor`
on: positions and row numbers on a map have more digits than a half holds.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

PRODUCTS = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
# Half as soon as one of their inputs is computed in half.
FOLLOWERS = {"Add", "Clip", "Concat", "Expand", "Gather", "Gelu", "MaxPool", "Mul", "Pad", "Relu"}
FOLLOWERS |= {"Reshape", "Resize", "Slice", "Squeeze", "Transpose", "Unsqueeze"}
# Inputs after the first that are no data of the node's own type although they are float.
FLOAT_SETTINGS = {"Resize"}
HALF_MAX = float(np.finfo(np.float16).max)


def half_graph(model: Any) -> Any:
    """Return a half precision copy of an `onnx.ModelProto` whose tensors have known types.

    Raises:
        ValueError: If a weight is too large for a half.
    """
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(onnx.shape_inference.infer_shapes(model, strict_mode=True))
    conversion = _Conversion(copy.graph)
    conversion.run()
    # Types of what changed are inferred again by whoever needs them.
    del copy.graph.value_info[:]
    return copy


class _Conversion:
    """Rewrites one graph in place, node by node, in order."""

    def __init__(self, graph: Any) -> None:
        self._graph = graph
        self._initializers = {tensor.name: tensor for tensor in graph.initializer}
        self._floats = set(_float_names(graph))
        self._geometry = _geometry_nodes(graph)
        self._half: set[str] = set()  # names of computed tensors that are half now
        self._casts: dict[tuple[str, bool], str] = {}
        self._nodes: list[Any] = []

    def run(self) -> None:
        outputs = {value.name for value in self._graph.output}
        for index, node in enumerate(self._graph.node):
            to_half = index not in self._geometry and self._is_half(node)
            for position, name in enumerate(node.input):
                if self._is_data(node, position):
                    node.input[position] = self._as(name, to_half)
            self._nodes.append(node)
            if to_half:
                self._rename_outputs(node, outputs)
        del self._graph.node[:]
        self._graph.node.extend(self._nodes)
        self._drop_unused_initializers()

    def _is_half(self, node: Any) -> bool:
        if node.op_type in PRODUCTS:
            return True
        return node.op_type in FOLLOWERS and any(
            name in self._half
            for position, name in enumerate(node.input)
            if self._is_data(node, position)
        )

    def _is_data(self, node: Any, position: int) -> bool:
        name = node.input[position]
        is_setting = position > 0 and node.op_type in FLOAT_SETTINGS
        return not is_setting and (name in self._floats or name in self._half)

    def _rename_outputs(self, node: Any, graph_outputs: set[str]) -> None:
        """Mark a node's float outputs as half; outputs of the graph get their type back."""
        for position, name in enumerate(node.output):
            if name not in self._floats:
                continue
            if name in graph_outputs:
                node.output[position] = f"{name}_half"
                self._half.add(f"{name}_half")
                self._cast(f"{name}_half", name, to_half=False)
                self._casts[name, True] = f"{name}_half"
            else:
                self._half.add(name)

    def _as(self, name: str, to_half: bool) -> str:
        """Return the name of a tensor's values in half or single precision, made if need be."""
        if (name in self._half) == to_half:
            return name
        if (name, to_half) not in self._casts:
            other = f"{name}_half" if to_half else f"{name}_single"
            if name in self._initializers:
                self._graph.initializer.append(_half_tensor(self._initializers[name], other))
            else:
                self._cast(name, other, to_half=to_half)
            self._casts[name, to_half] = other
        return self._casts[name, to_half]

    def _cast(self, source: str, target: str, *, to_half: bool) -> None:
        from onnx import TensorProto, helper

        to = TensorProto.FLOAT16 if to_half else TensorProto.FLOAT
        self._nodes.append(helper.make_node("Cast", [source], [target], f"cast_{target}", to=to))

    def _drop_unused_initializers(self) -> None:
        used = {name for node in self._graph.node for name in node.input}
        kept = [tensor for tensor in self._graph.initializer if tensor.name in used]
        del self._graph.initializer[:]
        self._graph.initializer.extend(kept)


def _half_tensor(tensor: Any, name: str) -> Any:
    from onnx import numpy_helper

    values = numpy_helper.to_array(tensor)
    largest = float(np.abs(values).max(initial=0.0))
    if not largest <= HALF_MAX:
        raise ValueError(
            f"weight {tensor.name}: expected at most {HALF_MAX:g} for half precision, "
            f"got {largest:g}"
        )
    return numpy_helper.from_array(values.astype(np.float16), name)


def _geometry_nodes(graph: Any) -> set[int]:
    """Return the nodes from the products before every `Floor` up to it, products included.

    What comes after a `Floor` has no half among its inputs and stays single by itself.
    """
    producers = {name: index for index, node in enumerate(graph.node) for name in node.output}
    pending = [index for index, node in enumerate(graph.node) if node.op_type == "Floor"]
    found: set[int] = set()
    while pending:
        index = pending.pop()
        if index in found:
            continue
        found.add(index)
        if graph.node[index].op_type not in PRODUCTS:
            pending += [producers[n] for n in graph.node[index].input if n in producers]
    return found


def _float_names(graph: Any) -> Iterable[str]:
    from onnx import TensorProto

    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            yield value.name
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            yield tensor.name
