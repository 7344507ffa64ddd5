# SPDX-License-Identifier: Apache-2.0
"""The rig bench with what planting faults takes: spoilt cycles, calibrations and transforms."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rig_bench import CAMERAS, LATCHED, MS, OFFSETS_NS, RELIABLE, START_NS, RigBench
from tf2_msgs.msg import TFMessage

from simdistill_ros.conversions import stamp_ns_from_msg

CAMERA = "cam_back"
OTHERS = tuple(camera for camera in CAMERAS if camera != CAMERA)
BEST_EFFORT = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
CYCLE_S = 0.083


class FaultBench(RigBench):
    """One node for many faults, one after the other."""

    def __init__(self, domain: int) -> None:
        super().__init__(domain)
        self.statuses: list[DiagnosticStatus] = []
        self.spoilt_ns: set[int] = set()
        self._counts_before: dict[str, dict[str, int]] = {}

    def _listen(self) -> None:
        super()._listen()
        self.rig.create_subscription(DiagnosticArray, "/diagnostics", self._keep_all, RELIABLE)

    def _keep_all(self, message: DiagnosticArray) -> None:
        self.statuses += message.status

    def begin(self) -> None:
        """Forget what earlier faults made the node say."""
        assert self.node is not None
        self.statuses.clear()
        self.spoilt_ns.clear()
        self._counts_before = {name: self.counts(name) for name in self.node.health.snapshot()}

    # -- what is planted ---------------------------------------------------------------------------

    def cycles(
        self,
        change: Callable[[Any], None] | None = None,
        cameras: tuple[str, ...] = CAMERAS,
        count: int = 3,
    ) -> None:
        """Publish cycles in which CAMERA's image is changed."""

        def change_one(camera: str, message: Any) -> Any:
            if camera == CAMERA and change is not None:
                change(message)
            return message

        for _ in range(count):
            self.spoilt_ns.add(self.publish_cycle(change_one, cameras))
            self.spin_until(lambda: False, CYCLE_S)

    def info(self, **changes: Any) -> None:
        """Publish a bad CameraInfo of CAMERA, then cycles."""
        self.publish_infos((CAMERA,), **changes)
        self.spin_until(lambda: False, 0.15)
        self.cycles()

    def transform(self, change: Callable[[Any], None]) -> None:
        """Publish CAMERA's mount, changed."""
        message = self.mount(CAMERA)
        change(message)
        self._tf_static.publish(TFMessage(transforms=[message]))
        self.spin_until(lambda: False, 0.15)

    def second_publisher(self, qos: QoSProfile = RELIABLE) -> Any:
        """Let somebody else publish CAMERA's images too."""
        image = self.image(CAMERA, START_NS)
        return self.rig.create_publisher(type(image), self.publisher(CAMERA).topic, qos)

    def set_live(self, name: str, value: Any) -> None:
        """Change a parameter of the running node."""
        assert self.node is not None
        (result,) = self.node.set_parameters([Parameter(name, value=value)])
        assert result.successful, result.reason

    def stop_publishing(self) -> None:
        """End the publisher of CAMERA's images."""
        self.rig.destroy_publisher(self._publishers.pop((CAMERA, False)))

    # -- what is heard -----------------------------------------------------------------------------

    def new_count(self, subject: str, cause: str) -> int:
        """Return how often a cause was counted since `begin`."""
        before = self._counts_before.get(subject, {})
        return self.counts(subject).get(cause, 0) - before.get(cause, 0)

    def statuses_of(self, subject: str, cause: str) -> list[DiagnosticStatus]:
        """Return the statuses since `begin` whose text names a cause."""
        return [
            status
            for status in self.statuses
            if status.name.endswith(f": {subject}") and cause in status.message
        ]

    def counted_in(self, subject: str, cause: str) -> list[str]:
        """Return the texts of statuses whose counters show a cause, once it was counted again."""
        if not self.new_count(subject, cause):
            return []
        of_subject = [s for s in self.statuses if s.name.endswith(f": {subject}")]
        return [s.message for s in of_subject if f"count.{cause}" in {v.key for v in s.values}]

    def answers_to_spoilt(self) -> list[int]:
        """Return the stamps of spoilt cycles that were answered with detections."""
        answered = {stamp_ns_from_msg(message.header.stamp) for message in self.detections}
        return sorted(answered & self.spoilt_ns)

    def recover(self) -> None:
        """See detections of whole cycles again: those whose images are as far apart as always."""
        for _ in range(60):
            self.detect_one()
            if self.detector.snapshots[-1].spread_ns == max(OFFSETS_NS.values()):
                return
        raise AssertionError(f"no whole cycle; {self.said()}")

    def publish_until(
        self,
        condition: Callable[[], Any],
        timeout_s: float = 10.0,
        cameras: tuple[str, ...] = OTHERS,
    ) -> None:
        """Publish good cycles, of all other cameras unless told, until something is there."""
        deadline = time.monotonic() + timeout_s
        while not condition() and time.monotonic() < deadline:
            self.cycles(cameras=cameras, count=1)


__all__ = ["BEST_EFFORT", "CAMERA", "LATCHED", "MS", "OTHERS", "FaultBench"]
