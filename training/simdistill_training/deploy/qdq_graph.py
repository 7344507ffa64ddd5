# SPDX-License-Identifier: Apache-2.0
"""Float ONNX graph → the same graph with explicit 8-bit quantisation (QuantizeLinear pairs).

What is quantised are the convolutions, and the sums, activations and enlargements between them.
What stays in float is everything else, such as deformable attention and softmax, and by
measurement (docs/deploy.md) the convolutions that give a graph's outputs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from simdistill_training.onnx_graphs import INSTALL, ExportError
from simdistill_training.onnx_lint import STANDARD_DOMAINS, lint_graph

Feed = Mapping[str, npt.NDArray[Any]]
PASSING = ("Relu", "Clip", "MaxPool", "Resize")  # operators that only pass 8-bit values on
METHODS = ("minmax", "percentile", "entropy")


@dataclass(frozen=True)
class Int8Form:
    """How values become 8 bits wide.

    Attributes:
        activations: `uint8`, asymmetric and with 8-bit biases, is fast on CPUs; `int8`, symmetric
            and with float biases, is what TensorRT takes.
        weight_bits: 7 keep the sums of CPUs without VNNI from overflowing; 8 are finer.
        method: How ranges follow from what the calibration frames show.
        float_ends: Leave the convolutions that read a graph's inputs or give its outputs in float.
    """

    activations: Literal["uint8", "int8"] = "uint8"
    weight_bits: Literal[7, 8] = 7
    method: Literal["minmax", "percentile", "entropy"] = "minmax"
    float_ends: str = "io"


def write_int8_graph(source: Path, out: Path, feeds: Iterable[Feed], form: Int8Form) -> int:
    """Write the 8-bit form of a graph, checked and linted.

    Args:
        source: Float graph, norms folded.
        out: File to write.
        feeds: Inputs of the graph for the calibration frames.
        form: How values become 8 bits wide.

    Returns:
        How many convolutions stayed in float.

    Raises:
        ExportError: If packages are missing or a deployment runtime would refuse the graph.
    """
    onnx, quantization = _packages()
    model = onnx.load(source)
    convolutions = [node.name for node in model.graph.node if node.op_type == "Conv"]
    kept = set(output_convolutions(model)) if "o" in form.float_ends else set()
    if "i" in form.float_ends: kept |= set(input_convolutions(model))
    names = _with_neighbours(model, set(convolutions) - kept)
    kind = quantization.QuantType.QUInt8 if form.activations == "uint8" else None
    is_symmetric = form.activations == "int8"
    quantization.quantize_static(
        source,
        out,
        _Reader(feeds, quantization),
        quant_format=quantization.QuantFormat.QDQ,
        activation_type=kind or quantization.QuantType.QInt8,
        weight_type=quantization.QuantType.QInt8,
        per_channel=True,
        reduce_range=form.weight_bits == 7,
        nodes_to_quantize=names,
        calibrate_method=_method(form.method, quantization),
        extra_options={
            "ActivationSymmetric": is_symmetric,
            "WeightSymmetric": True,
            "QuantizeBias": not is_symmetric,
        },
    )
    written = onnx.load(out)
    del written.opset_import[:]
    written.opset_import.extend(e for e in model.opset_import if e.domain in STANDARD_DOMAINS)
    facts = {entry.key: entry.value for entry in model.metadata_props}
    onnx.helper.set_model_props(written, facts | {"precision": f"int8 ({form.activations})"})
    onnx.checker.check_model(written, full_check=True)
    findings = lint_graph(written) + (_tensorrt_findings(written) if is_symmetric else [])
    if findings:
        raise ExportError(f"{out.name}: not deployable: " + "; ".join(findings))
    onnx.save(written, out)
    return len(kept)


def output_convolutions(model: Any) -> list[str]:
    """Return the names of convolutions from which no other one lies on the way to an output."""
    made_by = {output: node for node in model.graph.node for output in node.output}
    found: dict[str, None] = {}
    pending, seen = [value.name for value in model.graph.output], set()
    while pending:
        name = pending.pop()
        if name in seen or name not in made_by:
            continue
        seen.add(name)
        node = made_by[name]
        if node.op_type == "Conv":
            found[node.name] = None
        else:
            pending.extend(node.input)
    return list(found)


def input_convolutions(model: Any) -> list[str]:
    """Return the names of convolutions before which no other one lies on the way from an input."""
    reached = {value.name for value in model.graph.input}
    found = []
    for node in model.graph.node:
        if not reached.intersection(node.input):
            continue
        if node.op_type == "Conv":
            found.append(node.name)
        else:
            reached.update(node.output)
    return found


def _with_neighbours(model: Any, convolutions: set[str]) -> list[str]:
    """Return the convolutions and what only passes on or adds their results, in graph order."""
    made_by = {output: node.name for node in model.graph.node for output in node.output}
    chosen: dict[str, None] = {}
    for node in model.graph.node:
        sources = [made_by.get(name) in chosen for name in node.input]
        is_neighbour = (node.op_type in PASSING and sources[0]) or (
            node.op_type == "Add" and all(sources)
        )
        if node.name in convolutions or is_neighbour:
            chosen[node.name] = None
    return list(chosen)


def _tensorrt_findings(model: Any) -> list[str]:
    """Return what TensorRT refuses in quantisation: 32-bit integers and shifted zeros."""
    from onnx import numpy_helper

    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    findings = []
    for node in model.graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear") or len(node.input) < 3:
            continue
        zero = numpy_helper.to_array(constants[node.input[2]])
        if zero.dtype != np.int8 or zero.any():
            findings.append(f"node {node.name}: expected a zero point of int8 zeros")
    return findings


class _Reader:
    """Hands feeds to the calibration one at a time."""

    def __init__(self, feeds: Iterable[Feed], quantization: Any) -> None:
        self._feeds = iter(feeds)
        quantization.CalibrationDataReader.register(type(self))

    def get_next(self) -> dict[str, npt.NDArray[Any]] | None:
        feed = next(self._feeds, None)
        return None if feed is None else dict(feed)


def _method(name: str, quantization: Any) -> Any:
    methods = quantization.CalibrationMethod
    return dict(zip(METHODS, (methods.MinMax, methods.Percentile, methods.Entropy), strict=True))[
        name
    ]


def _packages() -> tuple[Any, Any]:
    try:
        import onnx
        from onnxruntime import quantization
    except ImportError as error:
        raise ExportError(f"the Python package {error.name} is missing: {INSTALL}") from error
    return onnx, quantization
