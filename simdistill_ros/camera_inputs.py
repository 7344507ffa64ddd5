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

from simdistill_ros.camera_info_reader import CameraInfoReader
from simdistill_ros.conversions import stamp_ns_from_msg, transform_from_msg
from simdistill_ros.core.transform_tree import TransformTree
from simdistill_ros.health import Health
from simdistill_ros.image_loss import LossMeter
from simdistill_ros.image_preparation import ImagePreparer
from simdistill_ros.image_sync import ImageSync
from simdistill_ros.parameters import CameraTopics, InputParameters
from simdistill_ros.polled_subscription import PolledSubscription
from simdistill_ros.qos_events import subscription_events
from simdistill_ros.recalibration import CalibrationStore
from simdistill_ros.snapshot_builder import MessageSet, Received

# Cameras may be exposed a little ahead of this computer's clock, not further.
FUTURE_NS = 500_000_000
# Calibrations that can wait to be taken: those of 100 Hz, taken at 10 Hz.
INFO_DEPTH = 10
LOOK_PERIOD_NS = 1_000_000_000
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
            node.create_subscription(
                TFMessage,
                topic,
                partial(self._store, static=static),
                qos,
                event_callbacks=subscription_events(partial(self._on_refused_qos, topic)),
            )
            for topic, qos, static in (("/tf", TF_QOS, False), ("/tf_static", TF_STATIC_QOS, True))
        ]

    def destroy(self, node: Any) -> None:
        """Unsubscribe."""
        for subscription in self._subscriptions:
            node.destroy_subscription(subscription)
        self._subscriptions.clear()

    def _on_refused_qos(self, topic: str, policy: str) -> None:
        self._health.fault(
            "sync",
            "incompatible_qos",
            f"a publisher of {topic} does not offer the QoS that this node asks for ({policy})",
        )

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
        self._info_readers = {camera.name: CameraInfoReader() for camera in cameras}
        self._subscriptions: list[Any] = []
        self._infos: dict[str, PolledSubscription] = {}
        self._looked_ns = 0
        for camera in cameras:
            self._subscribe(node, camera, options)

    def _subscribe(self, node: Any, camera: CameraTopics, options: InputParameters) -> None:
        topic = camera.image_topic
        self._subscriptions.append(
            node.create_subscription(
                CompressedImage if options.compressed else Image,
                topic,
                partial(self._on_image, camera.name),
                _qos(options, options.depth),
                event_callbacks=subscription_events(
                    partial(self._on_refused_qos, camera.name, topic)
                ),
                qos_overriding_options=QoSOverridingOptions.with_default_policies(),
            )
        )
        self._infos[camera.name] = PolledSubscription(
            node, CameraInfo, camera.camera_info_topic, _qos(options, INFO_DEPTH)
        )

    def destroy(self, node: Any) -> None:
        """Unsubscribe from all."""
        for subscription in self._subscriptions:
            node.destroy_subscription(subscription)
        for infos in self._infos.values():
            node.destroy_subscription(infos.subscription)
        self._subscriptions.clear()
        self._infos.clear()

    def poll(self) -> None:
        """Take calibrations, give up sets that waited too long; call it a few times a second."""
        now_ns = time.monotonic_ns()
        for camera in self._infos:
            self._take_infos(camera)
        self._emit(self._sync.poll(now_ns))
        if now_ns - self._looked_ns > LOOK_PERIOD_NS:
            self._looked_ns = now_ns
            self._look_for_refused_infos()

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
        self._take_infos(camera)
        image = self._preparer.submit(camera, message)
        received = Received(image, message.header.frame_id, stamp_ns, now_ns)
        self._emit(self._sync.add(camera, received, now_ns))

    def _take_infos(self, camera: str) -> None:
        for data in self._infos[camera].take():
            self._on_info(camera, data)

    def _on_info(self, camera: str, data: bytes) -> None:
        try:
            info, stamp_ns = self._info_readers[camera].read(data)
        except ValueError as error:
            self._health.fault(camera, "bad_camera_info", str(error))
            return
        self._calibrations.put(camera, info)
        raw_bytes = 3 * info.width * info.height
        self._losses[camera].info(stamp_ns, time.monotonic_ns(), raw_bytes)

    def _look_for_refused_infos(self) -> None:
        for camera, infos in self._infos.items():
            if self._calibrations.get(camera) is not None:
                continue
            refusal = infos.refusal()
            if refusal:
                topic = infos.subscription.topic_name
                self._on_refused_qos(camera, topic, refusal)

    def _check_future(self, camera: str, stamp_ns: int) -> None:
        now_ns = self._ros_now_ns()
        if now_ns > 0 and stamp_ns - now_ns > FUTURE_NS:
            self._health.fault(
                camera,
                "future_stamp",
                f"the stamp is {(stamp_ns - now_ns) / 1e9:.1f} s ahead of this node's clock; "
                "synchronise the clocks, or set use_sim_time for a bag",
            )

    def _on_refused_qos(self, camera: str, topic: str, policy: str) -> None:
        self._health.fault(
            camera,
            "incompatible_qos",
            f"a publisher of {topic} does not offer the QoS that this subscription asks for "
            f"({policy}); set input.reliability or qos_overrides",
        )

    def _emit(self, sets: list[MessageSet]) -> None:
        if sets:  # a camera's first calibration may come after its first image
            for camera in self._infos:
                if self._calibrations.get(camera) is None:
                    self._take_infos(camera)
        for messages in sets:
            self._on_set(messages)


def _qos(options: InputParameters, depth: int) -> QoSProfile:
    is_reliable = options.reliability == "reliable"
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=ReliabilityPolicy.RELIABLE if is_reliable else ReliabilityPolicy.BEST_EFFORT,
    )
