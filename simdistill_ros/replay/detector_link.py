# SPDX-License-Identifier: Apache-2.0
"""The replay's end of the wires: publishes a bag's bytes over DDS, collects the detector's answers.

One rclpy node, spun by whoever calls `spin`; callbacks only store.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import PointCloud2
from vision_msgs.msg import Detection3DArray

from simdistill_ros.conversions import (
    detections_from_msg,
    stamp_ns_from_msg,
    stamp_to_msg,
    velocities_from_msg,
)
from simdistill_ros.replay.answers import AnswerBook
from simdistill_ros.replay.bag_storage import BagMessage, BagTopic
from simdistill_ros.replay.recording import Recording

STREAM_QOS = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
# Large messages: a deep history of a slow subscriber would only hold memory.
IMAGE_QOS = QoSProfile(depth=2, reliability=ReliabilityPolicy.RELIABLE)
LATCHED_QOS = QoSProfile(
    depth=10,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
_BULKY = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage", "sensor_msgs/msg/PointCloud2")


def message_class(type_name: str) -> Any:
    """Return the Python class of an interface name such as `sensor_msgs/msg/Image`."""
    package, _, name = type_name.split("/")
    return getattr(importlib.import_module(f"{package}.msg"), name)


class DetectorLink:
    """Publishers for the topics of a bag, subscriptions to `/<detector>/...`."""

    def __init__(self, context: Any, detector: str, class_names: tuple[str, ...]) -> None:
        """Join the graph.

        Args:
            context: An initialised rclpy context.
            detector: Name of the detector's node, without slash.
            class_names: Classes that its answers may hold.
        """
        self.node = rclpy.create_node("nuscenes_replay", context=context)
        self.answers = AnswerBook()
        self.stage_ms: dict[str, list[float]] = {}
        self.recording: Recording | None = None
        self._class_names = class_names
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self.node)
        self._publishers: dict[str, Any] = {}
        self._optional: list[Any] = []
        self._clock = self.node.create_publisher(Clock, "/clock", STREAM_QOS)
        self._subscriptions = [
            self.node.create_subscription(kind, f"/{detector}/{topic}", callback, STREAM_QOS)
            for kind, topic, callback in (
                (Detection3DArray, "detections", self._on_detections),
                (PointCloud2, "velocities", self._on_velocities),
                (DiagnosticArray, "latency", self._on_latency),
            )
        ]

    def close(self) -> None:
        """Leave the graph."""
        self._executor.shutdown()
        self.node.destroy_node()

    def advertise(self, topics: Sequence[BagTopic]) -> None:
        """Create the publishers of topics that have none yet."""
        for topic in topics:
            if topic.name not in self._publishers:
                qos = IMAGE_QOS if topic.type_name in _BULKY else STREAM_QOS
                self._publishers[topic.name] = self.node.create_publisher(
                    message_class(topic.type_name),
                    topic.name,
                    LATCHED_QOS if topic.latched else qos,
                )

    def listen(self, topics: Sequence[BagTopic], *, required: bool) -> None:
        """Hear more topics, for the recording; without `required` some may have no publisher."""
        for topic in topics:
            subscription = self.node.create_subscription(
                message_class(topic.type_name),
                topic.name,
                partial(self._on_recorded, topic.name),
                STREAM_QOS,
                raw=True,
            )
            (self._subscriptions if required else self._optional).append(subscription)

    def publish(self, message: BagMessage) -> None:
        """Publish a message's bytes."""
        self._publishers[message.topic].publish(message.data)
        if self.recording is not None:
            self.recording.add_played(message)

    def publish_clock(self, stamp_ns: int) -> None:
        """Set simulated time."""
        self._clock.publish(Clock(clock=stamp_to_msg(stamp_ns)))

    def spin(self, until: Callable[[], bool], timeout_s: float) -> bool:
        """Handle what arrives until a condition holds; return whether it does."""
        deadline = time.monotonic() + timeout_s
        while not until():
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return False
            self._executor.spin_once(timeout_sec=min(left_s, 0.1))
        return True

    def wait_for_recording(self, stamp_ns: int, timeout_s: float) -> bool:
        """Handle what arrives until all of an answer is recorded; return whether it is."""
        recording = self.recording
        return recording is None or self.spin(lambda: recording.is_complete(stamp_ns), timeout_s)

    def is_connected(self, topics: Sequence[str]) -> bool:
        """Tell whether the detector listens to all these topics and its answers reach us."""
        listened = all(self._publishers[t].get_subscription_count() > 0 for t in topics)
        return listened and all(s.get_publisher_count() > 0 for s in self._subscriptions)

    def missing(self, topics: Sequence[str]) -> list[str]:
        """Return those of these topics that nobody listens to."""
        return [t for t in topics if self._publishers[t].get_subscription_count() == 0]

    def _on_recorded(self, topic: str, data: bytes) -> None:
        if self.recording is not None:
            self.recording.add_heard(topic, bytes(data))

    def _on_detections(self, message: Detection3DArray) -> None:
        try:
            detections = detections_from_msg(message, self._class_names)
        except ValueError as error:
            self.answers.refused.append(str(error))
            return
        self.answers.add_detections(detections, time.monotonic_ns())

    def _on_velocities(self, message: PointCloud2) -> None:
        stamp_ns = stamp_ns_from_msg(message.header.stamp)
        try:
            velocities = velocities_from_msg(message)
        except ValueError as error:
            self.answers.refused.append(str(error))
            return
        self.answers.add_velocities(stamp_ns, velocities, time.monotonic_ns())

    def _on_latency(self, message: DiagnosticArray) -> None:
        for status in message.status:
            for value in status.values:
                self.stage_ms.setdefault(value.key.removesuffix("_ms"), []).append(
                    float(value.value)
                )
