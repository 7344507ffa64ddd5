# SPDX-License-Identifier: Apache-2.0
"""Turn messages, from a graph or a bag, into what was seen of the rig."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simdistill_ros.conversions import stamp_ns_from_msg
from simdistill_ros.doctor.camera_record import CameraRecord
from simdistill_ros.doctor.observations import (
    CLOCK_TYPE,
    COMPRESSED_TYPE,
    INFO_TYPE,
    RAW_TYPE,
    TF_TYPE,
    Endpoint,
    Machine,
    Plan,
    Rig,
)
from simdistill_ros.doctor.transforms_seen import TransformsSeen

TF_TOPICS = ("/tf", "/tf_static")
CLOCK_TOPIC = "/clock"
CLOCK = (CLOCK_TOPIC, CLOCK_TYPE)


class Recorder:
    """Takes messages by topic; ends as a `Rig`."""

    def __init__(self, plan: Plan, *, start_ns: int, duration_ns: int, decode_gap_ns: int) -> None:
        """Start with nothing seen; the arguments are those of `CameraRecord`."""
        self._plan = plan
        self._start_ns = start_ns
        self._last_ns = start_ns
        self._transforms = TransformsSeen()
        self._cameras = {
            camera.name: CameraRecord(
                camera, start_ns=start_ns, duration_ns=duration_ns, decode_gap_ns=decode_gap_ns
            )
            for camera in plan.cameras
        }
        self._images = {c.image_topic: self._cameras[c.name] for c in plan.cameras}
        self._infos = {c.info_topic: self._cameras[c.name] for c in plan.cameras}
        self._clock_count = 0
        self._clock_offset_ns: int | None = None

    @property
    def topics(self) -> tuple[str, ...]:
        """Topics to listen to."""
        return (*self._images, *self._infos, *TF_TOPICS, CLOCK_TOPIC)

    def accepts(self, topic: str, type_name: str) -> bool:
        """Tell whether messages of a type are of use on a topic.

        Both kinds of image are, so that a wrong `input.compressed` does not hide everything else.
        """
        if topic in self._images:
            return type_name in (COMPRESSED_TYPE, RAW_TYPE)
        if topic in self._infos:
            return type_name == INFO_TYPE
        return (topic in TF_TOPICS and type_name == TF_TYPE) or (topic, type_name) == CLOCK

    def take(self, topic: str, message: Any, arrival_ns: int) -> None:
        """Take one message of a topic in `topics`."""
        self._last_ns = max(self._last_ns, arrival_ns)
        if topic in self._images:
            self._images[topic].add_image(message, arrival_ns)
        elif topic in self._infos:
            self._infos[topic].add_info(message, arrival_ns)
        elif topic in TF_TOPICS:
            self._transforms.add(message, arrival_ns, static=topic == "/tf_static")
        elif topic == CLOCK_TOPIC:
            self._clock_count += 1
            self._clock_offset_ns = stamp_ns_from_msg(message.clock) - arrival_ns

    def rig(
        self,
        *,
        is_live: bool,
        end_ns: int | None = None,
        topics: Mapping[str, str],
        publishers: Mapping[str, tuple[Endpoint, ...]],
        detector_states: Mapping[str, str] | None = None,
        machine: Machine | None = None,
    ) -> Rig:
        """Return what was seen until now."""
        end_ns = self._last_ns if end_ns is None else end_ns
        newest_stamp_ns = end_ns + (self._clock_offset_ns or 0)
        return Rig(
            plan=self._plan,
            is_live=is_live,
            duration_ns=end_ns - self._start_ns,
            end_ns=end_ns,
            cameras=tuple(
                record.seen(self._plan, self._transforms.tree, newest_stamp_ns)
                for record in self._cameras.values()
            ),
            transforms=self._transforms.transforms(),
            topics=dict(topics),
            publishers=dict(publishers),
            clock_count=self._clock_count,
            clock_offset_ns=self._clock_offset_ns,
            detector_states=dict(detector_states or {}),
            machine=machine,
        )
