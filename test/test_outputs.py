# SPDX-License-Identifier: Apache-2.0
"""The marker stream: frames, namespaces, ids, lifetimes, colours, texts, deletion."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

pytest.importorskip("rclpy")

from rig_bench import RigBench
from visualization_msgs.msg import Marker, MarkerArray

from simdistill_ros.core.boxes import NUSCENES_CLASSES, Detections
from simdistill_ros.core.class_colors import CLASS_COLORS
from simdistill_ros.outputs import markers_of

LIFETIME_NS = 1_500_000_000
CAR, PEDESTRIAN = 0, 8


def boxes(labels: list[int], speeds_mps: list[float] | None = None) -> Detections:
    count = len(labels)
    return Detections(
        frame="base_link",
        stamp_ns=5_000_000_007,
        centers_m=np.arange(3 * count, dtype=float).reshape(count, 3),
        sizes_lwh_m=np.tile([4.0, 2.0, 1.5], (count, 1)),
        yaws_rad=np.zeros(count),
        velocities_mps=np.array([[v, 0.0] for v in speeds_mps or [0.0] * count]).reshape(count, 2),
        scores=np.linspace(0.9, 0.5, count),
        labels=np.array(labels, dtype=np.int64),
        class_names=NUSCENES_CLASSES,
    )


def of_kind(array: MarkerArray, kind: int) -> list[Marker]:
    return [m for m in array.markers if m.action == Marker.ADD and m.type == kind]


class Display:
    """What a display shows of a marker stream; markers stay until they are deleted."""

    def __init__(self) -> None:
        self.shown: dict[tuple[str, int], Marker] = {}

    def take(self, array: MarkerArray) -> None:
        for marker in array.markers:
            key = (marker.ns, marker.id)
            if marker.action == Marker.DELETEALL:
                self.shown.clear()
            elif marker.action == Marker.DELETE:
                self.shown.pop(key, None)
            else:
                self.shown[key] = marker

    def names(self) -> set[str]:
        return {namespace for namespace, _ in self.shown}


def keys(markers: Iterable[Marker]) -> list[tuple[str, int]]:
    return [(m.ns, m.id) for m in markers]


def test_ids_count_within_the_class_and_the_namespace_is_the_class() -> None:
    array, _ = markers_of(boxes([CAR, PEDESTRIAN, CAR]), LIFETIME_NS, set())

    assert keys(of_kind(array, Marker.CUBE)) == [("car", 0), ("pedestrian", 0), ("car", 1)]


def test_no_two_markers_of_a_message_share_namespace_and_id() -> None:
    array, _ = markers_of(boxes(list(range(10)) * 3, [5.0] * 30), LIFETIME_NS, {("car", 70)})

    assert len(set(keys(array.markers))) == len(array.markers) == 3 * 30 + 1


def test_markers_carry_frame_stamp_size_and_lifetime() -> None:
    array, _ = markers_of(boxes([CAR], [5.0]), LIFETIME_NS, set())

    assert len(array.markers) == 3
    for marker in array.markers:
        assert marker.header.frame_id == "base_link"
        assert (marker.header.stamp.sec, marker.header.stamp.nanosec) == (5, 7)
        assert (marker.lifetime.sec, marker.lifetime.nanosec) == (1, 500_000_000)
        q = marker.pose.orientation
        assert q.w**2 + q.x**2 + q.y**2 + q.z**2 == pytest.approx(1.0)
        assert 0 < marker.color.a <= 1
    (cube,) = of_kind(array, Marker.CUBE)
    assert (cube.scale.x, cube.scale.y, cube.scale.z) == (4.0, 2.0, 1.5)


def test_a_moving_box_has_an_arrow_as_long_as_a_second_of_travel() -> None:
    array, _ = markers_of(boxes([CAR, CAR], [5.0, 0.05]), LIFETIME_NS, set())

    (arrow,) = of_kind(array, Marker.ARROW)
    assert (arrow.ns, arrow.id) == ("car_velocity", 0)
    start, end = arrow.points
    assert end.x - start.x == pytest.approx(5.0)


def test_a_text_above_each_box_says_class_and_score() -> None:
    array, _ = markers_of(boxes([CAR, PEDESTRIAN]), LIFETIME_NS, set())

    texts = of_kind(array, Marker.TEXT_VIEW_FACING)
    assert keys(texts) == [("car_text", 0), ("pedestrian_text", 0)]
    assert [t.text for t in texts] == ["car 0.90", "pedestrian 0.50"]
    assert texts[1].pose.position.z > 5.0 + 1.5 / 2  # the box's own centre and half height
    assert all(t.color.a == 1.0 and t.scale.z > 0 for t in texts)


def test_markers_that_vanish_are_deleted_and_those_that_stay_are_not() -> None:
    _, shown = markers_of(boxes([CAR, CAR, PEDESTRIAN]), LIFETIME_NS, set())

    array, shown = markers_of(boxes([CAR]), LIFETIME_NS, shown)

    deleted = {(m.ns, m.id) for m in array.markers if m.action == Marker.DELETE}
    assert deleted == {
        (n + s, i) for n, i in (("car", 1), ("pedestrian", 0)) for s in ("", "_text")
    }
    assert shown == {("car", 0), ("car_text", 0)}


def test_a_display_never_shows_more_or_less_than_the_last_message() -> None:
    display, random = Display(), np.random.default_rng(3)
    shown: set[tuple[str, int]] | None = None
    for _ in range(60):
        count = int(random.integers(0, 12))
        detections = boxes(list(random.integers(0, 10, count)), list(random.uniform(0, 1, count)))

        array, shown = markers_of(detections, 0, shown)
        display.take(array)

        moving = int((np.abs(detections.velocities_mps[:, 0]) > 0.2).sum())
        assert set(display.shown) == shown
        assert len(shown) == 2 * count + moving
        centers = {(m.pose.position.x, m.pose.position.z) for m in display.shown.values()
                   if m.type == Marker.CUBE}  # fmt: skip
        assert centers == {(x, z) for x, _, z in detections.centers_m.tolist()}


def test_what_an_earlier_run_left_on_a_display_goes_with_the_first_message() -> None:
    display = Display()
    display.take(MarkerArray(markers=[Marker(ns="truck", id=9)]))

    array, _ = markers_of(boxes([CAR]), 0, None)
    display.take(array)

    assert array.markers[0].action == Marker.DELETEALL  # RViz obeys it at the front only
    assert display.names() == {"car", "car_text"}


def test_every_class_has_its_own_colour_and_keeps_it_when_others_come_and_go() -> None:
    alone = [markers_of(boxes([label]), 0, set())[0] for label in range(10)]
    together, _ = markers_of(boxes(list(range(10))), 0, set())

    colors = [(m.color.r, m.color.g, m.color.b) for m in of_kind(together, Marker.CUBE)]
    for array, color, name in zip(alone, colors, NUSCENES_CLASSES, strict=True):
        (cube,) = of_kind(array, Marker.CUBE)
        assert (cube.color.r, cube.color.g, cube.color.b) == color
        assert np.round(np.array(color) * 255).tolist() == list(CLASS_COLORS[name])
    assert len(set(colors)) == 10


def test_nothing_is_left_on_display_after_the_node_is_deactivated(bench: RigBench) -> None:
    bench.start(**{"markers.lifetime_s": 0.0})
    bench.calibrate()
    bench.detect_one()
    assert bench.node is not None

    def display() -> Display:
        found = Display()
        for array in bench.markers:
            found.take(array)
        return found

    assert bench.spin_until(lambda: display().names() == {"car", "car_text", "car_velocity"})
    bench.node.trigger_deactivate()
    assert bench.spin_until(lambda: not display().shown)

    bench.node.trigger_activate()
    bench.connect_cameras()
    bench.calibrate()
    bench.detect_one()
    assert bench.spin_until(lambda: display().names() == {"car", "car_text", "car_velocity"})


def test_the_ring_of_seen_directions_stands_in_the_vehicle_frame(bench: RigBench) -> None:
    bench.start()
    bench.calibrate()
    answer = bench.detect_one()

    assert bench.spin_until(lambda: bench.coverages)
    ring = bench.coverages[-1]
    assert ring.header.frame_id == answer.header.frame_id == "base_link"
    assert len(ring.ranges) == 360
    # The rig's cameras all look ahead, 65 degrees wide.
    ahead = [
        r for i, r in enumerate(ring.ranges) if abs(ring.angle_min + i * ring.angle_increment) < 0.5
    ]
    behind = [
        r for i, r in enumerate(ring.ranges) if abs(ring.angle_min + i * ring.angle_increment) > 1.0
    ]
    assert np.isfinite(ahead).all()
    assert np.isnan(behind).all()
