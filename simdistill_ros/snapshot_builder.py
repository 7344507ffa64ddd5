# SPDX-License-Identifier: Apache-2.0
"""Synchronised messages → Snapshot: decode, calibrate, place each camera.

Runs on the worker's thread. Whatever makes a snapshot impossible is raised as an `InputFault` that
names the camera and the cause; nothing is ever replaced by a guess.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from simdistill_ros.conversions import calibration_from_msg, image_from_msg
from simdistill_ros.core.camera import CalibrationError
from simdistill_ros.core.frames import FloatArray
from simdistill_ros.core.images import ImageError
from simdistill_ros.core.snapshot import Snapshot, View
from simdistill_ros.core.transform_tree import TransformError, TransformTree, check_frame_name
from simdistill_ros.health import InputFault
from simdistill_ros.parameters import NodeParameters

TRANSFORM_POLL_S = 0.005


@dataclass(frozen=True)
class Received:
    """An image message and when it arrived (monotonic clock)."""

    message: Any
    stamp_ns: int
    arrival_ns: int


@dataclass(frozen=True)
class MessageSet:
    """The messages of one snapshot, by camera name, and when the set was complete."""

    stamp_ns: int
    images: Mapping[str, Received]
    complete_ns: int


class SnapshotFault(Exception):
    """A message set makes no snapshot; `faults` says why, one entry a camera."""

    def __init__(self, faults: list[InputFault]) -> None:
        """Keep the faults."""
        super().__init__("; ".join(f"{f.subject}: {f.cause}: {f}" for f in faults))
        self.faults = faults


class CalibrationStore:
    """The newest CameraInfo of each camera."""

    def __init__(self) -> None:
        """Start with none."""
        self._lock = threading.Lock()
        self._infos: dict[str, Any] = {}

    def put(self, camera: str, info: Any) -> None:
        """Keep a CameraInfo."""
        with self._lock:
            self._infos[camera] = info

    def get(self, camera: str) -> Any | None:
        """Return the newest CameraInfo, or None."""
        with self._lock:
            return self._infos.get(camera)

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._infos.clear()


class SnapshotBuilder:
    """Build snapshots from message sets."""

    def __init__(
        self,
        parameters: NodeParameters,
        calibrations: CalibrationStore,
        transforms: TransformTree,
        *,
        stopping: Callable[[], bool],
        threads: int = 2,
    ) -> None:
        """Prepare.

        Args:
            parameters: What the node was told.
            calibrations: Where CameraInfo messages are kept.
            transforms: The transform tree that TF messages feed.
            stopping: Tells long waits to end.
            threads: Images decoded at a time.
        """
        self._parameters = parameters
        self._calibrations = calibrations
        self._transforms = transforms
        self._stopping = stopping
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")

    def close(self) -> None:
        """End the decoding threads."""
        self._pool.shutdown(wait=True)

    def build(self, messages: MessageSet) -> Snapshot:
        """Return the snapshot of a message set.

        Raises:
            SnapshotFault: If a camera of the set cannot be used; it holds one fault a camera.
        """
        futures = {
            camera: self._pool.submit(self._view, camera, received, messages.stamp_ns)
            for camera, received in messages.images.items()
        }
        views, faults = [], []
        for future in futures.values():
            try:
                views.append(future.result())
            except InputFault as fault:
                faults.append(fault)
        if faults:
            raise SnapshotFault(faults)
        return Snapshot(stamp_ns=messages.stamp_ns, views=tuple(views))

    def _view(self, camera: str, received: Received, stamp_ns: int) -> View:
        info = self._calibrations.get(camera)
        if info is None:
            raise InputFault(camera, "no_camera_info", "no CameraInfo has arrived")
        options = self._parameters.input
        try:
            image = image_from_msg(received.message)
            image_hw = (image.shape[0], image.shape[1])
            calibration = calibration_from_msg(
                info, image_hw, rectified=options.rectified, ignore_r=options.ignore_r
            )
        except (ImageError, CalibrationError) as error:
            raise InputFault(camera, error.cause, str(error)) from error
        return View(
            camera=camera,
            stamp_ns=received.stamp_ns,
            image=image,
            calibration=calibration,
            ego_from_cam=self._ego_from_cam(camera, info, received, stamp_ns),
        )

    def _ego_from_cam(
        self, camera: str, info: Any, received: Received, stamp_ns: int
    ) -> FloatArray:
        frame = (received.message.header.frame_id or info.header.frame_id).lstrip("/")
        if not frame:
            raise InputFault(camera, "no_frame", "image and CameraInfo have an empty frame_id")
        try:
            check_frame_name(frame)
        except ValueError as error:
            raise InputFault(camera, "bad_frame", str(error)) from error
        base, fixed = self._parameters.base_frame, self._parameters.fixed_frame

        def look_up() -> FloatArray:
            if not fixed:
                return self._transforms.lookup(base, frame, received.stamp_ns)
            return self._transforms.lookup_fixed(base, stamp_ns, frame, received.stamp_ns, fixed)

        try:
            return self.wait_for_transform(look_up)
        except TransformError as error:
            raise InputFault(camera, error.cause, str(error)) from error

    def wait_for_transform(self, look_up: Callable[[], FloatArray]) -> FloatArray:
        """Return what `look_up` finds, tried again until `tf.timeout_s` has passed.

        Raises:
            TransformError: What the last try raised.
        """
        deadline_ns = time.monotonic_ns() + self._parameters.tf_timeout_ns
        while True:
            try:
                return look_up()
            except TransformError:
                if self._stopping() or time.monotonic_ns() >= deadline_ns:
                    raise
            time.sleep(TRANSFORM_POLL_S)
