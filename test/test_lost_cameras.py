# SPDX-License-Identifier: Apache-2.0
"""The node when cameras are lost: what goes out, and what it says of it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy")

from rclpy.parameter import Parameter
from rig_bench import CAMERAS, MS, RigBench

from simdistill_ros.conversions import stamp_ns_from_msg
from simdistill_ros.core.snapshot import Snapshot

LOST = "cam_back"
OTHERS = tuple(camera for camera in CAMERAS if camera != LOST)
AZIMUTHS_DEG = {
    "cam_front": 0,
    "cam_front_left": 60,
    "cam_back_left": 120,
    "cam_back": 180,
    "cam_back_right": -120,
    "cam_front_right": -60,
}


def answer_without(bench: RigBench, lost: tuple[str, ...] = (LOST,)) -> Any:
    """Publish cycles without cameras until one is answered; return the answer."""
    kept = tuple(camera for camera in CAMERAS if camera not in lost)
    stamps: set[int] = set()

    def answers() -> list[Any]:
        return [m for m in bench.detections if stamp_ns_from_msg(m.header.stamp) in stamps]

    for _ in range(40):
        stamps.add(bench.publish_cycle(cameras=kept))
        if bench.spin_until(answers, 0.1):
            return answers()[-1]
    raise AssertionError(f"no detection without {lost}; {bench.said()}")


def quality(bench: RigBench, answer: Any) -> dict[str, str]:
    """Return what the node says of an answer."""

    def found() -> list[Any]:
        return [m for m in bench.qualities if m.header.stamp == answer.header.stamp]

    assert bench.spin_until(found)
    status = found()[-1].status[0]
    said = {value.key: value.value for value in status.values}
    return said | {"message": status.message, "level": str(ord(status.level))}


def snapshot_of(bench: RigBench, answer: Any) -> Snapshot:
    stamp_ns = stamp_ns_from_msg(answer.header.stamp)
    return next(s for s in bench.detector.snapshots if s.stamp_ns == stamp_ns)


def test_with_the_policy_blank_a_dead_camera_is_left_out_and_taken_in_when_it_returns(
    bench: RigBench,
) -> None:
    bench.start(sync__missing__policy="blank")
    bench.calibrate()
    assert quality(bench, bench.detect_one())["message"] == "all cameras"

    answer = answer_without(bench)
    said = quality(bench, answer)

    assert (said["missing"], said["held"], said["level"]) == (LOST, "none", "1")
    snapshot = snapshot_of(bench, answer)
    assert snapshot.missing == (LOST,)
    assert [view.camera for view in snapshot.views] == list(OTHERS)
    assert "missing_in_set" in bench.wait_for_fault(LOST, "missing_in_set")
    assert bench.counts("cam_front") == {}

    for _ in range(20):
        bench.detect_one()
        if not bench.detector.snapshots[-1].missing:
            break
    assert bench.detector.snapshots[-1].missing == ()


def test_with_the_policy_hold_the_last_image_stands_in_with_its_own_stamp(bench: RigBench) -> None:
    bench.start(sync__missing__policy="hold", sync__missing__hold_s=10.0)
    bench.calibrate()
    bench.detect_one()

    answer = answer_without(bench)
    said = quality(bench, answer)

    assert (said["missing"], said["held"]) == ("none", LOST)
    snapshot = snapshot_of(bench, answer)
    assert snapshot.held == (LOST,)
    assert snapshot.view(LOST).stamp_ns < snapshot.stamp_ns - 83 * MS
    assert snapshot.spread_ns == 43 * MS
    age_ns = snapshot.stamp_ns - snapshot.view(LOST).stamp_ns
    assert said["held_age_ms"] == f"{age_ns / 1e6:.0f}"


def test_with_the_policy_drop_a_dead_camera_means_silence_until_the_policy_changes(
    bench: RigBench,
) -> None:
    bench.start()
    bench.calibrate()
    bench.detect_one()
    with pytest.raises(AssertionError, match="no detection without"):
        answer_without(bench)
    assert bench.node is not None

    (result,) = bench.node.set_parameters([Parameter("sync.missing.policy", value="blank")])

    assert result.successful
    assert quality(bench, answer_without(bench))["missing"] == LOST


def test_an_image_that_cannot_be_used_is_left_out_like_one_that_never_came(
    bench: RigBench,
) -> None:
    bench.start(compressed=True, sync__missing__policy="blank")
    bench.calibrate()
    bench.detect_one()
    count = len(bench.detections)

    def spoil(camera: str, message: Any) -> Any:
        if camera == LOST:
            message.data = message.data[:20]
        return message

    for _ in range(20):
        bench.publish_cycle(spoil)
        if bench.spin_until(lambda: bench.detector.snapshots[-1].missing, 0.2):
            break
    bench.wait_for_fault(LOST, "undecodable")
    assert bench.spin_until(lambda: any("cam_back" in m.status[0].message for m in bench.qualities))
    assert len(bench.detections) > count


def test_directions_that_no_image_shows_are_published_and_boxes_there_flagged_or_suppressed(
    bench: RigBench,
) -> None:
    bench.start(sync__missing__policy="blank")
    bench.calibrate()
    bench.publish_transforms(azimuths_deg=AZIMUTHS_DEG)
    assert bench.spin_until(lambda: bench.rig.count_publishers("/detector/coverage") > 0)
    for _ in range(20):
        whole = bench.detect_one()
        if float(quality(bench, whole)["blind_deg"]) == 0:
            break
    assert float(quality(bench, whole)["blind_deg"]) == 0

    flagged = answer_without(bench, ("cam_front",))  # the box is straight ahead

    said = quality(bench, flagged)
    assert 50 <= float(said["blind_deg"]) <= 60  # 60 degrees a camera, 65 a field of view
    assert said["boxes_in_blind_directions"] == "1"
    assert len(flagged.detections) == 1
    stamp_ns = stamp_ns_from_msg(flagged.header.stamp)
    cloud = next(m for m in bench.velocities if stamp_ns_from_msg(m.header.stamp) == stamp_ns)
    assert [field.name for field in cloud.fields] == ["x", "y", "z", "vx", "vy", "seen"]
    assert np.frombuffer(bytes(cloud.data), "<f4")[-1] == 0.0

    def rings() -> list[Any]:
        return [m for m in bench.coverages if m.header.stamp == flagged.header.stamp]

    assert bench.spin_until(rings)
    ring = rings()[-1]
    degrees = np.degrees(ring.angle_min + np.arange(len(ring.ranges)) * ring.angle_increment)
    assert all(math.isnan(r) == (abs(d) < 27.4) for d, r in zip(degrees, ring.ranges, strict=True))
    assert bench.node is not None

    bench.node.set_parameters([Parameter("blind_detections", value="suppress")])

    answer_without(bench, ("cam_front",))
    assert len(answer_without(bench, ("cam_front",)).detections) == 0


def test_a_policy_that_cannot_be_is_refused_with_a_reason(bench: RigBench) -> None:
    bench.start()
    assert bench.node is not None
    for name, value, reason in (
        ("sync.missing.policy", "guess", "expected drop, blank, hold; got 'guess'"),
        ("sync.missing.min_cameras", 7, "expected at most 6, the number of cameras; got 7"),
        ("sync.timeout_s", 1.0, "read when the node is configured: deactivate and clean it up"),
        ("cameras.cam_back.image_topic", "elsewhere", "read when the node is configured"),
        ("log.period_s", 1.0, "read once, when the node starts"),
    ):
        (result,) = bench.node.set_parameters([Parameter(name, value=value)])
        assert not result.successful
        assert reason in result.reason
    bench.node.trigger_deactivate()
    bench.node.trigger_cleanup()
    (result,) = bench.node.set_parameters([Parameter("sync.timeout_s", value=1.0)])
    assert result.successful
