# SPDX-License-Identifier: Apache-2.0
"""Bad input is named, counted and survived: one test for each way to go wrong.

In every case the node stays alive, the camera and the cause appear in a log line and in
`/diagnostics`, and detections come again as soon as the input is good.
"""

from __future__ import annotations

import array
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy")

import yaml
from rclpy.logging import get_logger
from rig_bench import CAMERAS, MS, START_NS, RigBench

from simdistill_ros.conversions import stamp_to_msg
from simdistill_ros.load_detector import load_detector
from simdistill_ros.resources import model_folder

CAMERA = "cam_back"


@pytest.fixture
def lines(bench: RigBench, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the warnings that the node logs."""
    logged: list[str] = []
    logger_kind = type(get_logger("x"))
    monkeypatch.setattr(logger_kind, "warning", lambda self, text, **_: logged.append(text))
    return logged


def spoil(bench: RigBench, change: Callable[[Any], None]) -> None:
    """Publish cycles whose image of CAMERA is changed, until the node has seen a few."""

    def change_one(camera: str, message: Any) -> Any:
        if camera == CAMERA:
            change(message)
        return message

    for _ in range(3):
        bench.publish_cycle(change_one)
        bench.spin_until(lambda: False, 0.1)


def truncate(message: Any) -> None:
    message.data = array.array("B", bytes(message.data)[: len(message.data) // 2])


def garble(message: Any) -> None:
    message.data = array.array("B", b"not a picture")


def wrong_step(message: Any) -> None:
    message.step = message.step - 1


def short_buffer(message: Any) -> None:
    message.data = message.data[:-7]


def zero_size(message: Any) -> None:
    message.height = message.width = message.step = 0
    message.data = array.array("B")


def unknown_encoding(message: Any) -> None:
    message.encoding = "banana"


def other_size(message: Any) -> None:
    message.height = message.height // 2
    message.data = message.data[: message.step * message.height]


@pytest.mark.parametrize(
    ("compressed", "change", "cause"),
    [
        (True, truncate, "undecodable"),
        (True, garble, "undecodable"),
        (False, wrong_step, "wrong_step"),
        (False, short_buffer, "size_mismatch"),
        (False, zero_size, "empty"),
        (False, unknown_encoding, "unknown_encoding"),
        (False, other_size, "aspect_ratio"),
    ],
)
def test_a_spoilt_image_is_named_counted_and_survived(
    bench: RigBench, lines: list[str], compressed: bool, change: Callable[[Any], None], cause: str
) -> None:
    bench.start(compressed=compressed)
    bench.calibrate()
    bench.detect_one()

    spoil(bench, change)

    bench.wait_for_fault(CAMERA, cause)
    assert bench.counts(CAMERA)[cause] >= 2  # counted more often than logged
    assert sum(CAMERA in line and cause in line for line in lines) == 1
    bench.detect_one()


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"k": [float("nan")] * 9}, "not_finite"),
        ({"k": [0.0] * 9}, "uncalibrated"),
        ({"r": [1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0]}, "bad_rotation"),
    ],
)
def test_a_spoilt_calibration_is_named_and_a_good_one_heals_it(
    bench: RigBench, lines: list[str], changes: dict[str, list[float]], cause: str
) -> None:
    bench.start()
    bench.calibrate()
    bench.detect_one()

    bench.publish_infos((CAMERA,), **changes)
    bench.spin_until(lambda: False, 0.2)
    bench.publish_cycle()

    assert cause in bench.wait_for_fault(CAMERA, cause)
    assert any(CAMERA in line and cause in line for line in lines)
    bench.publish_infos((CAMERA,))
    bench.detect_one()


def test_a_missing_camera_info_is_named(bench: RigBench, lines: list[str]) -> None:
    bench.start()
    bench.publish_transforms()
    bench.publish_infos(tuple(c for c in CAMERAS if c != CAMERA))
    for _ in range(3):
        bench.publish_cycle()
        bench.spin_until(lambda: False, 0.2)

    bench.wait_for_fault(CAMERA, "no_camera_info")
    bench.publish_infos()
    bench.detect_one()


def test_a_missing_transform_is_named_with_both_frames(bench: RigBench, lines: list[str]) -> None:
    bench.start()
    bench.publish_transforms(tuple(c for c in CAMERAS if c != CAMERA))
    bench.publish_infos()
    for _ in range(3):
        bench.publish_cycle()
        bench.spin_until(lambda: False, 0.3)

    assert bench.spin_until(lambda: bench.counts(CAMERA))
    message = bench.diagnostics[CAMERA].message
    assert bench.spin_until(lambda: "optical_frame" in bench.diagnostics[CAMERA].message), message
    message = bench.diagnostics[CAMERA].message
    assert "base_link" in message
    assert "cam_back_optical_frame" in message
    assert any(CAMERA in line and "base_link" in line for line in lines)
    assert bench.detections == []  # never the identity instead

    bench.publish_transforms()
    bench.detect_one()


def test_two_cameras_on_one_topic_are_refused_by_name(bench: RigBench, lines: list[str]) -> None:
    bench.start(activate=False, **{"cameras.cam_back.image_topic": "cam_front/image_rect"})
    assert bench.node is not None

    assert not bench.node.autostart()

    message = bench.wait_for_fault("model", "not_configured")
    assert "cam_front/image_rect" in message
    assert "cam_back" in message


def test_a_silent_camera_is_named_and_comes_back(bench: RigBench, lines: list[str]) -> None:
    bench.start()
    bench.calibrate()
    bench.detect_one()
    others = tuple(c for c in CAMERAS if c != CAMERA)

    deadline = time.monotonic() + 2.0
    while time.monotonic() < deadline:
        bench.publish_cycle(cameras=others)
        bench.spin_until(lambda: False, 0.083)

    bench.wait_for_fault(CAMERA, "missing_in_set")
    assert bench.spin_until(lambda: "silent" in bench.diagnostics[CAMERA].message)
    assert "silent" not in bench.diagnostics["cam_front"].message
    assert any(CAMERA in line and "missing_in_set" in line for line in lines)
    bench.detect_one()


def test_a_camera_that_nobody_publishes_is_named(bench: RigBench) -> None:
    bench.start()

    silent = "no_publisher"
    bench.rig.destroy_publisher(bench._publishers.pop((CAMERA, False)))
    assert bench.spin_until(
        lambda: silent in getattr(bench.diagnostics.get(CAMERA), "message", "")
    ), bench.said()


def test_stamps_of_zero_are_named_counted_and_survived(bench: RigBench, lines: list[str]) -> None:
    bench.start()
    bench.calibrate()
    bench.detect_one()

    spoil(bench, lambda message: setattr(message.header, "stamp", stamp_to_msg(0)))

    bench.wait_for_fault(CAMERA, "zero_stamp")
    assert bench.counts(CAMERA)["zero_stamp"] == 3
    assert any(CAMERA in line and "zero_stamp" in line for line in lines)
    bench.detect_one()


def test_stamps_that_jump_back_start_the_matching_anew(bench: RigBench, lines: list[str]) -> None:
    bench.start()
    bench.calibrate()
    bench.detect_one()
    count = len(bench.detections)

    stamps = [bench.publish_cycle(at_ns=START_NS - 30_000 * MS + k * 83 * MS) for k in range(2)]

    def is_answered() -> bool:
        answers = [message.header.stamp for message in bench.detections[count:]]
        return any(stamp_to_msg(stamp_ns) in answers for stamp_ns in stamps)

    assert bench.spin_until(is_answered), bench.said()
    bench.wait_for_fault("sync", "time_jump")
    assert any("time_jump" in line for line in lines)


def test_a_second_publisher_on_a_camera_topic_is_named(bench: RigBench, lines: list[str]) -> None:
    bench.start()
    bench.calibrate()
    bench.detect_one()
    intruder = bench.rig.create_publisher(type(bench.image(CAMERA, 1)), f"{CAMERA}/image_rect", 10)

    assert bench.spin_until(lambda: "2 publishers" in bench.diagnostics[CAMERA].message)
    assert "duplicate_publisher" in bench.diagnostics[CAMERA].message
    for _ in range(3):
        stamp_ns = bench.publish_cycle()
        intruder.publish(bench.image(CAMERA, stamp_ns - 10 * MS))  # the rig's own stamp
        bench.spin_until(lambda: False, 0.083)
    bench.wait_for_fault(CAMERA, "duplicate_stamp")
    assert any(CAMERA in line and "duplicate_stamp" in line for line in lines)
    bench.detect_one()  # the rig goes on

    bench.rig.destroy_publisher(intruder)
    assert bench.spin_until(lambda: "2 publishers" not in bench.diagnostics[CAMERA].message)
    bench.detect_one()


def test_a_model_with_a_wrong_hash_is_refused_by_name(bench: RigBench, tmp_path: Path) -> None:
    card = yaml.safe_load((model_folder("tiny") / "model.yaml").read_text())
    card["weights"] = {"file": "weights.safetensors", "sha256": "0" * 64}
    (tmp_path / "model.yaml").write_text(yaml.safe_dump(card))
    (tmp_path / "weights.safetensors").write_bytes(b"not these")
    bench.start(activate=False, detector_factory=load_detector, model__path=str(tmp_path))
    assert bench.node is not None

    assert not bench.node.autostart()

    message = bench.wait_for_fault("model", "not_configured")
    assert "weights.safetensors" in message
    assert "sha256" in message


def test_an_exception_in_the_detector_is_reported_and_the_node_goes_on(
    bench: RigBench, lines: list[str]
) -> None:
    bench.start()
    bench.calibrate()
    bench.detector.failures.append(RuntimeError("device lost"))
    for _ in range(2):
        bench.publish_cycle()
        bench.spin_until(lambda: False, 0.2)

    bench.wait_for_fault("inference", "device_lost")
    assert any("device lost" in line for line in lines)
    bench.detect_one()
