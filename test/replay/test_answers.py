# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np

from simdistill_ros.core.boxes import empty_detections
from simdistill_ros.replay.answers import AnswerBook


def boxes(stamp_ns, count):
    empty = empty_detections("base_link", stamp_ns, ("car",))
    return replace(
        empty,
        centers_m=np.arange(3.0 * count).reshape(count, 3),
        sizes_lwh_m=np.ones((count, 3)),
        yaws_rad=np.zeros(count),
        velocities_mps=np.zeros((count, 2)),
        scores=np.ones(count),
        labels=np.zeros(count, dtype=np.int64),
    )


def test_boxes_alone_are_no_answer():
    book = AnswerBook()
    book.add_detections(boxes(1, 2), 10)
    assert book.answers == {}
    assert book.unpaired == 1


def test_velocities_join_the_boxes_of_their_stamp_in_order():
    book = AnswerBook()
    book.add_velocities(1, np.array([[1.0, 2.0], [3.0, 4.0]]), 10)
    book.add_detections(boxes(2, 1), 11)
    book.add_detections(boxes(1, 2), 12)
    assert list(book.answers) == [1]
    np.testing.assert_array_equal(
        book.answers[1].detections.velocities_mps, [[1.0, 2.0], [3.0, 4.0]]
    )
    assert book.answers[1].received_ns == 12
    assert book.unpaired == 1


def test_pair_of_different_lengths_is_refused():
    book = AnswerBook()
    book.add_detections(boxes(7, 2), 10)
    book.add_velocities(7, np.zeros((1, 2)), 11)
    assert book.answers == {}
    assert book.refused == ["7: 2 boxes, 1 velocities"]


def test_newest_answer_that_is_not_too_old_stands_in():
    book = AnswerBook()
    for stamp_ns in (10, 20, 40):
        book.add_detections(boxes(stamp_ns, 0), 0)
        book.add_velocities(stamp_ns, np.zeros((0, 2)), 0)
    assert book.newest(20, 0).detections.stamp_ns == 20
    assert book.newest(30, 0) is None
    assert book.newest(30, 10).detections.stamp_ns == 20
    assert book.newest(30, 9) is None
    assert book.newest(39, 50).detections.stamp_ns == 20


def test_empty_answer_is_an_answer():
    book = AnswerBook()
    book.add_detections(boxes(7, 0), 10)
    book.add_velocities(7, np.zeros((0, 2)), 11)
    assert len(book.answers[7].detections) == 0
