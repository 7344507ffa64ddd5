# SPDX-License-Identifier: Apache-2.0
"""Synchronised images → Snapshot: wait for their preparation, place each camera.

Runs on the worker's thread. Whatever makes a snapshot impossible is raised as an `InputFault` that
names the camera and the cause; nothing is ever replaced by a guess.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from simdistill_ros.core.camera import CameraCalibration
from simdistill_ros.core.frames import FloatArray
from simdistill_ros.core.missing_cameras import MissingCameras
from simdistill_ros.core.snapshot import Snapshot, View
from simdistill_ros.core.transform_tree import TransformError, TransformTree, check_frame_name
from simdistill_ros.health import InputFault
from simdistill_ros.image_preparation import PendingImage
from simdistill_ros.parameters import NodeParameters
from simdistill_ros.recalibration import CalibrationStore

TRANSFORM_POLL_S = 0.005


@dataclass(frozen=True)
class Received:
    """An image, the optical frame its header names, and when it arrived (monotonic clock)."""

    image: PendingImage
    frame: str
    stamp_ns: int
    arrival_ns: int


@dataclass(frozen=True)
class MessageSet:
    """The images of one snapshot, by camera name, and when the set was complete.

    `missing` and `held` are those of `core.sync.SyncedSet`.
    """

    stamp_ns: int
    images: Mapping[str, Received]
    complete_ns: int
    missing: tuple[str, ...] = ()
    held: tuple[str, ...] = ()

    @property
    def fresh(self) -> dict[str, Received]:
        """The images that are of this cycle."""
        return {name: one for name, one in self.images.items() if name not in self.held}


class SnapshotFault(Exception):
    """A message set makes no snapshot; `faults` says why, one entry a camera."""

    def __init__(self, faults: list[InputFault]) -> None:
        """Keep the faults."""
        super().__init__("; ".join(f"{f.subject}: {f.cause}: {f}" for f in faults))
        self.faults = faults


class Mountings(Protocol):
    """Says which mounting of a camera is in use."""

    def pose(self, camera: str, newest: FloatArray, *, is_static: bool) -> FloatArray:
        """Return the mounting to use, (4, 4) ego_from_cam, now that this one is the newest."""

    def note(self, camera: str, calibration: CameraCalibration) -> None:
        """Note the calibration that a camera's image is used with."""


class SnapshotBuilder:
    """Build snapshots from sets of images."""

    def __init__(
        self,
        parameters: NodeParameters,
        calibrations: CalibrationStore,
        transforms: TransformTree,
        *,
        recalibration: Mountings,
        stopping: Callable[[], bool],
        report: Callable[[InputFault], None],
    ) -> None:
        """Prepare.

        Args:
            parameters: What the node was told.
            calibrations: Where CameraInfo messages are kept.
            transforms: The transform tree that TF messages feed.
            recalibration: Says which mounting of a camera is in use.
            stopping: Tells long waits to end.
            report: Told of cameras that are left out of a snapshot, and of images that change
                their size or encoding.
        """
        self._kinds: dict[str, str] = {}
        self._parameters = parameters
        self._calibrations = calibrations
        self._transforms = transforms
        self._recalibration = recalibration
        self._stopping = stopping
        self._report = report

    def build(self, messages: MessageSet, rule: MissingCameras) -> Snapshot:
        """Return the snapshot of a set of images.

        Args:
            messages: The set.
            rule: Whether a camera whose image cannot be used may be left out.

        Raises:
            SnapshotFault: If a camera of the set cannot be used and may not be left out; it holds
                one fault a camera.
        """
        deadline_ns = self._transform_deadline_ns()
        views, faults = [], []
        # The newest image comes last: the others are placed while it is being prepared.
        in_order = sorted(messages.images.items(), key=lambda item: item[1].arrival_ns)
        for camera, received in in_order:
            try:
                views.append(self._view(camera, received, messages.stamp_ns, deadline_ns))
            except InputFault as fault:
                faults.append(fault)
        usable = [view for view in views if view.camera not in messages.held]
        if faults and len(usable) < rule.least(len(messages.images) + len(messages.missing)):
            raise SnapshotFault(faults)
        for one in faults:
            self._report(one)
        unusable = {one.subject for one in faults}
        return Snapshot(
            stamp_ns=messages.stamp_ns,
            views=tuple(views),
            missing=(*messages.missing, *sorted(unusable)),
            held=tuple(name for name in messages.held if name not in unusable),
        )

    def _view(self, camera: str, received: Received, stamp_ns: int, deadline_ns: int) -> View:
        prepared = received.image.result()
        self._note_kind(camera, prepared.kind)
        ego_from_cam = self._ego_from_cam(camera, received, stamp_ns, deadline_ns)
        self._recalibration.note(camera, prepared.calibration)
        return View(
            camera=camera,
            stamp_ns=received.stamp_ns,
            image=prepared.pixels,
            calibration=prepared.calibration,
            ego_from_cam=ego_from_cam,
            is_network_input=prepared.is_network_input,
        )

    def _note_kind(self, camera: str, kind: str) -> None:
        before = self._kinds.setdefault(camera, kind)
        if kind != before:
            self._kinds[camera] = kind
            text = f"images were {before}, now they are {kind}; is the driver configured anew?"
            self._report(InputFault(camera, "format_changed", text))

    def _ego_from_cam(
        self, camera: str, received: Received, stamp_ns: int, deadline_ns: int
    ) -> FloatArray:
        info = self._calibrations.get(camera)
        frame = (received.frame or (info.header.frame_id if info else "")).lstrip("/")
        if not frame:
            raise InputFault(camera, "no_frame", "image and CameraInfo have an empty frame_id")
        try:
            check_frame_name(frame)
        except ValueError as error:
            raise InputFault(camera, "bad_frame", str(error)) from error
        base, fixed = self._parameters.base_frame, self._parameters.fixed_frame

        def look_up() -> FloatArray:
            newest = self._transforms.lookup(base, frame, received.stamp_ns)
            is_static = self._transforms.is_static(base, frame)
            mounting = self._recalibration.pose(camera, newest, is_static=is_static)
            if not fixed:
                return mounting
            ego_motion = self._transforms.lookup_fixed(
                base, stamp_ns, base, received.stamp_ns, fixed
            )
            return np.asarray(ego_motion @ mounting)

        try:
            return self.wait_for_transform(look_up, deadline_ns)
        except TransformError as error:
            raise InputFault(camera, error.cause, str(error)) from error

    def wait_for_transform(
        self, look_up: Callable[[], FloatArray], deadline_ns: int | None = None
    ) -> FloatArray:
        """Return what `look_up` finds, tried again until `tf.timeout_s` has passed.

        Args:
            look_up: Asks the transform tree.
            deadline_ns: When to give up; None: `tf.timeout_s` from now. The cameras of a set share
                one, so that six missing transforms are not waited for one after the other.

        Raises:
            TransformError: What the last try raised.
        """
        if deadline_ns is None:
            deadline_ns = self._transform_deadline_ns()
        while True:
            try:
                return look_up()
            except TransformError:
                if self._stopping() or time.monotonic_ns() >= deadline_ns:
                    raise
            time.sleep(TRANSFORM_POLL_S)

    def _transform_deadline_ns(self) -> int:
        return time.monotonic_ns() + self._parameters.tf_timeout_ns
