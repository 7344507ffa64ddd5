# SPDX-License-Identifier: Apache-2.0
"""Subscriptions of the cameras; what they bring is only stored.

Images go to the preparer and to the synchroniser, complete sets to `on_set`, CameraInfo to the
store. Bad stamps, clock jumps and QoS mismatches become faults that name the camera. All is taken
as bytes, on the thread of `message_thread.py`.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping
from typing import Any

from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from simdistill_ros.camera_info_reader import CameraInfoReader
from simdistill_ros.cdr_reader import SerializedError
from simdistill_ros.health import Health
from simdistill_ros.image_loss import LossMeter
from simdistill_ros.image_preparation import ImagePreparer
from simdistill_ros.image_sync import ImageSync
from simdistill_ros.parameters import CameraTopics, InputParameters
from simdistill_ros.polled_subscription import PolledSubscription
from simdistill_ros.recalibration import CalibrationStore
from simdistill_ros.serialized import read_image
from simdistill_ros.snapshot_builder import MessageSet, Received

# Cameras may be exposed a little ahead of this computer's clock, not further.
FUTURE_NS = 500_000_000
# Calibrations that can wait to be taken: those of 100 Hz, taken at 10 Hz.
INFO_DEPTH = 10
# How often calibrations are taken of cameras that send no images, and late sets are given up.
POLL_NS = 100_000_000


class CameraInputs:
    """Feed images and calibrations of all cameras into the synchroniser and the store.

    A source of a `MessageThread`. Not thread-safe: one thread hands over messages and polls.
    """

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
        refresh: Callable[[], None] = lambda: None,
    ) -> None:
        """Subscribe to every camera.

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
            refresh: Called ahead of each poll.
        """
        self._losses = losses
        self._ros_now_ns = ros_now_ns
        self._preparer = preparer
        self._sync = sync
        self._calibrations = calibrations
        self._health = health
        self._on_set = on_set
        self._is_compressed = options.compressed
        self._refresh = refresh
        self._next_poll_ns = 0
        self._has_handed_over = False  # a set, in this round
        self._info_readers = {camera.name: CameraInfoReader() for camera in cameras}
        kind = CompressedImage if options.compressed else Image
        self.subscriptions = {
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
        self._looked_at = itertools.cycle(self.subscriptions)

    def destroy(self, node: Any) -> None:
        """Unsubscribe from all."""
        for polled in (*self.subscriptions.values(), *self._infos.values()):
            node.destroy_subscription(polled.subscription)
        self.subscriptions.clear()
        self._infos.clear()

    def after_round(self) -> None:
        """Poll where it is time; while a set that was just handed over is begun, it may wait."""
        patience_ns = POLL_NS if self._has_handed_over else 0  # every round may hand one over
        self._has_handed_over = False
        if time.monotonic_ns() >= self._next_poll_ns + patience_ns:
            self.poll()

    def poll(self) -> None:
        """Take calibrations, give up sets that waited too long."""
        now_ns = time.monotonic_ns()
        self._next_poll_ns = now_ns + POLL_NS
        self._refresh()
        for camera in self._infos:
            self._take_infos(camera)
        self._emit(self._sync.poll(now_ns))
        self._look_for_refusals(next(self._looked_at))

    def on_message(self, camera: str, data: bytes) -> None:
        """Take an image."""
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
        self._take_infos(camera)
        image = self._preparer.pending(camera, message)
        received = Received(image, message.frame, stamp_ns, now_ns)
        sets = self._sync.add(camera, received, now_ns)
        is_taken = self._emit(sets)
        if not (is_taken and sets[-1].images.get(camera) is received):
            self._preparer.begin(camera, image)

    def on_error(self, camera: str, error: BaseException) -> None:
        """Say that an image could not be taken."""
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
        subscriptions = [self.subscriptions[camera]]
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
            self._has_handed_over = True
            is_taken = self._on_set(messages)
        return is_taken


def _qos(options: InputParameters, depth: int) -> QoSProfile:
    is_reliable = options.reliability == "reliable"
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=ReliabilityPolicy.RELIABLE if is_reliable else ReliabilityPolicy.BEST_EFFORT,
    )
