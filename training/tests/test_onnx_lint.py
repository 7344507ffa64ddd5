# SPDX-License-Identifier: Apache-2.0
"""The lint finds what deployment runtimes refuse."""

from __future__ import annotations

import numpy as np
import pytest

from simdistill_training.onnx_lint import CPU_ONLY, lint_graph

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402


def graph_of(*nodes, shape=(4, 8), initializers=(), domains=()):
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in ("x", "y")]
    graph = helper.make_graph(list(nodes), "graph", values[:1], values[1:], list(initializers))
    opsets = [helper.make_opsetid("", 20), *(helper.make_opsetid(d, 1) for d in domains)]
    return helper.make_model(graph, opset_imports=opsets)


def test_a_plain_graph_is_fine() -> None:
    assert lint_graph(graph_of(helper.make_node("Relu", ["x"], ["y"]))) == []


@pytest.mark.parametrize(
    "operator",
    ["GridSample", "DeformConv", "NonMaxSuppression", "NonZero", "Loop", "If", "Scan", "GatherND",
     "ConvInteger", "DynamicQuantizeLinear", "MatMulInteger"],
)  # fmt: skip
def test_refused_operators_are_named_with_their_node(operator: str) -> None:
    (finding,) = lint_graph(graph_of(helper.make_node(operator, ["x"], ["y"], name="here")))
    assert finding.startswith(f"node here ({operator}): ")


def test_an_operator_is_let_through_for_a_target_that_computes_it_right() -> None:
    graph = graph_of(helper.make_node("GridSample", ["x"], ["y"]))
    assert lint_graph(graph, CPU_ONLY) == []
    assert len(lint_graph(graph)) == 1
    custom = graph_of(helper.make_node("GridSample", ["x"], ["y"], domain="mine"))
    assert "custom operator of mine" in lint_graph(custom, CPU_ONLY)[0]


@pytest.mark.parametrize("operator", ["ScatterND", "ScatterElements"])
def test_scatter_is_refused_only_with_a_reduction(operator: str) -> None:
    plain = helper.make_node(operator, ["x", "i", "u"], ["y"])
    none = helper.make_node(operator, ["x", "i", "u"], ["y"], reduction="none")
    adding = helper.make_node(operator, ["x", "i", "u"], ["y"], reduction="add")
    assert lint_graph(graph_of(plain)) == lint_graph(graph_of(none)) == []
    assert "refuses reduction add" in lint_graph(graph_of(adding))[0]


@pytest.mark.parametrize(("k", "count"), [(500, 0), (3840, 0), (3841, 1)])
def test_top_k_is_refused_beyond_what_tensorrt_sorts(k: int, count: int) -> None:
    node = helper.make_node("TopK", ["x", "k"], ["y", "index"])
    constant = numpy_helper.from_array(np.array([k], np.int64), "k")
    assert len(lint_graph(graph_of(node, initializers=[constant]))) == count


def test_top_k_whose_k_depends_on_data_is_refused() -> None:
    assert "constant k" in lint_graph(graph_of(helper.make_node("TopK", ["x", "k"], ["y", "i"])))[0]


def test_custom_operators_are_refused() -> None:
    node = helper.make_node("BevPool", ["x"], ["y"], domain="mine")
    findings = lint_graph(graph_of(node, domains=["mine"]))
    assert any("opset 'mine'" in finding for finding in findings)
    assert any("custom operator of mine" in finding for finding in findings)


def test_shapes_that_are_not_fixed_are_refused() -> None:
    findings = lint_graph(graph_of(helper.make_node("Relu", ["x"], ["y"]), shape=("batch", 8)))
    assert findings == ["x: expected a fixed shape", "y: expected a fixed shape"]
