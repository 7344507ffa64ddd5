# SPDX-License-Identifier: Apache-2.0
"""Subscriptions of the cameras and of TF; callbacks only store.

Images go to the preparer and to the synchroniser, complete sets to `on_set`, CameraInfo to the
store, transforms to the tree. Bad stamps, clock jumps and QoS mismatches become faults that name
the camera.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from tf2_msgs.msg import TFMessage

from simdistill_ros.conversions import stamp_ns_from_msg, transform_from_msg
from simdistill_ros.core.transform_tree import TransformTree
from simdistill_ros.health import Health
from simdistill_ros.image_loss import LossMeter
from simdistill_ros.image_preparation import ImagePreparer
from simdistill_ros.image_sync import ImageSync
from simdistill_ros.parameters import CameraTopics, InputParameters
from simdistill_ros.recalibration import CalibrationStore
from simdistill_ros.snapshot_builder import MessageSet, Received

try:  # Iron and later
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks

# Cameras may be exposed a little ahead of this computer's clock, not further.
FUTURE_NS = 500_000_000
TF_QOS = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
TF_STATIC_QOS = QoSProfile(
    depth=100,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)


class TransformInput:
    """Feed a transform tree from `/tf` and `/tf_static`."""

    def __init__(self, node: Any, transforms: TransformTree, health: Health) -> None:
        """Subscribe."""
        self._transforms = transforms
        self._health = health
        self._subscriptions = [
            node.create_subscription(TFMessage, "/tf", partial(self._store, static=False), TF_QOS),
            node.create_subscription(
                TFMessage, "/tf_static", partial(self._store, static=True), TF_STATIC_QOS
            ),
        ]

    def destroy(self, node: Any) -> None:
        """Unsubscribe."""
        for subscription in self._subscriptions:
            node.destroy_subscription(subscription)
        self._subscriptions.clear()

    def _store(self, message: TFMessage, *, static: bool) -> None:
        for transform in message.transforms:
            try:
                parent, child, stamp_ns, parent_from_child = transform_from_msg(transform)
                self._transforms.set_transform(
                    parent, child, stamp_ns, parent_from_child, static=static
                )
            except ValueError as error:
                self._health.fault("sync", "bad_transform", str(error))


class CameraInputs:
    """Feed images and calibrations of all cameras into the synchroniser and the store."""

    def __init__(
        self,
        node: Any,
        cameras: list[CameraTopics],
        options: InputParameters,
        *,
        preparer: ImagePreparer,
        sync: ImageSync,
        calibrations: CalibrationStore,
        losses: Mapping[str, LossMeter],
        health: Health,
        ros_now_ns: Callable[[], int],
        on_set: Callable[[MessageSet], None],
    ) -> None:
        """Subscribe to every camera."""
        self._losses = losses
        self._ros_now_ns = ros_now_ns
        self._preparer = preparer
        self._sync = sync
        self._calibrations = calibrations
        self._health = health
        self._on_set = on_set
        self._subscriptions: list[Any] = []
        for camera in cameras:
            self._subscribe(node, camera, options)

    def _subscribe(self, node: Any, camera: CameraTopics, options: InputParameters) -> None:
        qos = QoSProfile(
            history=HistoryPolicy.KEEP_LAST,
            depth=options.depth,
            reliability=ReliabilityPolicy.RELIABLE
            if options.reliability == "reliable"
            else ReliabilityPolicy.BEST_EFFORT,
        )
        image_kind = CompressedImage if options.compressed else Image
        for kind, topic, callback in (
            (image_kind, camera.image_topic, partial(self._on_image, camera.name)),
            (CameraInfo, camera.camera_info_topic, partial(self._on_info, camera.name)),
        ):
            events = SubscriptionEventCallbacks(
                incompatible_qos=partial(self._on_incompatible_qos, camera.name, topic)
            )
            self._subscriptions.append(
                node.create_subscription(
                    kind,
                    topic,
                    callback,
                    qos,
                    event_callbacks=events,
                    qos_overriding_options=QoSOverridingOptions.with_default_policies(),
                )
            )

    def destroy(self, node: Any) -> None:
        """Unsubscribe from all."""
        for subscription in self._subscriptions:
            node.destroy_subscription(subscription)
        self._subscriptions.clear()

    def poll(self) -> None:
        """Give up sets that waited too long; call it a few times a second."""
        self._emit(self._sync.poll(time.monotonic_ns()))

    def _on_image(self, camera: str, message: Any) -> None:
        now_ns = time.monotonic_ns()
        self._health.received(camera)
        stamp_ns = stamp_ns_from_msg(message.header.stamp)
        if stamp_ns <= 0:
            self._health.fault(
                camera, "zero_stamp", "header.stamp is 0; the driver must stamp its images"
            )
            return
        self._losses[camera].image(stamp_ns, len(message.data))
        self._check_future(camera, stamp_ns)
        image = self._preparer.submit(camera, message)
        received = Received(image, message.header.frame_id, stamp_ns, now_ns)
        self._emit(self._sync.add(camera, received, now_ns))

    def _on_info(self, camera: str, message: CameraInfo) -> None:
        self._calibrations.put(camera, message)
        raw_bytes = 3 * message.width * message.height
        stamp_ns = stamp_ns_from_msg(message.header.stamp)
        self._losses[camera].info(stamp_ns, time.monotonic_ns(), raw_bytes)

    def _check_future(self, camera: str, stamp_ns: int) -> None:
        now_ns = self._ros_now_ns()
        if now_ns > 0 and stamp_ns - now_ns > FUTURE_NS:
            self._health.fault(
                camera,
                "future_stamp",
                f"the stamp is {(stamp_ns - now_ns) / 1e9:.1f} s ahead of this node's clock; "
                "synchronise the clocks, or set use_sim_time for a bag",
            )

    def _on_incompatible_qos(self, camera: str, topic: str, event: Any) -> None:
        policy = getattr(event, "last_policy_kind", "unknown")
        self._health.fault(
            camera,
            "incompatible_qos",
            f"the publisher of {topic} offers a QoS (policy {policy}) that this subscription "
            "refuses; set input.reliability or qos_overrides",
        )

    def _emit(self, sets: list[MessageSet]) -> None:
        for messages in sets:
            self._on_set(messages)
