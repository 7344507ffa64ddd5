# SPDX-License-Identifier: Apache-2.0
"""The node looks at itself: rounds of `/diagnostics`, and the watch that explains silence."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import rclpy

from simdistill_ros.core.detector import DetectorLike
from simdistill_ros.diagnostics import NodeFacts
from simdistill_ros.environment_check import environment_findings
from simdistill_ros.health import Health
from simdistill_ros.image_loss import LossMeter
from simdistill_ros.image_sync import ImageSync
from simdistill_ros.parameters import CameraTopics, NodeParameters
from simdistill_ros.pipeline import Pipeline
from simdistill_ros.recalibration import CalibrationStore
from simdistill_ros.resources import share_folder
from simdistill_ros.silence import OUTPUT, CameraFacts, Reason, Situation, reason_of_silence

# A camera is silent when its last image is older.
SILENT_NS = 1_000_000_000
TYPE_OF_COMPRESSED = {True: "sensor_msgs/msg/CompressedImage", False: "sensor_msgs/msg/Image"}


@dataclass(frozen=True)
class NodeParts:
    """What the node consists of at the moment."""

    state: str
    settings: NodeParameters
    cameras: list[CameraTopics]
    calibrations: CalibrationStore
    losses: Mapping[str, LossMeter]
    sync: ImageSync | None
    pipeline: Pipeline | None
    detector: DetectorLike | None


def unless_ended(context: Any, callback: Callable[[], None]) -> Callable[[], None]:
    """Return a callback that is silent once a signal has ended the context, even halfway.

    Whoever spins the node sees the end for himself; what fails because of it is no news.
    """

    def guarded() -> None:
        try:
            if context.ok():
                callback()
        except Exception:
            if context.ok():
                raise

    return guarded


class Monitor:
    """Collects the facts of diagnostics and finds the reason of a silence."""

    def __init__(self, node: Any, health: Health, parts: Callable[[], NodeParts]) -> None:
        """Prepare.

        Args:
            node: Asked for the graph, the clock and the logger.
            health: The record of faults; silence becomes one of subject `output`.
            parts: Returns what the node consists of now.
        """
        self._node = node
        self._health = health
        self._parts = parts
        self._profile = str(share_folder() / "config" / "fastdds_profile.xml")
        self._findings: list[str] = []
        self._reason: Reason | None = None
        self._told_ns = 0
        self._lock = threading.Lock()
        self._resting_since_ns = time.monotonic_ns()

    def check_environment(self, *, compressed: bool) -> None:
        """Compare the environment with what images need; log what should be changed."""
        self._findings = environment_findings(
            os.environ,
            rmw=rclpy.get_rmw_implementation_identifier(),
            compressed=compressed,
            shipped_profile=self._profile,
        )
        for finding in self._findings:
            self._node.get_logger().warning(f"environment: {finding}")

    def watch(self) -> None:
        """Say why, when no detections have left for longer than the deadline. Thread-safe."""
        with self._lock:
            self._watch()

    def _watch(self) -> None:
        parts, now_ns = self._parts(), time.monotonic_ns()
        quiet_since_ns = self._quiet_since_ns(parts, now_ns)
        if now_ns - quiet_since_ns < parts.settings.silence_ns:
            self._reason = None
            return
        reason = reason_of_silence(self._situation(parts, now_ns, quiet_since_ns))
        is_news = self._reason is None or self._reason.cause != reason.cause
        is_due = now_ns - self._told_ns >= parts.settings.log_period_ns
        # A node that rests on purpose says so once.
        if is_news or (is_due and reason.cause != "node_inactive"):
            quiet_s = (now_ns - quiet_since_ns) / 1e9
            text = f"no detections for {quiet_s:.1f} s: {reason.subject}: {reason.message}"
            self._health.fault(OUTPUT, reason.cause, text)
            self._told_ns = now_ns
        self._reason = reason

    def facts(self) -> NodeFacts:
        """Return what a round of diagnostics is made from; report losses on the way."""
        parts, now_ns = self._parts(), time.monotonic_ns()
        cameras = self._camera_facts(parts, now_ns)
        for camera in cameras:
            for cause, text in (("images_lost", camera.loss), ("out_of_tolerance", camera.clock)):
                if text:
                    self._health.fault(camera.name, cause, text)
        pipeline, sync, detector = parts.pipeline, parts.sync, parts.detector
        settings = parts.settings
        return NodeFacts(
            name=self._node.get_name(),
            hardware_id=settings.hardware_id or ",".join(c.name for c in cameras) or "none",
            state=parts.state,
            now_ns=now_ns,
            silent_ns=SILENT_NS,
            cameras=cameras,
            health=self._health.snapshot(),
            sync_values=sync.values() if sync else {},
            inference_values=pipeline.values() if pipeline else {},
            model_values={"model": detector.description if detector else "none"},
            silence=self._reason,
            quiet_ns=now_ns - self._quiet_since_ns(parts, now_ns),
            percentiles_ms=pipeline.percentiles_ms() if pipeline else {},
            age_ns=pipeline.last_age_ns if pipeline else None,
            latency_deadline_ns=settings.latency_deadline_ns,
            environment_findings=self._findings,
        )

    def _quiet_since_ns(self, parts: NodeParts, now_ns: int) -> int:
        if parts.pipeline is None:
            return self._resting_since_ns
        self._resting_since_ns = now_ns
        return parts.pipeline.last_published_ns or parts.pipeline.started_ns

    def _situation(self, parts: NodeParts, now_ns: int, quiet_since_ns: int) -> Situation:
        pipeline = parts.pipeline
        stages = pipeline.percentiles_ms() if pipeline else {}
        usual = stages.get("inference", stages.get("detect", {}))
        return Situation(
            state=parts.state,
            now_ns=now_ns,
            quiet_since_ns=quiet_since_ns,
            silent_after_ns=SILENT_NS,
            is_clock_running=self._node.get_clock().now().nanoseconds > 0,
            cameras=self._camera_facts(parts, now_ns),
            health=self._health.snapshot(),
            in_hand_ns=pipeline.in_hand_ns() if pipeline else None,
            inference_ms=usual.get("p50"),
        )

    def _camera_facts(self, parts: NodeParts, now_ns: int) -> list[CameraFacts]:
        expected = TYPE_OF_COMPRESSED[parts.settings.input.compressed]
        return [self._facts_of(camera, parts, expected, now_ns) for camera in parts.cameras]

    def _facts_of(
        self, camera: CameraTopics, parts: NodeParts, expected: str, now_ns: int
    ) -> CameraFacts:
        endpoints = self._node.get_publishers_info_by_topic(camera.image_topic)
        types = [endpoint.topic_type for endpoint in endpoints]
        loss = parts.losses[camera.name].loss(now_ns) if camera.name in parts.losses else None
        clocks = parts.sync.clock_warnings() if parts.sync else {}
        return CameraFacts(
            name=camera.name,
            image_topic=camera.image_topic,
            camera_info_topic=camera.camera_info_topic,
            image_publishers=types.count(expected),
            info_publishers=self._node.count_publishers(camera.camera_info_topic),
            has_info=parts.calibrations.get(camera.name) is not None,
            wrong_type=types[0] if types and expected not in types else "",
            loss=loss.sentence(camera.image_topic, self._profile) if loss else "",
            clock=clocks.get(camera.name, ""),
        )
