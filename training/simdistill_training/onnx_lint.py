# SPDX-License-Identifier: Apache-2.0
"""What an ONNX graph must not contain, so that every deployment runtime computes it right."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

# Refused by the parser or builder of TensorRT or TensorRT-RTX, or by ONNX Runtime.
REFUSED = {
    "ConvInteger": "TensorRT has no such layer",
    "DeformConv": "TensorRT needs a plugin",
    "DynamicQuantizeLinear": "TensorRT has no such layer",
    "GatherND": "ONNX Runtime takes no int32 indices; use Gather",
    "If": "the graph must not depend on data",
    "Loop": "the graph must not depend on data",
    "MatMulInteger": "TensorRT has no such layer",
    "NonMaxSuppression": "TensorRT cannot build it; suppress outside the graph",
    "NonZero": "its size depends on data",
    "Scan": "the graph must not depend on data",
    # Parses and builds, but is known to be computed wrongly by several releases of TensorRT.
    "GridSample": "TensorRT computes it wrongly; use gathers",
}
# What of it ONNX Runtime computes right on CPUs, and faster than what stands for it elsewhere.
CPU_ONLY = frozenset({"GridSample"})
STANDARD_DOMAINS = {"", "ai.onnx"}
MOST_TOPK = 3840


def lint_graph(model: Any, allowed: Collection[str] = ()) -> list[str]:
    """Return what is wrong with an `onnx.ModelProto`, one line a finding; empty if nothing is.

    Args:
        model: The graph.
        allowed: Refused operators that the graph's own target computes right.
    """
    findings = [
        f"opset {entry.domain!r}: only standard operators are allowed"
        for entry in model.opset_import
        if entry.domain not in STANDARD_DOMAINS
    ]
    for value in (*model.graph.input, *model.graph.output):
        dimensions = value.type.tensor_type.shape.dim
        if any(not dimension.HasField("dim_value") for dimension in dimensions):
            findings.append(f"{value.name}: expected a fixed shape")
    constants = _constants(model)
    for node in model.graph.node:
        findings += [
            f"node {node.name} ({node.op_type}): {why}" for why in _faults(node, constants, allowed)
        ]
    return findings


def _faults(node: Any, constants: dict[str, Any], allowed: Collection[str]) -> Iterator[str]:
    if node.domain not in STANDARD_DOMAINS:
        yield f"custom operator of {node.domain}"
    if node.op_type in REFUSED and node.op_type not in allowed:
        yield REFUSED[node.op_type]
    if node.op_type in ("ScatterND", "ScatterElements"):
        reduction = [a.s.decode() for a in node.attribute if a.name == "reduction"]
        if reduction not in ([], ["none"]):
            yield f"TensorRT refuses reduction {reduction[0]}"
    if node.op_type == "TopK":
        k = constants.get(node.input[1])
        if k is None or int(k.max()) > MOST_TOPK:
            yield f"expected a constant k of at most {MOST_TOPK}"


def _constants(model: Any) -> dict[str, Any]:
    """Return the values of small initializers and constants by name."""
    from onnx import numpy_helper

    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        for attribute in node.attribute if node.op_type == "Constant" else ():
            if attribute.name == "value":
                tensors[node.output[0]] = attribute.t
    return {
        name: numpy_helper.to_array(tensor)
        for name, tensor in tensors.items()
        if sum(tensor.dims) <= 1
    }
