# SPDX-License-Identifier: Apache-2.0
"""Half precision graphs: what is half, what stays single, and that the types fit."""

from __future__ import annotations

import numpy as np
import pytest
from onnx_models import model_of

from simdistill_training.onnx_half import half_graph

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
from onnx import TensorProto, helper  # noqa: E402

FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16


def types_of(model) -> dict[str, int]:
    """Check a model and return the type of every tensor by name."""
    onnx.checker.check_model(model, full_check=True)
    typed = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    values = (*typed.graph.value_info, *typed.graph.output, *typed.graph.input)
    return {value.name: value.type.tensor_type.elem_type for value in values} | {
        tensor.name: tensor.data_type for tensor in typed.graph.initializer
    }


def run(model, x):
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(None, {"x": x})[0]


MATRIX = np.arange(16, dtype=np.float32).reshape(4, 4) / 16


def test_products_are_half_and_the_graph_keeps_its_inputs_and_outputs() -> None:
    model = model_of(helper.make_node("MatMul", ["x", "w"], ["y"]), weights={"w": MATRIX})
    types = types_of(half_graph(model))
    assert types["w_half"] == types["y_half"] == types["x_half"] == HALF
    assert types["x"] == types["y"] == FLOAT
    assert "w" not in types  # the single weights are gone


def test_a_softmax_after_a_product_is_single() -> None:
    model = model_of(
        helper.make_node("MatMul", ["x", "w"], ["p"]),
        helper.make_node("Softmax", ["p"], ["y"]),
        weights={"w": MATRIX},
    )
    types = types_of(half_graph(model))
    assert types["p"] == HALF
    assert types["p_single"] == types["y"] == FLOAT


def test_positions_are_single_from_the_product_on_that_they_come_from() -> None:
    # 2049 + 0.25 has no half: the floor of the half would be another row.
    model = model_of(
        helper.make_node("MatMul", ["x", "w"], ["features"]),
        helper.make_node("MatMul", ["features", "offsets"], ["offset"]),
        helper.make_node("Add", ["offset", "grid"], ["position"]),
        helper.make_node("Floor", ["position"], ["y"]),
        weights={"w": np.eye(4), "offsets": np.eye(4), "grid": [2049.25, 2050.75, 4097.5, 9.0]},
    )
    half = half_graph(model)
    types = types_of(half)
    assert types["features"] == HALF
    assert types["offset"] == types["position"] == types["offsets"] == FLOAT
    x = np.zeros((1, 4), np.float32)
    np.testing.assert_array_equal(run(half, x), [[2049, 2050, 4097, 9]])


def test_sums_and_moves_between_products_are_half_and_settings_stay_as_they_are() -> None:
    image = (1, 4, 2, 2)
    model = model_of(
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node("Resize", ["a", "", "scales"], ["b"], mode="linear"),
        helper.make_node("Clip", ["b", "low"], ["c"]),
        helper.make_node("Conv", ["c", "w"], ["y"]),
        shape=image,
        weights={"w": MATRIX.reshape(4, 4, 1, 1), "scales": [1, 1, 2, 2], "low": 0.0},
    )
    half = half_graph(model)
    types = types_of(half)
    assert types["a"] == types["b"] == types["c"] == types["low_half"] == HALF
    assert types["scales"] == FLOAT
    x = np.random.default_rng(0).normal(size=image).astype(np.float32)
    np.testing.assert_allclose(run(half, x), run(model, x), atol=5e-3)
    assert np.abs(run(half, x) - run(model, x)).max() > 0


def test_what_no_product_has_touched_stays_single() -> None:
    model = model_of(helper.make_node("Add", ["x", "b"], ["y"]), weights={"b": np.ones(4)})
    half = half_graph(model)
    assert types_of(half) == {"x": FLOAT, "y": FLOAT, "b": FLOAT}


def test_a_weight_that_no_half_can_hold_is_named() -> None:
    model = model_of(
        helper.make_node("MatMul", ["x", "w"], ["y"]), weights={"w": np.full((4, 4), 1e5)}
    )
    with pytest.raises(ValueError, match=r"weight w: expected at most 65504 .*got 100000"):
        half_graph(model)
