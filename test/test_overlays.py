# SPDX-License-Identifier: Apache-2.0
"""Pictures for people: off unless asked for, free unless looked at, never in the way."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy")

import simplejpeg
from drawn_boxes import colored
from rig_bench import CAMERAS, RELIABLE, RigBench
from sensor_msgs.msg import CompressedImage

from simdistill_ros.conversions import stamp_ns_from_msg
from simdistill_ros.core.class_colors import CLASS_COLORS
from simdistill_ros.core.preprocess import InputRule
from simdistill_ros.image_preparation import PendingImage
from simdistill_ros.overlays import OverlayJob, Overlays
from simdistill_ros.parameters import OverlayParameters

ON = {"overlay.mosaic": True, "overlay.bev": True, "overlay.rate_hz": 60.0}
AZIMUTHS_DEG = {"cam_front": 0.0, "cam_front_left": 60.0, "cam_front_right": -60.0,
                "cam_back": 180.0, "cam_back_left": 120.0, "cam_back_right": -120.0}  # fmt: skip


class Viewer:
    """Looks at the pictures."""

    def __init__(self, bench: RigBench, names: tuple[str, ...] = ("mosaic", "bev")) -> None:
        self.bench = bench
        self.pictures: dict[str, list[CompressedImage]] = {name: [] for name in names}
        for name in names:
            topic = f"/detector/overlay/{name}/compressed"
            bench.rig.create_subscription(
                CompressedImage, topic, self.pictures[name].append, RELIABLE
            )
        overlays = overlays_of(bench)
        assert bench.spin_until(lambda: all(overlays.is_heard(name) for name in names))

    def see(self) -> dict[str, CompressedImage]:
        """Return the first picture of each kind that a detection came with."""
        for _ in range(20):
            answer = self.bench.detect_one()

            def with_stamp(answer: Any = answer) -> dict[str, CompressedImage]:
                return {name: p for name, all_ in self.pictures.items() for p in all_
                        if p.header.stamp == answer.header.stamp}  # fmt: skip

            if self.bench.spin_until(lambda: len(with_stamp()) == len(self.pictures), 1.0):
                return with_stamp()
        raise AssertionError(f"no pictures came; {self.bench.said()}")


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> list[PendingImage]:
    """Every image that is prepared while the test runs."""
    images: list[PendingImage] = []
    run = PendingImage.run

    def noted(self: PendingImage) -> None:
        if not self.is_prepared:
            images.append(self)
        run(self)

    monkeypatch.setattr(PendingImage, "run", noted)
    return images


def overlays_of(bench: RigBench) -> Overlays:
    assert bench.node is not None
    assert bench.node._outputs is not None
    return bench.node._outputs.overlays


def calibrate(bench: RigBench) -> None:
    bench.calibrate()
    bench.publish_transforms(azimuths_deg=AZIMUTHS_DEG)
    bench.spin_until(lambda: False, 0.2)


def decoded(picture: CompressedImage) -> Any:
    return simplejpeg.decode_jpeg(bytes(picture.data))


def test_pictures_are_off_by_default(bench: RigBench) -> None:
    bench.start(compressed=True)

    topics = {name for name, _ in bench.rig.get_topic_names_and_types()}
    assert "/detector/markers" in topics
    assert not {name for name in topics if "overlay" in name}
    assert not [t for t in threading.enumerate() if t.name == "overlays"]


def test_while_nobody_listens_no_image_is_kept_and_nothing_is_drawn(
    bench: RigBench, prepared: list[PendingImage], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.start(compressed=True, **ON)
    drawn: list[OverlayJob] = []
    monkeypatch.setattr(overlays_of(bench), "_draw", drawn.append)
    calibrate(bench)
    bench.detect_one()
    bench.detect_one()

    assert len(prepared) >= 12
    assert all(image.result().source is None for image in prepared)
    assert not drawn
    assert not overlays_of(bench).is_due()


def test_who_looks_from_above_only_has_no_image_kept(
    bench: RigBench, prepared: list[PendingImage]
) -> None:
    bench.start(compressed=True, **ON)
    calibrate(bench)
    viewer = Viewer(bench, ("bev",))
    viewer.see()

    assert all(image.result().source is None for image in prepared)


@pytest.mark.parametrize("compressed", [True, False])
def test_pictures_carry_the_detections_stamp_and_the_vehicles_frame(
    bench: RigBench, compressed: bool
) -> None:
    bench.start(compressed=compressed, **{**ON, "overlay.width_px": 480})
    calibrate(bench)

    pictures = Viewer(bench).see()

    stamps = {stamp_ns_from_msg(p.header.stamp) for p in pictures.values()}
    assert stamps <= {stamp_ns_from_msg(d.header.stamp) for d in bench.detections}
    assert {p.header.frame_id for p in pictures.values()} == {"base_link"}
    assert {p.format for p in pictures.values()} == {"jpeg"}
    assert decoded(pictures["bev"]).shape == (240, 240, 3)


def test_each_camera_is_in_its_place_with_the_box_that_it_sees(bench: RigBench) -> None:
    bench.start(compressed=True, **{**ON, "overlay.width_px": 960, "overlay.quality": 95})
    calibrate(bench)

    mosaic = decoded(Viewer(bench).see()["mosaic"])

    height, width = (mosaic.shape[0] - 4) // 2, (mosaic.shape[1] - 8) // 3
    places = [["cam_front_left", "cam_front", "cam_front_right"],
              ["cam_back_left", "cam_back", "cam_back_right"]]  # fmt: skip
    for row, names in enumerate(places):
        for column, name in enumerate(names):
            top, left = row * (height + 4), column * (width + 4)
            tile = mosaic[top : top + height, left : left + width]
            assert abs(np.median(tile) - (90 + 20 * CAMERAS.index(name))) <= 2, name
            has_box = len(colored(tile, CLASS_COLORS["car"], 90)) > 10
            assert has_box == (name == "cam_front"), name


def test_the_network_input_is_not_what_is_drawn(bench: RigBench) -> None:
    bench.detector.input_rule = InputRule((16, 40), 44)  # type: ignore[assignment]
    bench.start(compressed=True, **{**ON, "overlay.width_px": 480})
    calibrate(bench)

    mosaic = decoded(Viewer(bench, ("mosaic",)).see()["mosaic"])

    assert bench.detector.snapshots[-1].views[0].image.shape == (16, 40, 3)
    tile_width = (mosaic.shape[1] - 8) // 3
    assert (mosaic.shape[0] - 4) // 2 == round(tile_width * 36 / 64)  # the camera's shape


def test_a_box_below_the_score_is_not_drawn(bench: RigBench) -> None:
    bench.start(compressed=True, **{**ON, "overlay.min_score": 0.8, "overlay.quality": 95})
    calibrate(bench)

    bev = decoded(Viewer(bench, ("bev",)).see()["bev"])

    assert not len(colored(bev, CLASS_COLORS["car"], 60))


def test_detections_do_not_wait_for_a_picture(
    bench: RigBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.start(compressed=True, **ON)
    drawing, done = threading.Event(), threading.Event()

    def slow(job: OverlayJob) -> None:
        drawing.set()
        done.wait(30)

    monkeypatch.setattr(Overlays, "_draw", lambda self, job: slow(job))
    bench.node.trigger_deactivate()  # type: ignore[union-attr]
    bench.node.trigger_activate()  # type: ignore[union-attr]
    bench.connect_cameras()
    calibrate(bench)
    Viewer(bench, ("bev",))
    bench.detect_one()
    assert bench.spin_until(drawing.is_set)
    for _ in range(3):
        bench.detect_one()
    assert not done.is_set()
    done.set()


def test_a_picture_that_cannot_be_drawn_is_a_named_fault_and_the_node_lives(
    bench: RigBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Overlays, job: OverlayJob) -> Any:
        raise RuntimeError("no paint")

    monkeypatch.setattr(Overlays, "_draw_bev", broken)
    bench.start(compressed=True, **ON)
    calibrate(bench)
    Viewer(bench, ("bev",))
    bench.detect_one()

    assert bench.spin_until(lambda: bench.counts("overlays").get("not_drawn"))
    bench.detect_one()


class Publisher:
    """Stands in for a lifecycle publisher with listeners."""

    listeners = 1

    def get_subscription_count(self) -> int:
        return self.listeners


@pytest.fixture
def overlays() -> Iterator[Any]:
    """Overlays with a listener, at most two a second, on a clock that the test moves."""
    clock = SimpleNamespace(ns=10**12, jobs=[])
    node = SimpleNamespace(create_lifecycle_publisher=lambda *a, **k: Publisher())
    parameters = OverlayParameters(bev=True, period_ns=500_000_000)
    made = Overlays(node, parameters, clock_ns=lambda: clock.ns)
    made._draw = clock.jobs.append  # type: ignore[method-assign]
    made.start(lambda error: None)
    yield made, clock
    made.stop()


def test_there_are_no_more_pictures_a_second_than_asked_for(overlays: Any) -> None:
    made, clock = overlays
    due = []
    for _ in range(25):  # two and a half seconds at 10 Hz
        due.append(made.is_due())
        if due[-1]:
            made.offer(SimpleNamespace())
        clock.ns += 100_000_000

    assert due == [i % 5 == 0 for i in range(25)]


def test_after_the_stop_nothing_is_due_and_an_offer_is_let_go(overlays: Any) -> None:
    made, _ = overlays
    made.stop()

    assert not made.is_due()
    made.offer(SimpleNamespace())
