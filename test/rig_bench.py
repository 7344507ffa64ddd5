# SPDX-License-Identifier: Apache-2.0
"""A six-camera rig and a detector node, in one process, talking over real DDS.

The network is replaced by `OneBoxDetector`, so that a test is about everything around it.
"""

from __future__ import annotations

import array
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import rclpy
import simplejpeg
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import TransformStamped
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, LaserScan, PointCloud2
from tf2_msgs.msg import TFMessage
from vision_msgs.msg import Detection3DArray
from visualization_msgs.msg import MarkerArray

from simdistill_ros.conversions import (
    header_to_msg,
    image_to_msg,
    info_to_msg,
    stamp_ns_from_msg,
    stamp_to_msg,
)
from simdistill_ros.core.boxes import NUSCENES_CLASSES, Detections
from simdistill_ros.core.calibration_change import CameraGeometry
from simdistill_ros.core.camera import CameraCalibration
from simdistill_ros.core.snapshot import Snapshot
from simdistill_ros.detector_node import DetectorNode

MS = 1_000_000
# Firing offsets of nuScenes cameras before the newest one.
OFFSETS_NS = {
    "cam_front_left": 0,
    "cam_front": 8 * MS,
    "cam_front_right": 16 * MS,
    "cam_back_right": 23 * MS,
    "cam_back": 33 * MS,
    "cam_back_left": 43 * MS,
}
CAMERAS = tuple(OFFSETS_NS)
START_NS = 1_600_000_000_000_000_000
HEIGHT, WIDTH = 36, 64
K = np.array([[50.0, 0.0, 31.5], [0.0, 50.0, 17.5], [0.0, 0.0, 1.0]])
LONG_S = 20.0
LATCHED = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
RELIABLE = QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE)


class OneBoxDetector:
    """Stands in for the network: one car in front, however the images look."""

    cameras = CAMERAS
    class_names = NUSCENES_CLASSES
    description = "one box"
    input_rule = None

    def __init__(self) -> None:
        self.durations_ns: dict[str, int] = {"inference": 1}
        self.snapshots: list[Snapshot] = []
        self.closed = False
        self.failures: list[Exception] = []
        self.prepared: list[dict[str, CameraGeometry]] = []
        self.delay_s = 0.0

    def detect(self, snapshot: Snapshot, score_threshold: float | None = None) -> Detections:
        if self.failures:
            raise self.failures.pop()
        time.sleep(self.delay_s)
        self.snapshots.append(snapshot)
        keep = score_threshold is None or score_threshold <= 0.75
        box = Detections(
            frame="base_link",
            stamp_ns=snapshot.stamp_ns,
            centers_m=np.array([[10.0, 1.0, 0.8]]),
            sizes_lwh_m=np.array([[4.0, 2.0, 1.6]]),
            yaws_rad=np.array([0.25]),
            velocities_mps=np.array([[3.0, 0.5]]),
            scores=np.array([0.75]),
            labels=np.array([0]),
            class_names=NUSCENES_CLASSES,
        )
        return box.select(np.array([keep]))

    def prepare_geometry(self, rig: Mapping[str, CameraGeometry]) -> None:
        self.prepared.append(dict(rig))

    def close(self) -> None:
        self.closed = True


class RigBench:
    """Publishes what a test asks for and collects what the node says."""

    def __init__(self, domain: int) -> None:
        self.context = Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.detector = OneBoxDetector()
        self.detections: list[Detection3DArray] = []
        self.velocities: list[PointCloud2] = []
        self.markers: list[MarkerArray] = []
        self.latencies: list[DiagnosticArray] = []
        self.qualities: list[DiagnosticArray] = []
        self.coverages: list[LaserScan] = []
        self.diagnostics: dict[str, DiagnosticStatus] = {}
        self.rig = rclpy.create_node("rig", context=self.context)
        self.executor.add_node(self.rig)
        self.node: DetectorNode | None = None
        self._publishers: dict[tuple[str, bool], Any] = {}
        self._cycle = 0

    # -- the node --------------------------------------------------------------------------------

    def start(self, compressed: bool = False, activate: bool = True, **parameters: Any) -> None:
        """Start the node under test and, by default, make it active and see it connected."""
        values = {
            "input.compressed": compressed,
            "diagnostics.period_s": 0.1,
            "log.period_s": 1000.0,
            "tf.timeout_s": 0.05,
            "sync.timeout_s": 0.3,
            **{key.replace("__", "."): value for key, value in parameters.items()},
        }
        factory = values.pop("detector_factory", lambda _: self.detector)
        self.compressed = compressed
        self.node = DetectorNode(
            factory,
            context=self.context,
            parameter_overrides=[Parameter(key, value=value) for key, value in values.items()],
        )
        self.executor.add_node(self.node)
        self._listen()
        if activate and self.node.autostart():
            self.connect_cameras()

    def _listen(self) -> None:
        def keep_statuses(message: DiagnosticArray) -> None:
            for status in message.status:
                self.diagnostics[status.name.removeprefix("detector: ")] = status

        for kind, topic, callback in (
            (Detection3DArray, "/detector/detections", self.detections.append),
            (PointCloud2, "/detector/velocities", self.velocities.append),
            (MarkerArray, "/detector/markers", self.markers.append),
            (DiagnosticArray, "/detector/latency", self.latencies.append),
            (DiagnosticArray, "/detector/quality", self.qualities.append),
            (LaserScan, "/detector/coverage", self.coverages.append),
            (DiagnosticArray, "/diagnostics", keep_statuses),
        ):
            self.rig.create_subscription(kind, topic, callback, RELIABLE)

    def connect_cameras(self) -> None:
        """Create the rig's publishers and wait until the node hears them."""
        for camera in CAMERAS:
            self.publisher(camera)
            self.publisher(camera, info=True)
        assert self.spin_until(
            lambda: all(p.get_subscription_count() for p in self._publishers.values())
        ), "the node did not subscribe"
        assert self.spin_until(lambda: self.rig.count_publishers("/detector/detections") > 0)

    def publisher(self, camera: str, info: bool = False) -> Any:
        key = (camera, info)
        if key not in self._publishers:
            kind = CameraInfo if info else CompressedImage if self.compressed else Image
            suffix = "image_rect_compressed" if self.compressed else "image_rect"
            topic = f"{camera}/camera_info" if info else f"{camera}/{suffix}"
            self._publishers[key] = self.rig.create_publisher(kind, topic, RELIABLE)
        return self._publishers[key]

    # -- the rig ---------------------------------------------------------------------------------

    def publish_transforms(
        self, cameras: tuple[str, ...] = CAMERAS, azimuths_deg: Mapping[str, float] | None = None
    ) -> None:
        """Latch base_link -> optical frames: each camera 1 m up, looking along +x or as told."""
        if not hasattr(self, "_tf_static"):
            self._tf_static = self.rig.create_publisher(TFMessage, "/tf_static", LATCHED)
        azimuths = azimuths_deg or {}
        transforms = [self.mount(camera, azimuths.get(camera, 0.0)) for camera in cameras]
        self._tf_static.publish(TFMessage(transforms=transforms))

    def mount(self, camera: str, azimuth_deg: float = 0.0) -> TransformStamped:
        """Return where a camera sits."""
        transform = TransformStamped(header=header_to_msg("base_link", START_NS))
        transform.child_frame_id = f"{camera}_optical_frame"
        transform.transform.translation.z = 1.0
        half = np.radians(azimuth_deg) / 2
        ahead, aside = (np.cos(half) + np.sin(half)) / 2, (np.cos(half) - np.sin(half)) / 2
        rotation = transform.transform.rotation
        rotation.w, rotation.x, rotation.y, rotation.z = ahead, -ahead, aside, -aside
        return transform

    def publish_infos(self, cameras: tuple[str, ...] = CAMERAS, **changes: Any) -> None:
        """Publish a CameraInfo a camera, with fields changed."""
        calibration = CameraCalibration(WIDTH, HEIGHT, K)
        for camera in cameras:
            message = info_to_msg(calibration, f"{camera}_optical_frame", START_NS)
            for name, value in changes.items():
                setattr(message, name, value)
            self.publisher(camera, info=True).publish(message)

    def image(self, camera: str, stamp_ns: int) -> Any:
        """Return a good image message of a camera."""
        pixels = np.full((HEIGHT, WIDTH, 3), 90 + 20 * CAMERAS.index(camera), np.uint8)
        frame = f"{camera}_optical_frame"
        if not self.compressed:
            return image_to_msg(pixels, frame, stamp_ns)
        data = array.array("B", simplejpeg.encode_jpeg(pixels))
        return CompressedImage(header=header_to_msg(frame, stamp_ns), format="jpeg", data=data)

    def publish_cycle(
        self,
        change: Callable[[str, Any], Any] | None = None,
        cameras: tuple[str, ...] = CAMERAS,
        at_ns: int | None = None,
    ) -> int:
        """Publish one image a camera, 12 Hz apart from the last; return the newest stamp."""
        if at_ns is None:
            self._cycle += 1
            at_ns = START_NS + self._cycle * 83 * MS
        for camera in cameras:
            message = self.image(camera, at_ns + OFFSETS_NS[camera])
            if change is not None:
                message = change(camera, message)
            if message is not None:
                self.publisher(camera).publish(message)
        return at_ns + max(OFFSETS_NS.values())

    def calibrate(self) -> None:
        """Publish transforms and calibrations, and wait until the node has them."""
        node = self.node
        assert node is not None
        self.publish_transforms()
        deadline = time.monotonic() + LONG_S
        while not all(node._calibrations.get(camera) for camera in CAMERAS):
            assert time.monotonic() < deadline, "the node has no calibration"
            self.publish_infos()
            self.spin_until(lambda: False, 0.1)

    def detect_one(self) -> Detection3DArray:
        """Publish cycles until one is answered; return the answer."""
        count, stamps = len(self.detections), set()

        def answers() -> list[Detection3DArray]:
            new = self.detections[count:]
            return [m for m in new if stamp_ns_from_msg(m.header.stamp) in stamps]

        deadline = time.monotonic() + LONG_S
        while not answers() and time.monotonic() < deadline:
            stamps.add(self.publish_cycle())
            self.spin_until(answers, 0.3)
        assert answers(), f"no detection within {LONG_S} s; {self.said()}"
        return answers()[-1]

    # -- what was said -----------------------------------------------------------------------------

    def spin_until(self, condition: Callable[[], Any], timeout_s: float = LONG_S) -> bool:
        """Spin both nodes until the condition holds; return whether it did."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                return False
            self.executor.spin_once(timeout_sec=0.02)
        return True

    def counts(self, subject: str) -> dict[str, int]:
        """Return the fault counts of a subject."""
        assert self.node is not None
        record = self.node.health.snapshot().get(subject)
        return dict(record.counts) if record else {}

    def wait_for_fault(self, subject: str, cause: str) -> str:
        """Wait until a fault is counted and shown in /diagnostics; return the status' message."""
        assert self.spin_until(lambda: self.counts(subject).get(cause)), (
            f"{subject} never reported {cause}; {self.said()}"
        )

        def is_shown() -> bool:
            status = self.diagnostics.get(subject)
            values = {v.key: v.value for v in status.values} if status else {}
            shown = status is not None and cause in status.message
            return shown or f"count.{cause}" in values

        assert self.spin_until(is_shown), f"/diagnostics does not show {cause}; {self.said()}"
        return str(self.diagnostics[subject].message)

    def said(self) -> str:
        """Return a summary for assertion messages."""
        assert self.node is not None
        return str(
            {k: (v.last_cause, dict(v.counts)) for k, v in self.node.health.snapshot().items()}
        )

    def close(self) -> None:
        if self.node is not None:
            self.node.close()
            self.executor.remove_node(self.node)
            self.node.destroy_node()
        self.executor.remove_node(self.rig)
        self.rig.destroy_node()
        self.executor.shutdown()
        rclpy.shutdown(context=self.context)


__all__ = ["CAMERAS", "OneBoxDetector", "RigBench", "stamp_to_msg"]
