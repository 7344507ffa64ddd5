# SPDX-License-Identifier: Apache-2.0
"""A calibration that changes while the node runs."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy")

from rig_bench import CAMERAS, HEIGHT, WIDTH, K, RigBench

from simdistill_ros.conversions import info_to_msg, stamp_ns_from_msg
from simdistill_ros.core.calibration_change import JumpBounds
from simdistill_ros.core.camera import CameraCalibration
from simdistill_ros.recalibration import CalibrationStore, Recalibration

BOUNDS = JumpBounds(turn_rad=np.radians(1.0), shift_m=0.05)
MOVED = K + np.diag([5.0, 5.0, 0.0])  # the lens zoomed: corners turn by some degrees
POSE = np.eye(4)


class Bench:
    """A recalibration whose work waits until a test lets it go on."""

    def __init__(self) -> None:
        self.store = CalibrationStore()
        self.faults: list[Any] = []
        self.rigs: list[Any] = []
        self.may_finish = threading.Event()
        self.recalibration = Recalibration(
            self.store,
            calibration_of=lambda camera, info: calibration(np.reshape(info.k, (3, 3))),
            work_in=self.work_in,
            report=self.faults.append,
            bounds=BOUNDS,
        )

    def work_in(self, rig: Any) -> None:
        self.may_finish.wait(20)
        self.rigs.append(rig)

    def use(self, camera: str, k: Any, pose: Any = POSE, *, is_static: bool = True) -> Any:
        used = self.recalibration.pose(camera, pose, is_static=is_static)
        self.recalibration.note(camera, calibration(k))
        return used

    def wait(self, count: int) -> None:
        self.may_finish.set()
        for _ in range(2000):
            if self.recalibration.count >= count:
                return
            threading.Event().wait(0.01)
        raise AssertionError("the calibration was not worked in")


@pytest.fixture
def work():
    bench = Bench()
    yield bench
    bench.may_finish.set()
    bench.recalibration.close()


def calibration(k: Any) -> CameraCalibration:
    return CameraCalibration(WIDTH, HEIGHT, np.asarray(k, dtype=np.float64))


def info(k: Any, stamp_ns: int = 0) -> Any:
    return info_to_msg(calibration(k), "cam_optical_frame", stamp_ns)


def test_the_first_calibration_is_used_at_once_and_an_equal_one_changes_nothing(work):
    first, again = info(K, 1), info(K, 2)
    work.store.put("cam", first)
    assert work.store.get("cam") is first
    work.use("cam", K)
    work.store.put("cam", again)
    assert not work.recalibration.is_pending
    assert work.rigs == []


def test_a_changed_calibration_is_used_only_after_it_was_worked_in(work):
    first, second = info(K), info(MOVED)
    work.store.put("cam", first)
    work.use("cam", K)
    work.store.put("cam", second)
    assert work.store.get("cam") is first
    assert work.recalibration.is_pending
    work.wait(1)
    assert work.store.get("cam") is second
    (rig,) = work.rigs
    np.testing.assert_array_equal(rig["cam"].calibration.image_from_cam, MOVED)
    assert work.recalibration.is_pending  # images prepared with the old one may be on their way
    work.use("cam", K)
    assert work.recalibration.is_pending
    work.use("cam", MOVED)
    assert not work.recalibration.is_pending


def test_a_changed_mounting_is_used_only_after_it_was_worked_in(work):
    moved = POSE.copy()
    moved[0, 3] = 0.02
    work.store.put("cam", info(K))
    work.use("cam", K)
    np.testing.assert_array_equal(work.use("cam", K, moved), POSE)
    assert work.recalibration.is_pending
    work.wait(1)
    np.testing.assert_array_equal(work.use("cam", K, moved), moved)
    assert not work.recalibration.is_pending
    assert work.faults == []  # 2 cm is no jump


def test_a_mounting_that_moves_with_time_is_used_as_it_is(work):
    moved = POSE.copy()
    moved[0, 3] = 0.02
    work.use("cam", K, is_static=False)
    np.testing.assert_array_equal(work.use("cam", K, moved, is_static=False), moved)
    assert not work.recalibration.is_pending


def test_a_jump_is_reported_with_its_size(work):
    moved = POSE.copy()
    moved[:3, 3] = [0.3, 0.4, 0.0]
    work.store.put("cam", info(K))
    work.use("cam", K)
    work.use("cam", K, moved)
    work.wait(1)
    (fault,) = work.faults
    assert (fault.subject, fault.cause) == ("cam", "calibration_jump")
    assert "moved by 0.500 m; expected at most 1.00 degrees and 0.050 m" in str(fault)


def test_the_node_works_a_new_calibration_in_and_reports_the_jump(bench: RigBench) -> None:
    bench.start()
    bench.calibrate()
    bench.detect_one()
    assert bench.node is not None

    bench.publish_infos(("cam_front",), k=MOVED.ravel().tolist(), p=[0.0] * 12)

    text = bench.wait_for_fault("cam_front", "calibration_jump")
    assert "calibration_jump" in text
    for _ in range(20):
        answer = bench.detect_one()
        stamp_ns = stamp_ns_from_msg(answer.header.stamp)
        snapshot = next(s for s in bench.detector.snapshots if s.stamp_ns == stamp_ns)
        if snapshot.view("cam_front").calibration.image_from_cam[0, 0] == MOVED[0, 0]:
            break
    assert snapshot.view("cam_front").calibration.image_from_cam[0, 0] == MOVED[0, 0]
    assert bench.detector.prepared[-1].keys() == set(CAMERAS)
