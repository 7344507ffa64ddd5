# SPDX-License-Identifier: Apache-2.0
"""`/tf` and `/tf_static` → the transform tree, from serialized bytes.

A vehicle sends transforms oftener than images; through rclpy's executor each would cost more than
an image's bookkeeping does.
"""

from __future__ import annotations

import time
from typing import Any

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from tf2_msgs.msg import TFMessage

from simdistill_ros.cdr_reader import SerializedError
from simdistill_ros.conversions import transform_from_fields
from simdistill_ros.core.transform_tree import TransformTree
from simdistill_ros.health import Health
from simdistill_ros.polled_subscription import PolledSubscription
from simdistill_ros.serialized import read_transforms

LOOK_NS = 1_000_000_000
STATIC_TOPIC = "/tf_static"
QOS = {
    "/tf": QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE),
    STATIC_TOPIC: QoSProfile(
        depth=100,
        reliability=ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL,
    ),
}


class TransformInput:
    """Feed a transform tree from `/tf` and `/tf_static`; a source of a `MessageThread`."""

    def __init__(self, node: Any, transforms: TransformTree, health: Health) -> None:
        """Subscribe."""
        self._transforms = transforms
        self._health = health
        self._next_look_ns = 0
        self.subscriptions = {
            topic: PolledSubscription(node, TFMessage, topic, qos) for topic, qos in QOS.items()
        }

    def destroy(self, node: Any) -> None:
        """Unsubscribe."""
        for polled in self.subscriptions.values():
            node.destroy_subscription(polled.subscription)
        self.subscriptions.clear()

    def on_message(self, topic: str, data: bytes) -> None:
        """Store the transforms of a message; those that cannot be used are faults."""
        try:
            transforms = read_transforms(data)
        except SerializedError as error:
            self._health.fault("sync", "bad_transform", f"{topic}: {error}")
            return
        for fields in transforms:
            try:
                parent, child, stamp_ns, parent_from_child = transform_from_fields(fields)
                self._transforms.set_transform(
                    parent, child, stamp_ns, parent_from_child, static=topic == STATIC_TOPIC
                )
            except ValueError as error:
                self._health.fault("sync", "bad_transform", str(error))

    def on_error(self, topic: str, error: BaseException) -> None:
        """Say that a message could not be taken."""
        self._health.fault("sync", "not_received", f"{topic}: {type(error).__name__}: {error}")

    def after_round(self) -> None:
        """Ask the graph now and then for publishers that the subscriptions refuse."""
        now_ns = time.monotonic_ns()
        if now_ns < self._next_look_ns:
            return
        self._next_look_ns = now_ns + LOOK_NS
        for topic, polled in self.subscriptions.items():
            refusal = polled.refusal()
            if refusal:
                self._health.fault(
                    "sync",
                    "incompatible_qos",
                    f"a publisher of {topic} does not offer the QoS that this node asks for "
                    f"({refusal})",
                )
