# SPDX-License-Identifier: Apache-2.0
"""What half precision may change: three times what it did at export, never above the cap."""

from __future__ import annotations

import pytest

from simdistill_ros.core.backends.base import HeadMaps
from simdistill_ros.core.golden import Golden, load_golden
from simdistill_ros.core.model_card import ModelCard
from simdistill_training import export
from simdistill_training.export import ExportError


@pytest.fixture
def golden(exported: ModelCard) -> Golden:
    example = load_golden(exported)
    assert example is not None
    return example


def half_precision_that_errs_by(
    spread: float, golden: Golden, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Have the half precision graphs move every value of one head map by a share of its spread."""

    class Erring:
        def __init__(self, card: ModelCard) -> None:
            assert card.precision == "fp16"

        def infer(self, *_: object) -> HeadMaps:
            first = golden.head_maps[0]
            moved = first["heatmap"] + spread * first["heatmap"].std()
            return [{**first, "heatmap": moved}, *golden.head_maps[1:]]

        def close(self) -> None:
            pass

    monkeypatch.setattr(export, "OnnxRuntimeBackend", Erring)


@pytest.mark.parametrize(("spread", "tolerance"), [(0.0001, 0.005), (0.01, 0.03), (0.033, 0.099)])
def test_a_backend_may_err_three_times_as_much_as_onnxruntime_did(
    exported: ModelCard,
    golden: Golden,
    monkeypatch: pytest.MonkeyPatch,
    spread: float,
    tolerance: float,
) -> None:
    half_precision_that_errs_by(spread, golden, monkeypatch)
    assert export._half_tolerance(exported, golden) == pytest.approx(tolerance)


@pytest.mark.parametrize("spread", [0.034, 0.2, float("nan")])
def test_weights_that_would_need_more_than_a_tenth_are_refused(
    exported: ModelCard, golden: Golden, monkeypatch: pytest.MonkeyPatch, spread: float
) -> None:
    half_precision_that_errs_by(spread, golden, monkeypatch)
    with pytest.raises(ExportError, match=r"task0_heatmap by .*at most 0\.033: .*--tolerance-fp16"):
        export._half_tolerance(exported, golden)
