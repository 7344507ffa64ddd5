# SPDX-License-Identifier: Apache-2.0
"""Markers: namespaces, ids, lifetimes, deletion."""

import numpy as np
import pytest

pytest.importorskip("rclpy")

from visualization_msgs.msg import Marker

from simdistill_ros.core.boxes import NUSCENES_CLASSES, Detections
from simdistill_ros.outputs import markers_of

LIFETIME_NS = 1_500_000_000


def boxes(labels: list[int], speeds_mps: list[float]) -> Detections:
    count = len(labels)
    return Detections(
        frame="base_link",
        stamp_ns=5_000_000_007,
        centers_m=np.arange(3 * count, dtype=float).reshape(count, 3),
        sizes_lwh_m=np.tile([4.0, 2.0, 1.5], (count, 1)),
        yaws_rad=np.zeros(count),
        velocities_mps=np.array([[v, 0.0] for v in speeds_mps]).reshape(count, 2),
        scores=np.linspace(0.9, 0.5, count),
        labels=np.array(labels, dtype=np.int64),
        class_names=NUSCENES_CLASSES,
    )


def test_ids_count_within_the_class_and_the_namespace_is_the_class() -> None:
    array, _ = markers_of(boxes([0, 8, 0], [0, 0, 0]), LIFETIME_NS, set())

    assert [(m.ns, m.id) for m in array.markers] == [("car", 0), ("pedestrian", 0), ("car", 1)]
    assert all(m.type == Marker.CUBE for m in array.markers)


def test_markers_carry_frame_stamp_size_and_lifetime() -> None:
    array, _ = markers_of(boxes([0], [0]), LIFETIME_NS, set())

    marker = array.markers[0]
    assert marker.header.frame_id == "base_link"
    assert (marker.header.stamp.sec, marker.header.stamp.nanosec) == (5, 7)
    assert (marker.lifetime.sec, marker.lifetime.nanosec) == (1, 500_000_000)
    assert (marker.scale.x, marker.scale.y, marker.scale.z) == (4.0, 2.0, 1.5)
    assert 0 < marker.color.a <= 1


def test_a_moving_box_has_an_arrow_as_long_as_a_second_of_travel() -> None:
    array, _ = markers_of(boxes([0, 0], [5.0, 0.05]), LIFETIME_NS, set())

    arrows = [m for m in array.markers if m.type == Marker.ARROW]
    assert [(m.ns, m.id) for m in arrows] == [("car_velocity", 0)]
    start, end = arrows[0].points
    assert end.x - start.x == pytest.approx(5.0)


def test_markers_that_vanish_are_deleted_and_those_that_stay_are_not() -> None:
    _, shown = markers_of(boxes([0, 0, 8], [0, 0, 0]), LIFETIME_NS, set())

    array, shown = markers_of(boxes([0], [0]), LIFETIME_NS, shown)

    deleted = [(m.ns, m.id) for m in array.markers if m.action == Marker.DELETE]
    assert deleted == [("car", 1), ("pedestrian", 0)]
    assert shown == {("car", 0)}


def test_a_class_keeps_its_colour_when_others_come_and_go() -> None:
    first, _ = markers_of(boxes([8], [0]), LIFETIME_NS, set())
    second, _ = markers_of(boxes([0, 8], [0, 0]), LIFETIME_NS, set())

    a, b = first.markers[0].color, second.markers[1].color
    assert (a.r, a.g, a.b) == (b.r, b.g, b.b)
    car = second.markers[0].color
    assert (a.r, a.g, a.b) != (car.r, car.g, car.b)
