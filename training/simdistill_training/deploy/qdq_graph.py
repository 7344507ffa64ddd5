# SPDX-License-Identifier: Apache-2.0
"""Float ONNX graph → the same graph with explicit 8-bit quantisation (QuantizeLinear pairs).

What is quantised are the convolutions, and the sums, activations and enlargements between them.
What stays in float is everything else, such as deformable attention and softmax, and the
convolutions that read float inputs: pooled maps have few large values among many small ones.
docs/deploy.md has the measurements behind this choice.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from simdistill_training.onnx_graphs import INSTALL, ExportError
from simdistill_training.onnx_lint import CPU_ONLY, STANDARD_DOMAINS, lint_graph

Feed = Mapping[str, npt.NDArray[Any]]
FLOAT = 1  # of ONNX's element types
PASSING = ("Relu", "Clip", "MaxPool", "Resize")  # operators that only pass 8-bit values on


@dataclass(frozen=True)
class Int8Form:
    """How values become 8 bits wide.

    Attributes:
        activations: `uint8`, asymmetric and with integer biases, is fast on CPUs; `int8`,
            symmetric and with float biases, is what TensorRT takes.
        weight_bits: 7 keep the sums of CPUs without VNNI from overflowing; 8 are finer.
    """

    activations: Literal["uint8", "int8"] = "uint8"
    weight_bits: Literal[7, 8] = 7


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
    kept = input_convolutions(model)
    is_symmetric = form.activations == "int8"
    kinds = quantization.QuantType
    with _without_advice():
        quantization.quantize_static(
            source,
            out,
            _reader(feeds, quantization),
            quant_format=quantization.QuantFormat.QDQ,
            activation_type=kinds.QInt8 if is_symmetric else kinds.QUInt8,
            weight_type=kinds.QInt8,
            per_channel=True,
            reduce_range=form.weight_bits == 7,
            nodes_to_quantize=_convolutions_and_neighbours(model, kept),
            calibrate_method=quantization.CalibrationMethod.MinMax,
            extra_options={
                "ActivationSymmetric": is_symmetric,
                "WeightSymmetric": True,
                "QuantizeBias": not is_symmetric,
            },
        )
    written = _cleaned(onnx.load(out), model, form, onnx)
    onnx.checker.check_model(written, full_check=True)
    if is_symmetric:  # for TensorRT
        findings = lint_graph(written) + _tensorrt_findings(written)
    else:
        findings = lint_graph(written, CPU_ONLY)
    if findings:
        raise ExportError(f"{out.name}: not deployable: " + "; ".join(findings))
    onnx.save(written, out)
    return len(kept)


@contextmanager
def _without_advice() -> Iterator[None]:
    """Leave out the quantiser's advice to simplify graphs first: these have fixed shapes."""
    root = logging.getLogger()

    def is_other(record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith("Please consider")

    root.addFilter(is_other)
    try:
        yield
    finally:
        root.removeFilter(is_other)


def _cleaned(written: Any, source: Any, form: Int8Form, onnx: Any) -> Any:
    """Drop what the quantiser declares and does not use; say what the graph is of."""
    standard = [entry for entry in source.opset_import if entry.domain in STANDARD_DOMAINS]
    del written.opset_import[:]
    written.opset_import.extend(standard)
    facts = {entry.key: entry.value for entry in source.metadata_props}
    facts["precision"] = f"int8, activations {form.activations}, weights {form.weight_bits} bits"
    onnx.helper.set_model_props(written, facts)
    return written


def input_convolutions(model: Any) -> list[str]:
    """Return the names of convolutions without another one on the way from a float input."""
    reached = {
        value.name for value in model.graph.input if value.type.tensor_type.elem_type == FLOAT
    }
    found = []
    for node in model.graph.node:
        if not reached.intersection(node.input):
            continue
        if node.op_type == "Conv":
            found.append(node.name)
        else:
            reached.update(node.output)
    return found


def _convolutions_and_neighbours(model: Any, kept: list[str]) -> list[str]:
    """Return what is quantised: convolutions, and what only adds or passes on their results."""
    made_by = {output: node.name for node in model.graph.node for output in node.output}
    chosen: dict[str, None] = {}
    for node in model.graph.node:
        sources = [made_by.get(name) in chosen for name in node.input]
        is_chosen = (
            (node.op_type == "Conv" and node.name not in kept)
            or (node.op_type in PASSING and sources[0])
            or (node.op_type == "Add" and all(sources))
        )
        if is_chosen:
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


def _reader(feeds: Iterable[Feed], quantization: Any) -> Any:
    """Return the feeds as the quantiser asks for them: one at a time, then None."""
    iterator = iter(feeds)

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> dict[str, npt.NDArray[Any]] | None:
            feed = next(iterator, None)
            return None if feed is None else dict(feed)

    return Reader()


def _packages() -> tuple[Any, Any]:
    try:
        import onnx
        from onnxruntime import quantization
    except ImportError as error:
        raise ExportError(f"the Python package {error.name} is missing: {INSTALL}") from error
    return onnx, quantization
