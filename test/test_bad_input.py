# SPDX-License-Identifier: Apache-2.0
"""Bad input from the first moment on, and how often it is logged; the rest is in `test/faults`."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("rclpy")

from rclpy.logging import get_logger
from rig_bench import RigBench

from simdistill_ros.conversions import stamp_to_msg

CAMERA = "cam_back"


def test_a_camera_that_nobody_publishes_is_named(bench: RigBench) -> None:
    bench.start()

    silent = "no_publisher"
    bench.rig.destroy_publisher(bench._publishers.pop((CAMERA, False)))
    assert bench.spin_until(
        lambda: silent in getattr(bench.diagnostics.get(CAMERA), "message", "")
    ), bench.said()


def test_a_fault_is_counted_every_time_and_logged_once_a_period(
    bench: RigBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    logger_kind = type(get_logger("x"))
    monkeypatch.setattr(logger_kind, "warning", lambda self, text, **_: lines.append(text))
    bench.start()

    def without_stamp(camera: str, message: Any) -> Any:
        if camera == CAMERA:
            message.header.stamp = stamp_to_msg(0)
        return message

    for _ in range(3):
        bench.publish_cycle(without_stamp)
        bench.spin_until(lambda: False, 0.1)

    bench.wait_for_fault(CAMERA, "zero_stamp")
    assert bench.spin_until(lambda: bench.counts(CAMERA)["zero_stamp"] == 3)
    assert sum(CAMERA in line and "zero_stamp" in line for line in lines) == 1
