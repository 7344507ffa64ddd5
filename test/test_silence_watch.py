# SPDX-License-Identifier: Apache-2.0
"""A node that falls silent says which camera and why, in the log and in `/diagnostics`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("rclpy")

import rclpy
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.context import Context
from rclpy.logging import get_logger
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rig_bench import CAMERAS, MS, RELIABLE, RigBench
from sensor_msgs.msg import CompressedImage, Image

from simdistill_ros.conversions import stamp_to_msg

CAMERA = "cam_back"
SILENCE_S = 0.4


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the warnings that the node logs."""
    logged: list[str] = []
    monkeypatch.setattr(
        type(get_logger("x")), "warning", lambda self, text, **_: logged.append(text)
    )
    return logged


def start(bench: RigBench, **parameters: Any) -> None:
    bench.start(silence__deadline_s=SILENCE_S, **parameters)


def start_apart(bench: RigBench, topic: str, **parameters: Any) -> None:
    """Start a node that expects one camera on a topic of which the rig knows nothing."""
    start(bench, activate=False, cameras__cam_back__image_topic=topic, **parameters)
    assert bench.node is not None
    for camera in CAMERAS:
        bench.publisher(camera)
    bench.node.autostart()
    bench.calibrate()


def reason(bench: RigBench) -> tuple[str, str, str]:
    """Return subject, cause and message of the output's status."""
    status = bench.diagnostics.get("output")
    values = {v.key: v.value for v in status.values} if status else {}
    return (
        values.get("subject", ""), values.get("reason", ""), status.message if status else "",
    )  # fmt: skip


def wait_for_reason(bench: RigBench, subject: str, cause: str, feed: Callable[[], Any]) -> str:
    """Keep the rig going until the output's reason is this; return the message."""
    deadline = time.monotonic() + 20
    while reason(bench)[:2] != (subject, cause):
        assert time.monotonic() < deadline, f"no {subject}: {cause}; {reason(bench)} {bench.said()}"
        feed()
        bench.spin_until(lambda: False, 0.08)
    return reason(bench)[2]


def test_a_camera_that_nobody_publishes_is_the_reason_and_said_once(
    bench: RigBench, lines: list[str]
) -> None:
    start_apart(bench, "/elsewhere")

    message = wait_for_reason(bench, CAMERA, "no_publisher", bench.publish_cycle)

    assert "nobody publishes /elsewhere" in message
    assert bench.diagnostics["output"].level == DiagnosticStatus.ERROR
    said = [line for line in lines if line.startswith("output: no_publisher")]
    assert len(said) == 1  # log.period_s is long
    assert f"{CAMERA}: nobody publishes /elsewhere" in said[0]


def test_a_camera_that_falls_silent_is_named_and_the_status_recovers(bench: RigBench) -> None:
    start(bench)
    bench.calibrate()
    bench.detect_one()
    others = tuple(camera for camera in CAMERAS if camera != CAMERA)

    message = wait_for_reason(bench, CAMERA, "silent", lambda: bench.publish_cycle(cameras=others))

    assert f"{CAMERA}/image_rect" in message
    bench.detect_one()
    assert bench.spin_until(lambda: reason(bench)[1] == "none")
    assert bench.diagnostics["output"].level == DiagnosticStatus.OK


def test_an_image_of_the_other_kind_is_named_with_the_parameter(
    bench: RigBench, ros_domain: int
) -> None:
    start_apart(bench, "/jpegs")
    elsewhere = Context()  # one participant cannot have two types on a topic
    rclpy.init(context=elsewhere, domain_id=ros_domain)
    driver = rclpy.create_node("driver", context=elsewhere)
    driver.create_publisher(CompressedImage, "/jpegs", RELIABLE)

    message = wait_for_reason(bench, CAMERA, "wrong_type", bench.publish_cycle)

    assert "set input.compressed to true" in message
    driver.destroy_node()
    rclpy.shutdown(context=elsewhere)


def test_a_qos_that_does_not_match_is_the_reason(bench: RigBench) -> None:
    start_apart(bench, "/best_effort", input__reliability="reliable")
    best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    bench.rig.create_publisher(Image, "/best_effort", best_effort)

    message = wait_for_reason(bench, CAMERA, "incompatible_qos", bench.publish_cycle)

    assert "/best_effort" in message


def change_stamp(message: Any, add_ns: int | None) -> Any:
    now_ns = time.time_ns()
    message.header.stamp = stamp_to_msg(0 if add_ns is None else now_ns + add_ns)
    return message


@pytest.mark.parametrize(("add_ns", "cause"), [(None, "zero_stamp"), (9000 * MS, "future_stamp")])
def test_stamps_that_cannot_be_are_the_reason(
    bench: RigBench, add_ns: int | None, cause: str
) -> None:
    start(bench)
    bench.calibrate()

    def publish() -> None:
        bench.publish_cycle(lambda name, m: change_stamp(m, add_ns) if name == CAMERA else m)

    wait_for_reason(bench, CAMERA, cause, publish)


def test_missing_transforms_are_told_with_both_frames(bench: RigBench) -> None:
    start(bench)
    bench.publish_transforms(tuple(camera for camera in CAMERAS if camera != CAMERA))
    bench.publish_infos()

    message = wait_for_reason(bench, CAMERA, "unknown_frame", bench.publish_cycle)

    assert "cam_back_optical_frame to base_link" in message


def test_a_set_that_spreads_too_far_is_told_with_its_spread(bench: RigBench) -> None:
    start(bench)
    bench.calibrate()

    def publish_wide() -> None:
        bench._cycle += 1
        for number, camera in enumerate(CAMERAS):
            stamp_ns = 1_600_000_000_000_000_000 + bench._cycle * 400 * MS + number * 20 * MS
            bench.publisher(camera).publish(bench.image(camera, stamp_ns))

    message = wait_for_reason(bench, "sync", "out_of_tolerance", publish_wide)

    assert "100.0 ms; sync.tolerance_s allows 60.0 ms" in message


def test_a_network_that_does_not_come_back_is_slow(bench: RigBench) -> None:
    start(bench)
    bench.calibrate()
    bench.detect_one()
    bench.detector.delay_s = 4.0

    message = wait_for_reason(bench, "inference", "inference_slow", bench.publish_cycle)

    assert "has been in hand for" in message
    bench.detector.delay_s = 0.0


def test_a_lost_device_is_the_reason(bench: RigBench) -> None:
    start(bench)
    bench.calibrate()
    bench.detect_one()
    error = RuntimeError("CUDA error: unspecified launch failure")
    bench.detector.failures = [error] * 200

    message = wait_for_reason(bench, "inference", "device_lost", bench.publish_cycle)

    assert "unspecified launch failure" in message


def test_a_node_that_was_not_activated_says_so_once(bench: RigBench, lines: list[str]) -> None:
    bench.start(activate=False, silence__deadline_s=0.1)
    assert bench.node is not None
    bench.node.trigger_configure()

    message = wait_for_reason(bench, "node", "node_inactive", lambda: None)

    assert message == "node is inactive"
    bench.spin_until(lambda: False, 0.6)
    assert sum("node_inactive" in line for line in lines) == 1


def test_calibrations_that_come_without_their_images_tell_which_setting_to_change(
    bench: RigBench,
) -> None:
    start(bench)
    bench.calibrate()
    bench.detect_one()
    cycle = 0

    def publish_infos_of_lost_images() -> None:
        nonlocal cycle
        cycle += 1
        stamp_ns = 1_700_000_000_000_000_000 + cycle * 83 * MS
        bench.publish_infos((CAMERA,), width=1600, height=900, header=_header(stamp_ns))
        bench.publish_cycle(cameras=tuple(camera for camera in CAMERAS if camera != CAMERA))

    message = wait_for_reason(bench, CAMERA, "images_lost", publish_infos_of_lost_images)

    assert "although their CameraInfo did" in message


def _header(stamp_ns: int) -> Any:
    from simdistill_ros.conversions import header_to_msg

    return header_to_msg(f"{CAMERA}_optical_frame", stamp_ns)


def test_every_snapshots_latency_and_now_and_then_the_percentiles_are_published(
    bench: RigBench,
) -> None:
    bench.start(compressed=True, latency__deadline_s=0.001)
    bench.calibrate()
    bench.detect_one()
    assert bench.spin_until(lambda: bench.latencies)

    statuses = bench.latencies[0].status

    assert [status.name for status in statuses] == [
        "/detector: latency",
        "/detector: latency percentiles",
    ]
    stages = {value.key for value in statuses[0].values}
    assert {
        "sensor_age_ms", "sync_wait_ms", "decode_image_ms", "render_image_ms", "queue_ms",
        "snapshot_ms", "inference_ms", "detect_ms", "publish_ms", "overhead_ms", "total_ms",
    } <= stages  # fmt: skip
    percentiles = {value.key for value in statuses[1].values}
    assert {"total_p50_ms", "total_p95_ms", "total_p99_ms"} <= percentiles
    assert bench.spin_until(lambda: bench.diagnostics["latency"].level == DiagnosticStatus.WARN), (
        "a deadline of 1 ms was not missed"
    )
    assert "latency.deadline_s is 0.001" in bench.diagnostics["latency"].message


def test_the_hardware_id_is_a_parameter(bench: RigBench) -> None:
    bench.start(hardware_id="truck 7")

    assert bench.spin_until(lambda: "sync" in bench.diagnostics)
    assert bench.spin_until(lambda: bench.diagnostics["sync"].hardware_id == "truck 7")


def test_images_that_change_their_size_are_told(bench: RigBench) -> None:
    start(bench)
    bench.calibrate()
    bench.detect_one()

    def halve(camera: str, message: Any) -> Any:
        if camera == CAMERA:
            message.height, message.width, message.step = 18, 32, 96
            message.data = message.data[: 18 * 96]
        return message

    for _ in range(3):
        bench.publish_cycle(halve)
        bench.spin_until(lambda: False, 0.1)

    bench.wait_for_fault(CAMERA, "format_changed")
    record = bench.node.health.snapshot()[CAMERA]  # type: ignore[union-attr]
    assert "64x36 rgb8, now they are 32x18 rgb8" in record.last_message
    bench.detect_one()
