# SPDX-License-Identifier: Apache-2.0
"""Cases of streams: images of any stamp and make through synchroniser and snapshot builder."""

from __future__ import annotations

from random import Random
from types import SimpleNamespace
from typing import Any

import numpy as np
from rclpy.serialization import serialize_message

from benchmarks.fuzz.findings import require
from benchmarks.fuzz.geometry import mutate_info
from benchmarks.fuzz.mutate import text
from benchmarks.fuzz.pictures import mutate_raw
from benchmarks.fuzz.seeds import CAMERAS, START_NS, camera_info, mounts, raw_image
from simdistill_ros.camera_inputs import CameraInputs
from simdistill_ros.conversions import stamp_to_msg
from simdistill_ros.core.missing_cameras import MissingCameras
from simdistill_ros.core.preprocess import InputRule
from simdistill_ros.core.transform_tree import TransformTree
from simdistill_ros.health import Health
from simdistill_ros.image_loss import LossMeter
from simdistill_ros.image_preparation import ImagePreparer
from simdistill_ros.image_sync import NativeSync
from simdistill_ros.parameters import CameraTopics, declare_parameters, read_parameters
from simdistill_ros.recalibration import Recalibration
from simdistill_ros.snapshot_builder import (
    CalibrationStore,
    MessageSet,
    SnapshotBuilder,
    SnapshotFault,
)
from simdistill_ros.transform_input import STATIC_TOPIC, TransformInput

MS = 1_000_000
PERIOD_MS = 83
STAMPS_S = (0, -1, 1, 2**31 - 1, -(2**31), 1_600_000_000)
PARAMETERS = {"input.compressed": False, "input.decode_threads": 1, "tf.timeout_s": 0.0}
# Of one node, before a new one takes its place.
CASES_OF_A_NODE = 500


class QuietNode:
    """What subscriptions and parameters need of a node, without ROS."""

    def __init__(self) -> None:
        """Start without parameters."""
        self._values: dict[str, Any] = {}

    def declare_parameter(self, name: str, default: Any, descriptor: Any = None) -> None:
        """Keep the default, or what these cases need."""
        self._values[name] = PARAMETERS.get(name, default)

    def get_parameter(self, name: str) -> Any:
        """Return a parameter."""
        return SimpleNamespace(value=self._values[name])

    def create_subscription(self, *arguments: Any, **options: Any) -> Any:
        """Return a subscription to which nothing comes."""
        return SimpleNamespace(handle=QuietHandle(), topic_name="", qos_profile=None)

    def get_publishers_info_by_topic(self, topic: str) -> list[Any]:
        """Return nobody."""
        return []


class QuietHandle:
    """A subscription's handle from which nothing can be taken."""

    def __enter__(self) -> None:
        """Enter."""

    def __exit__(self, *error: object) -> None:
        """Leave."""

    def take_message(self, kind: Any, raw: bool) -> None:
        """Return no message."""


class StreamCases:
    """A node's inputs that live on from case to case."""

    def __init__(self) -> None:
        """Start with a calibrated rig."""
        self._count = 0
        self._renew()

    def _renew(self) -> None:
        node: Any = QuietNode()
        declare_parameters(node)
        settings = read_parameters(node)
        self._sets: list[MessageSet] = []
        self.health = Health(lambda: 0, lambda line: None, 1)
        self._sync = NativeSync(settings.sync, CAMERAS, self.health)
        calibrations, tree = CalibrationStore(), TransformTree(settings.tf_cache_ns)
        mountings = bytes(serialize_message(mounts()))
        TransformInput(node, tree, self.health).on_message(STATIC_TOPIC, mountings)
        self._preparer = ImagePreparer(calibrations.get, settings.input, InputRule((16, 32), 40))
        topics = [CameraTopics(name, name, f"{name}/info") for name in CAMERAS]
        self._inputs = CameraInputs(
            node,
            topics,
            settings.input,
            preparer=self._preparer,
            sync=self._sync,
            calibrations=calibrations,
            losses={name: LossMeter() for name in CAMERAS},
            health=self.health,
            ros_now_ns=lambda: self._stamp_ns,
            on_set=self._keep,
        )
        self._recalibration = Recalibration(
            calibrations,
            calibration_of=self._preparer.calibration_of,
            work_in=lambda rig: None,
            report=self.health.fault_from,
            bounds=settings.calibration_jump,
        )
        self._builder = SnapshotBuilder(
            settings,
            calibrations,
            tree,
            recalibration=self._recalibration,
            stopping=lambda: False,
            report=self.health.fault_from,
        )
        for camera in CAMERAS:
            self._inputs._on_info(camera, serialize_message(camera_info(camera)))
        self._stamp_ns = START_NS

    def case(self, draw: Random) -> str:
        """Send one cycle, more or less; build what comes together."""
        self._count += 1
        if self._count % CASES_OF_A_NODE == 0:
            self._preparer.close()
            self._recalibration.close()
            self._renew()
        self._stamp_ns += PERIOD_MS * MS
        for number, camera in enumerate(CAMERAS):
            if draw.random() < 0.9:
                message = raw_image(draw, camera, self._stamp_ns + number * 8 * MS)
                self._spoil(message, draw)
                self._inputs.on_message(camera, bytes(serialize_message(message)))
            if draw.random() < 0.1:
                info = camera_info(camera)
                if draw.random() < 0.5:
                    mutate_info(info, draw)
                self._inputs._on_info(camera, serialize_message(info))
        self._inputs.poll()
        self._require_that_all_is_counted()
        return self._build()

    def _spoil(self, message: Any, draw: Random) -> None:
        if draw.random() < 0.2:
            mutate_raw(message, draw)
        if draw.random() < 0.05:
            message.header.frame_id = text(draw)
        if draw.random() < 0.05:
            message.header.stamp.sec = draw.choice(STAMPS_S)
        if draw.random() < 0.1:
            message.header.stamp = stamp_to_msg(self._stamp_ns + draw.randint(-500, 500) * MS)

    def _keep(self, messages: MessageSet) -> bool:
        self._sets.append(messages)
        return False

    def _require_that_all_is_counted(self) -> None:
        sync = self._sync._sync
        for name, counters in sync.counters.cameras.items():
            queued = sync.queued(name)
            require(queued <= 100, f"{queued} images of {name} are kept")
            total = counters.matched + counters.dropped + queued
            require(counters.received == total, f"{name}: {counters} and {queued} queued")

    def _build(self) -> str:
        built, faults = 0, 0
        for messages in self._sets:
            try:
                snapshot = self._builder.build(messages, MissingCameras())
            except SnapshotFault:
                faults += 1
                continue
            built += 1
            for view in snapshot.views:
                require(bool(np.isfinite(view.ego_from_cam).all()), "a camera's pose is not finite")
        self._sets.clear()
        return f"{min(built, 2)} built, {min(faults, 2)} faulty"
