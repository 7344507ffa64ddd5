# SPDX-License-Identifier: Apache-2.0
"""The bounds of a parity check, each from both of its sides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from simdistill_ros.core.golden import NEAR_SCORE
from simdistill_ros.core.model_card import ModelCard
from simdistill_training.deploy.comparison import Comparison, TensorError
from simdistill_training.deploy.frames import FrameSource
from simdistill_training.deploy.parity import ParityOptions, _judged
from simdistill_training.deploy.paths import PILLOW, REFERENCE, least_score

OPTIONS = ParityOptions(FrameSource(Path("unused"), "v1.0-mini"), Path("unused"))


def failures_of(comparison: Comparison, card: ModelCard) -> list[str]:
    return list(_judged(comparison, card, OPTIONS))


def exact_pixels(*, grey: float = 1.0, spread: float = 0.01, found: int = 9900) -> Comparison:
    """Return the vehicle's exact way beside Pillow's: what 10,000 boxes and the maps became."""
    return Comparison(
        "pixels exact",
        PILLOW,
        tensors={
            "images": TensorError(largest=grey, frames=1),
            "task0_heatmap": TensorError(spread=spread, frames=1),
        },
        boxes={"expected": 10_000, "found": found, "actual": 10_000, "known": found},
    )


def test_exact_pixels_find_at_least_97_percent_of_the_boxes(small_card: ModelCard) -> None:
    assert failures_of(exact_pixels(found=9700), small_card) == []
    assert failures_of(exact_pixels(found=9699), small_card) == [
        "96.99% of boxes found, expected at least 97%"
    ]


def test_exact_pixels_differ_by_two_grey_levels_at_most(small_card: ModelCard) -> None:
    assert failures_of(exact_pixels(grey=2.0), small_card) == []
    (failure,) = failures_of(exact_pixels(grey=2.1), small_card)
    assert failure.startswith("pixels differ by ")


def test_exact_pixels_move_no_head_map_by_more_than_a_twentieth_of_its_spread(
    small_card: ModelCard,
) -> None:
    assert failures_of(exact_pixels(spread=0.05), small_card) == []
    (failure,) = failures_of(exact_pixels(spread=0.0501), small_card)
    assert failure.startswith("task0_heatmap differs by ")


def box(score: float) -> dict[str, Any]:
    return {
        "translation": [0.0, 0.0, 0.0],
        "detection_score": score,
        "detection_name": "car",
    }


def test_a_box_needs_a_partner_from_two_hundredths_above_the_threshold_on(
    small_card: ModelCard,
) -> None:
    least = least_score(small_card, 0.1)
    for score, counted in ((0.119, 0), (0.121, 1)):
        comparison = Comparison("torch fp16", REFERENCE, least_score=least)
        comparison.add_boxes([box(score)], [], "token")  # it fell below the other's threshold
        assert comparison.boxes["expected"] == counted
        assert comparison.found_share == 1 - counted


def test_a_partner_that_is_sure_to_be_seen_scores_as_much_less_as_partners_may(
    small_card: ModelCard,
) -> None:
    """Twice the difference of partners' scores: neither of two steps leads below the threshold."""
    assert least_score(small_card, 0.3) - 0.3 == pytest.approx(2 * NEAR_SCORE)
    assert least_score(small_card, None) == pytest.approx(
        small_card.decode.score_threshold + 2 * NEAR_SCORE
    )
