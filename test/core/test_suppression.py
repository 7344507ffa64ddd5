# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from simdistill_ros.core.suppression import (
    circle_nms,
    rotated_iou,
    rotated_nms,
    rotated_nms_of_groups,
)


def iou(box: list[float], other: list[float]) -> float:
    return float(rotated_iou(np.array([box]), np.array([other]))[0])


def test_overlap_of_a_box_with_itself_is_one():
    assert iou([3, -2, 4, 2, 0.7], [3, -2, 4, 2, 0.7]) == pytest.approx(1)


def test_overlap_of_boxes_that_share_half_is_a_third():
    assert iou([0, 0, 4, 2, 0], [2, 0, 4, 2, 0]) == pytest.approx(1 / 3)


def test_overlap_of_a_square_and_the_square_turned_by_45_degrees():
    # The intersection is a regular octagon: 8 * (sqrt(2) - 1) of the square of area 4.
    octagon = 8 * (np.sqrt(2) - 1)
    assert iou([1, 1, 2, 2, 0], [1, 1, 2, 2, np.pi / 4]) == pytest.approx(octagon / (8 - octagon))


def test_overlap_of_a_cross():
    assert iou([5, 5, 4, 1, 0.3], [5, 5, 4, 1, 0.3 + np.pi / 2]) == pytest.approx(1 / 7)


def test_overlap_of_a_box_inside_another_is_the_ratio_of_areas():
    assert iou([0, 0, 10, 10, 0], [1, 1, 2, 3, 1.0]) == pytest.approx(0.06)


def test_overlap_of_boxes_that_only_touch_or_are_apart_is_zero():
    assert iou([0, 0, 2, 2, 0], [2, 0, 2, 2, 0]) == pytest.approx(0, abs=1e-9)
    assert iou([0, 0, 2, 2, 0.3], [9, 0, 2, 2, 1]) == 0


def test_overlap_equals_a_count_of_random_points():
    rng = np.random.default_rng(5)
    points = rng.uniform(-4, 4, (400_000, 2))

    def inside(box: np.ndarray) -> np.ndarray:
        along = (points - box[:2]) @ [np.cos(box[4]), np.sin(box[4])]
        across = (points - box[:2]) @ [-np.sin(box[4]), np.cos(box[4])]
        return (np.abs(along) < box[2] / 2) & (np.abs(across) < box[3] / 2)

    for _ in range(5):
        low, high = [-1, -1, 1, 1, -3], [1, 1, 4, 4, 3]
        box, other = rng.uniform(low, high), rng.uniform(low, high)
        both, either = inside(box) & inside(other), inside(box) | inside(other)
        assert iou(list(box), list(other)) == pytest.approx(both.sum() / either.sum(), abs=0.01)


def test_circle_keeps_the_better_of_two_near_boxes():
    centers = np.array([[0, 0], [3, 4], [3, 4.1]])  # 5 m and 5.08 m from the first
    assert circle_nms(centers, 5.0).tolist() == [0, 2]
    assert circle_nms(centers, 0.05).tolist() == [0, 1, 2]


def test_suppressed_box_suppresses_nothing_itself():
    centers = np.array([[0.0, 0], [1, 0], [2, 0]])
    assert circle_nms(centers, 1.5).tolist() == [0, 2]


def test_rotated_keeps_boxes_side_by_side_and_drops_the_overlapping_one():
    boxes = np.array([[0, 0, 4, 2, 0], [0, 2.1, 4, 2, 0], [0.5, 0, 4, 2, 0.1]], dtype=float)
    assert rotated_nms(boxes, 0.2).tolist() == [0, 1]


def test_nothing_in_gives_nothing_out():
    assert circle_nms(np.zeros((0, 2)), 1.0).size == 0
    assert rotated_nms(np.zeros((0, 5)), 0.2).size == 0


def crowd(seed: int, count: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.column_stack(
        [
            rng.uniform(-12, 12, (count, 2)),
            np.exp(rng.normal(0.8, 0.6, (count, 2))),
            rng.uniform(-7, 7, count),
        ]
    )


def one_after_the_other(boxes: np.ndarray, max_iou: float) -> list[int]:
    kept: list[int] = []
    for index, box in enumerate(boxes):
        better = boxes[kept]
        if not (rotated_iou(better, np.repeat(box[None], len(kept), 0)) > max_iou).any():
            kept.append(index)
    return kept


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("max_iou", [0.0, 0.2, 0.4])
def test_rotated_keeps_what_going_through_the_boxes_one_by_one_keeps(seed, max_iou):
    boxes = crowd(seed, 150)
    expected = one_after_the_other(boxes, max_iou)
    assert 10 < len(expected) < 150
    assert rotated_nms(boxes, max_iou).tolist() == expected


def test_circle_keeps_what_going_through_the_boxes_one_by_one_keeps():
    centers = crowd(0, 200)[:, :2]
    kept: list[int] = []
    for index, center in enumerate(centers):
        if all(((center - centers[better]) ** 2).sum() > 4.0 for better in kept):
            kept.append(index)
    assert circle_nms(centers, 2.0).tolist() == kept
    assert circle_nms(centers, 2.0, max_kept=7).tolist() == kept[:7]


def test_groups_do_not_suppress_each_other_and_have_their_own_limits():
    groups, limits = (
        [crowd(1, 60), crowd(1, 60), np.zeros((0, 5)), crowd(2, 40)],
        [0.1, 0.6, 0, 0.2],
    )
    kept = rotated_nms_of_groups(groups, limits)
    assert len(kept[0]) < len(kept[1])
    for indices, boxes, limit in zip(kept, groups, limits, strict=True):
        assert indices.tolist() == one_after_the_other(boxes, limit)


@pytest.mark.parametrize("max_kept", [1, 7, 40, 500])
def test_asked_for_a_few_it_gives_the_best_of_those_that_survive(max_kept):
    # The second group's boxes lie on each other: its few are not among the first it looks at.
    crowded = crowd(3, 150)
    crowded[:, :2] /= 6
    groups, limits = [crowd(1, 90), crowded, np.zeros((0, 5))], [0.1, 0.3, 0.2]
    kept = rotated_nms_of_groups(groups, limits, max_kept)
    for indices, boxes, limit in zip(kept, groups, limits, strict=True):
        assert indices.tolist() == one_after_the_other(boxes, limit)[:max_kept]


@pytest.mark.filterwarnings("ignore:invalid value")
def test_boxes_without_end_suppress_nothing_and_harm_no_others():
    boxes = crowd(4, 60)
    expected = one_after_the_other(boxes, 0.2)
    endless = np.array([[0.0, 0.0, np.inf, 2.0, 0.3]])
    kept = rotated_nms(np.concatenate([boxes, endless, endless]), 0.2).tolist()
    assert kept == [*expected, 60, 61]
