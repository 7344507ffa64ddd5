# SPDX-License-Identifier: Apache-2.0
"""The view from above: where things land on it."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_boxes import boxes, colored

from simdistill_ros.core.class_colors import CLASS_COLORS
from simdistill_ros.drawing.bev_canvas import BACKGROUND, BLIND, RANGE_M, BevCanvas


def test_box_ahead_left_is_drawn_above_left_of_the_vehicle() -> None:
    canvas = BevCanvas(520)
    canvas.draw_detections(boxes([0.9], (20.0, 10.0, 0.0)))
    rows, columns = colored(canvas.image, CLASS_COLORS["car"]).T
    pixels_per_m = 520 / (2 * RANGE_M)
    assert rows.mean() == pytest.approx(260 - 20 * pixels_per_m, abs=4)
    assert columns.mean() == pytest.approx(260 - 10 * pixels_per_m, abs=4)


def test_a_moving_box_has_a_line_towards_where_it_will_be_in_a_second() -> None:
    still, moving = BevCanvas(520), BevCanvas(520)
    still.draw_detections(boxes([0.9], (0.0, 10.0, 0.0)))
    moving.draw_detections(boxes([0.9], (0.0, 10.0, 0.0), velocity=(10.0, 0.0)))
    rows, columns = np.argwhere((still.image != moving.image).any(axis=-1)).T
    pixels_per_m = 520 / (2 * RANGE_M)
    assert rows.min() == pytest.approx(260 - 12 * pixels_per_m, abs=2)  # from the front edge on
    assert np.ptp(columns) <= 3


def test_points_out_of_range_do_not_wrap_around() -> None:
    canvas = BevCanvas(100)
    before = canvas.image.copy()
    canvas.draw_points(np.array([[80.0, 0.0, 0.0], [0.0, -60.0, 0.0]]))
    np.testing.assert_array_equal(canvas.image, before)
    canvas.draw_points(np.array([[30.0, 0.0, 0.0]]))
    assert (canvas.image != before).any()


def test_directions_that_no_image_shows_are_shaded() -> None:
    blind = np.zeros(4, dtype=np.bool_)
    blind[2] = True  # from ahead to the left
    rows, columns = colored(BevCanvas(200, blind).image, BLIND, tolerance=1).T
    assert rows.max() <= 100
    assert columns.max() <= 100
    assert len(rows) > 0.9 * 100 * 100 - 1000


def test_a_box_is_tinted_inside_also_where_it_is_half_outside_the_picture() -> None:
    for x_m in (30.0, RANGE_M):
        canvas = BevCanvas(1040)
        canvas.draw_detections(boxes([0.9], (x_m, 20.0, 0.0)))
        untouched = colored(canvas.image, BACKGROUND, tolerance=1)
        at = canvas.pixels(np.array([x_m - 1.5, 20.6])) >> 4  # between the outline and the axis
        blend = 0.35 * np.array(CLASS_COLORS["car"]) + 0.65 * np.array(BACKGROUND)
        np.testing.assert_allclose(canvas.image[at[1], at[0]], blend, atol=1)
        assert len(untouched) > 1000 * 1000  # and nothing else is


def test_a_box_outside_the_picture_leaves_no_trace() -> None:
    canvas = BevCanvas(200)
    before = canvas.image.copy()
    canvas.draw_detections(boxes([0.9], (10 * RANGE_M, 20.0, 0.0)))
    np.testing.assert_array_equal(canvas.image, before)
