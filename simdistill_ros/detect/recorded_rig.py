# SPDX-License-Identifier: Apache-2.0
"""A bag as the node would hear it: topics, synchroniser, calibration and transforms are the node's.

The bag's clock is the time, so the result does not depend on how fast anything runs. Transforms are
read first, so that none comes too late; a CameraInfo holds for the images that come after it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rclpy.serialization import deserialize_message

from simdistill_ros.conversions import stamp_ns_from_msg, transform_from_msg
from simdistill_ros.core.camera import CameraCalibration
from simdistill_ros.core.frames import FloatArray
from simdistill_ros.core.preprocess import InputRule
from simdistill_ros.core.snapshot import Snapshot
from simdistill_ros.core.transform_tree import TransformTree
from simdistill_ros.doctor.message_types import MESSAGE_CLASSES
from simdistill_ros.doctor.observations import COMPRESSED_TYPE, INFO_TYPE, RAW_TYPE, TF_TYPE
from simdistill_ros.health import Health
from simdistill_ros.image_preparation import ImagePreparer
from simdistill_ros.image_sync import make_sync
from simdistill_ros.parameters import CameraTopics, LiveParameters, NodeParameters
from simdistill_ros.recalibration import CalibrationStore
from simdistill_ros.replay.bag_storage import Bag
from simdistill_ros.snapshot_builder import MessageSet, Received, SnapshotBuilder, SnapshotFault

LOGGER = logging.getLogger(__name__)
TF_TOPICS = {"/tf": False, "/tf_static": True}
FOREVER_NS = 1 << 62
LOG_PERIOD_NS = 60_000_000_000


@dataclass(frozen=True)
class RigPlan:
    """What the node was told, and where its cameras are in the bag."""

    parameters: NodeParameters
    live: LiveParameters
    topics: tuple[CameraTopics, ...]


class RecordedRig:
    """One bag, read once."""

    def __init__(self, bag: Bag, plan: RigPlan, rule: InputRule) -> None:
        """Read transforms and first calibrations.

        Raises:
            ValueError: If the bag lacks a topic of a camera, or has it with another type.
        """
        _check_topics(bag, plan)
        self._bag, self._plan, self._rule = bag, plan, rule
        self._now_ns = 0
        self.health = Health(lambda: self._now_ns, LOGGER.debug, LOG_PERIOD_NS)
        self.transforms = TransformTree(FOREVER_NS)
        self._calibrations = CalibrationStore()
        self._image_of = {_absolute(t.image_topic): t.name for t in plan.topics}
        self._info_of = {_absolute(t.camera_info_topic): t.name for t in plan.topics}
        self._read_ahead()

    def snapshots(self) -> Iterator[Snapshot]:
        """Yield the snapshots that the node would make; `health` has what became of the rest."""
        plan = self._plan
        preparer = ImagePreparer(self._calibrations.get, plan.parameters.input, self._rule)
        builder = SnapshotBuilder(
            replace(plan.parameters, tf_timeout_ns=0),  # all transforms are there already
            self._calibrations,
            self.transforms,
            recalibration=_AsRecorded(),
            stopping=lambda: False,
            report=self.health.fault_from,
        )
        try:
            for messages in self._sets(preparer):
                try:
                    yield builder.build(messages, plan.live.missing)
                except SnapshotFault as fault:
                    for one in fault.faults:
                        self.health.fault_from(one)
        finally:
            preparer.close()

    def _sets(self, preparer: ImagePreparer) -> Iterator[MessageSet]:
        plan = self._plan
        names = tuple(topics.name for topics in plan.topics)
        sync = make_sync(replace(plan.parameters.sync, missing=plan.live.missing), names,
                         self.health)  # fmt: skip
        for topic, message, log_ns in self._messages([*self._image_of, *self._info_of]):
            self._now_ns = log_ns
            if topic in self._info_of:
                self._calibrations.put(self._info_of[topic], message)
                continue
            camera, stamp_ns = self._image_of[topic], stamp_ns_from_msg(message.header.stamp)
            self.health.received(camera)
            if stamp_ns <= 0:
                self.health.fault(camera, "zero_stamp", "header.stamp is 0")
                continue
            image = preparer.submit(camera, message)
            image.run()  # with the calibration of now, not of when a thread gets to it
            received = Received(image, message.header.frame_id, stamp_ns, log_ns)
            yield from sync.add(camera, received, log_ns)
            yield from sync.poll(log_ns)
        self._now_ns += plan.parameters.sync.timeout_ns + 1
        yield from sync.poll(self._now_ns)

    def _read_ahead(self) -> None:
        for topic, message, _ in self._messages([*TF_TOPICS, *self._info_of]):
            if topic in self._info_of:
                camera = self._info_of[topic]
                if self._calibrations.get(camera) is None:
                    self._calibrations.put(camera, message)
                continue
            for transform in message.transforms:
                try:
                    parent, child, stamp_ns, pose = transform_from_msg(transform)
                    self.transforms.set_transform(
                        parent, child, stamp_ns, pose, static=TF_TOPICS[topic]
                    )
                except ValueError as error:
                    self.health.fault("sync", "bad_transform", str(error))

    def _messages(self, topics: Sequence[str]) -> Iterator[tuple[str, Any, int]]:
        for message in self._bag.messages(topics):
            kind = MESSAGE_CLASSES[self._bag.topics[message.topic].type_name]
            yield message.topic, deserialize_message(message.data, kind), message.stamp_ns


class _AsRecorded:
    """Mountings as the bag has them: there is no running node that a change would disturb."""

    def pose(self, camera: str, newest: FloatArray, *, is_static: bool) -> FloatArray:
        return newest

    def note(self, camera: str, calibration: CameraCalibration) -> None:
        pass


def _absolute(topic: str) -> str:
    return topic if topic.startswith("/") else f"/{topic}"


def _check_topics(bag: Bag, plan: RigPlan) -> None:
    image_type = COMPRESSED_TYPE if plan.parameters.input.compressed else RAW_TYPE
    wanted = {_absolute(one.image_topic): image_type for one in plan.topics}
    wanted |= {_absolute(one.camera_info_topic): INFO_TYPE for one in plan.topics}
    for topic, kind in wanted.items():
        if topic not in bag.topics:
            images = sorted(n for n, t in bag.topics.items()
                            if t.type_name in (COMPRESSED_TYPE, RAW_TYPE))  # fmt: skip
            raise ValueError(
                f"{bag.folder}: no topic {topic}; its images are on {', '.join(images) or 'none'}; "
                "name yours in a parameter file (--params)"
            )
        if bag.topics[topic].type_name != kind:
            raise ValueError(
                f"{bag.folder}: {topic} has {bag.topics[topic].type_name}, expected {kind}; set "
                "input.compressed in a parameter file (--params)"
            )
    for topic in TF_TOPICS.keys() & bag.topics.keys():
        if bag.topics[topic].type_name != TF_TYPE:
            raise ValueError(f"{bag.folder}: {topic} is no {TF_TYPE}")
