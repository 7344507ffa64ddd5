# SPDX-License-Identifier: Apache-2.0
"""The device's decoder against the decoder in numpy: the same boxes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import yaml

from simdistill_ros.core.boxes import Detections
from simdistill_ros.core.decode import decode_head_maps, head_map_channels
from simdistill_ros.core.device.decode import (
    DeviceDecoder,
    detections_of,
    is_settled,
    logit,
)
from simdistill_ros.core.model_card import ModelCard, model_card_from_dict

FIELDS = ("centers_m", "sizes_lwh_m", "yaws_rad", "velocities_mps", "scores")
CPU = torch.device("cpu")


@pytest.fixture
def card_data(models_folder) -> dict[str, Any]:
    """Return `tiny` with a 64 x 32 map and few candidates."""
    data = yaml.safe_load((models_folder / "tiny" / "model.yaml").read_text())
    data["bev"] |= {"x_m": [-25.6, 25.6], "y_m": [-12.8, 12.8]}
    data["decode"] |= {"max_candidates": 80, "max_before_nms": 60, "max_after_nms": 30}
    return data


def random_maps(card: ModelCard, seed: int = 0) -> list[dict[str, np.ndarray]]:
    """Return maps with hills, so that there are peaks, near boxes and long chains of them."""
    generator = np.random.default_rng(seed)
    tasks = []
    for task in card.tasks:
        maps = {
            name: generator.normal(0, 0.5, (count, *card.head_shape_xy)).astype(np.float32)
            for name, count in head_map_channels(len(task.classes)).items()
        }
        maps["heatmap"] = maps["heatmap"] * 3 - 2
        maps["dim"] += np.float32(0.7)
        tasks.append(maps)
    return tasks


def on_device(maps: list[dict[str, np.ndarray]]) -> list[dict[str, torch.Tensor]]:
    return [{n: torch.from_numpy(m)[None] for n, m in task.items()} for task in maps]


def decoded(maps, card: ModelCard, threshold: float | None = None) -> Detections:
    decoder = DeviceDecoder(card, CPU)
    limit = card.decode.score_threshold if threshold is None else threshold
    candidates, packed = decoder.decode(on_device(maps), torch.tensor(logit(limit)))
    return detections_of(packed if is_settled(packed) else decoder.settled(candidates), card, 7)


def assert_same(actual: Detections, expected: Detections) -> None:
    assert (actual.frame, actual.stamp_ns) == (expected.frame, expected.stamp_ns)
    np.testing.assert_array_equal(actual.labels, expected.labels)
    for field in FIELDS:
        np.testing.assert_allclose(
            getattr(actual, field), getattr(expected, field), atol=2e-5, rtol=2e-5, err_msg=field
        )


@pytest.mark.parametrize("peak_window", [1, 3, 5])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_boxes_are_those_of_the_numpy_decoder(card_data, seed: int, peak_window: int) -> None:
    card_data["decode"]["peak_window"] = peak_window
    card = model_card_from_dict(card_data)
    maps = random_maps(card, seed)

    boxes = decoded(maps, card)

    assert_same(boxes, decode_head_maps(maps, card, stamp_ns=7))
    assert len(boxes) > 50


def test_the_quirks_of_the_published_code_are_the_same_too(card_data) -> None:
    quirks = ("squared_circle_distance", "lidar_box_convention", "raised_height")
    card_data["legacy"] = dict.fromkeys(quirks, True)
    card = model_card_from_dict(card_data)
    maps = random_maps(card, 2)

    assert_same(decoded(maps, card), decode_head_maps(maps, card, stamp_ns=7))


def test_equal_scores_keep_the_order_of_their_cells(card_data) -> None:
    card = model_card_from_dict(card_data)
    maps = random_maps(card, 3)
    for task in maps:
        task["heatmap"] = np.round(task["heatmap"])  # few levels, as half precision has them

    assert_same(decoded(maps, card), decode_head_maps(maps, card, stamp_ns=7))


def test_the_threshold_and_the_range_leave_boxes_out(card_data) -> None:
    card_data["decode"] |= {"center_x_m": [-5.0, 20.0], "center_z_m": [-0.5, 0.4]}
    card = model_card_from_dict(card_data)
    maps = random_maps(card, 4)

    some = decoded(maps, card, threshold=0.97)

    assert_same(some, decode_head_maps(maps, card, stamp_ns=7, score_threshold=0.97))
    assert 0 < len(some) < len(decoded(maps, card, threshold=0.2))
    assert len(decoded(maps, card, threshold=0.9999)) == 0


def test_logits_that_are_certain_are_still_put_in_order(card_data) -> None:
    card = model_card_from_dict(card_data)
    maps = random_maps(card, 5)
    maps[0]["heatmap"] += 25  # float32 scores of 1.0 exactly

    assert_same(decoded(maps, card), decode_head_maps(maps, card, stamp_ns=7))


@pytest.mark.parametrize(("name", "value"), [("heatmap", np.nan), ("dim", np.inf)])
def test_a_map_that_is_not_finite_is_refused(card_data, name: str, value: float) -> None:
    card = model_card_from_dict(card_data)
    maps = random_maps(card)
    maps[1][name][0, 3, 3] = value

    with pytest.raises(ValueError, match="expected finite numbers"):
        decoded(maps, card)
