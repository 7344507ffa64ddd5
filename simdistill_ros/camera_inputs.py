# SPDX-License-Identifier: Apache-2.0
"""Subscriptions of the cameras and of TF; callbacks only store.

Images go to the preparer and to the synchroniser, complete sets to `on_set`, CameraInfo to the
store, transforms to the tree. Bad stamps, clock jumps and QoS mismatches become faults that name
the camera. Images and CameraInfo are taken as bytes, on a thread of their own; transforms come from
the executor's.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from tf2_msgs.msg import TFMessage

from simdistill_ros.camera_info_reader import CameraInfoReader
from simdistill_ros.conversions import transform_from_msg
from simdistill_ros.core.transform_tree import TransformTree
from simdistill_ros.health import Health
from simdistill_ros.image_loss import LossMeter
from simdistill_ros.image_preparation import ImagePreparer
from simdistill_ros.image_sync import ImageSync
from simdistill_ros.message_thread import MessageThread
from simdistill_ros.parameters import CameraTopics, InputParameters
from simdistill_ros.polled_subscription import PolledSubscription
from simdistill_ros.qos_events import subscription_events
from simdistill_ros.recalibration import CalibrationStore
from simdistill_ros.serialized import SerializedError, read_image
from simdistill_ros.snapshot_builder import MessageSet, Received

# Cameras may be exposed a little ahead of this computer's clock, not further.
FUTURE_NS = 500_000_000
# Calibrations that can wait to be taken: those of 100 Hz, taken at 10 Hz.
INFO_DEPTH = 10
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
        on_set: Callable[[MessageSet], bool],
    ) -> None:
        """Subscribe to every camera; images are not taken before `start`.

        Args:
            node: The node.
            cameras: Their names and topics.
            options: How messages are read.
            preparer: Prepares images as they come.
            sync: Matches them.
            calibrations: Where CameraInfo messages are kept.
            losses: Told of stamps and sizes, by camera.
            health: Told of all that arrives and of faults.
            ros_now_ns: The node's clock.
            on_set: Told of complete sets; returns whether one is worked on at once. Its last image
                is then prepared by who works on it: no other thread is faster by having to wake.
        """
        self._losses = losses
        self._ros_now_ns = ros_now_ns
        self._preparer = preparer
        self._sync = sync
        self._calibrations = calibrations
        self._health = health
        self._on_set = on_set
        self._is_compressed = options.compressed
        self._lock = threading.Lock()  # `poll` and the images' thread use the same things
        self._info_readers = {camera.name: CameraInfoReader() for camera in cameras}
        kind = CompressedImage if options.compressed else Image
        self._images = {
            camera.name: PolledSubscription(
                node, kind, camera.image_topic, _qos(options, options.depth)
            )
            for camera in cameras
        }
        self._infos = {
            camera.name: PolledSubscription(
                node, CameraInfo, camera.camera_info_topic, _qos(options, INFO_DEPTH)
            )
            for camera in cameras
        }
        self._looked_at = itertools.cycle(self._images)
        self._thread: MessageThread | None = None

    def start(self, context: Any) -> None:
        """Take images from now on.

        Args:
            context: Of the node.
        """
        self._thread = MessageThread(
            context, self._images, self._on_image, self._on_error, "images"
        )
        self._thread.start()

    def destroy(self, node: Any) -> None:
        """Unsubscribe from all."""
        if self._thread is not None:
            self._thread.stop()
            self._thread = None
        for polled in (*self._images.values(), *self._infos.values()):
            node.destroy_subscription(polled.subscription)
        self._images.clear()
        self._infos.clear()

    def poll(self) -> None:
        """Take calibrations, give up sets that waited too long; call it a few times a second."""
        now_ns = time.monotonic_ns()
        with self._lock:
            for camera in self._infos:
                self._take_infos(camera)
            self._emit(self._sync.poll(now_ns))
        self._look_for_refusals(next(self._looked_at))

    def _on_image(self, camera: str, data: bytes) -> None:
        now_ns = time.monotonic_ns()
        self._health.received(camera)
        try:
            message = read_image(data, compressed=self._is_compressed)
        except SerializedError as error:
            self._health.fault(camera, "bad_message", str(error))
            return
        stamp_ns = message.stamp_ns
        if stamp_ns <= 0:
            self._health.fault(
                camera, "zero_stamp", "header.stamp is 0; the driver must stamp its images"
            )
            return
        self._losses[camera].image(stamp_ns, len(message.encoded.data))
        self._check_future(camera, stamp_ns)
        with self._lock:
            self._take_infos(camera)
            image = self._preparer.pending(camera, message)
            received = Received(image, message.frame, stamp_ns, now_ns)
            sets = self._sync.add(camera, received, now_ns)
            is_taken = self._emit(sets)
            if not (is_taken and sets[-1].images.get(camera) is received):
                self._preparer.begin(camera, image)

    def _on_error(self, camera: str, error: BaseException) -> None:
        self._health.fault(camera, "not_received", f"{type(error).__name__}: {error}")

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

    def _look_for_refusals(self, camera: str) -> None:
        """Ask the graph for publishers that a camera's subscriptions refuse."""
        subscriptions = [self._images[camera]]
        if self._calibrations.get(camera) is None:
            subscriptions.append(self._infos[camera])
        for polled in subscriptions:
            refusal = polled.refusal()
            if refusal:
                self._on_refused_qos(camera, polled.subscription.topic_name, refusal)

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

    def _emit(self, sets: list[MessageSet]) -> bool:
        """Hand sets on; return whether the last one is worked on at once."""
        if sets:  # a camera's first calibration may come after its first image
            for camera in self._infos:
                if self._calibrations.get(camera) is None:
                    self._take_infos(camera)
        is_taken = False
        for messages in sets:
            is_taken = self._on_set(messages)
        return is_taken


def _qos(options: InputParameters, depth: int) -> QoSProfile:
    is_reliable = options.reliability == "reliable"
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=ReliabilityPolicy.RELIABLE if is_reliable else ReliabilityPolicy.BEST_EFFORT,
    )
