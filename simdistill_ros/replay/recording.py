# SPDX-License-Identifier: Apache-2.0
"""What was played and what the detector said to it, together in one rosbag2 (MCAP) a scene.

The file carries its message definitions, so it opens in Foxglove by itself and in RViz through
`ros2 bag play`. Log times are bag time: what was played has its own. What the detector said has, in
`step`, the time of the images it is about (the answer stands beside its images, however long it
took); in `realtime` the time that the bag had reached when it came.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from rclpy.serialization import deserialize_message
from visualization_msgs.msg import MarkerArray

from simdistill_ros.conversions import stamp_ns_from_msg
from simdistill_ros.replay.bag_storage import (
    BagMessage,
    BagTopic,
    BagWriter,
    bag_typestore,
    latched_qos,
)
from simdistill_ros.replay.faults.cdr_stamp import stamp_ns_of_cdr

# Topic below the detector's name -> type; what a complete answer consists of.
ANSWER_TOPICS = {
    "detections": "vision_msgs/msg/Detection3DArray",
    "velocities": "sensor_msgs/msg/PointCloud2",
    "markers": "visualization_msgs/msg/MarkerArray",
    "coverage": "sensor_msgs/msg/LaserScan",
    "quality": "diagnostic_msgs/msg/DiagnosticArray",
    "latency": "diagnostic_msgs/msg/DiagnosticArray",
}
OVERLAY_TOPICS = {
    "overlay/mosaic/compressed": "sensor_msgs/msg/CompressedImage",
    "overlay/bev/compressed": "sensor_msgs/msg/CompressedImage",
}
# Answers are about images of the bag, whose stamps a fault may have shifted; scenes lie days apart.
MARGIN_NS = 10_000_000_000
DIAGNOSTICS = BagTopic("/diagnostics", "diagnostic_msgs/msg/DiagnosticArray", latched=False)


def recorded_topics(detector: str, *, overlays: bool) -> list[BagTopic]:
    """Return the topics of a detector that are recorded."""
    kinds = {**ANSWER_TOPICS, **(OVERLAY_TOPICS if overlays else {})}
    answers = [BagTopic(f"/{detector}/{name}", kind, False) for name, kind in kinds.items()]
    return [*answers, DIAGNOSTICS]


class Recording:
    """One scene's file while it is written."""

    def __init__(
        self,
        folder: Path,
        played: Mapping[str, BagTopic],
        heard: Sequence[BagTopic],
        *,
        is_step: bool,
        facts: Mapping[str, str],
    ) -> None:
        """Open the file `folder/<name of folder>.mcap`.

        Args:
            folder: The bag; it must not exist.
            played: Topics of the bag that is played, by name.
            heard: Topics of the detector.
            is_step: Whether the detector's messages are logged at their stamp.
            facts: Goes into the metadata.

        Raises:
            FileExistsError: If the folder exists.
        """
        self._played = dict(played)
        self._heard = {topic.name: topic for topic in heard}
        self._is_step = is_step
        self._writer = BagWriter(folder, bag_typestore(), facts)
        self._written: set[tuple[str, int, int]] = set()
        self._answered: defaultdict[int, set[str]] = defaultdict(set)
        self._first_ns: int | None = None
        self._now_ns = 0

    def __enter__(self) -> Recording:
        """Start writing; displays find every topic, also one that nothing is said on."""
        self._writer.__enter__()
        for topic in self._heard.values():
            self._writer.declare(topic.name, topic.type_name)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finish the file, or abandon it on an exception."""
        self._writer.__exit__(kind, error, trace)

    def add_played(self, message: BagMessage) -> None:
        """Take a message that was published from the bag; one that is sent again counts once."""
        key = (message.topic, message.stamp_ns, hash(message.data))
        if key in self._written:
            return
        self._written.add(key)
        self._first_ns = message.stamp_ns if self._first_ns is None else self._first_ns
        self._now_ns = max(self._now_ns, message.stamp_ns)
        self._write(self._played[message.topic], message.stamp_ns, message.data)

    def add_heard(self, topic: str, data: bytes) -> None:
        """Take a message of the detector; what is about another scene is let go."""
        if self._first_ns is None:
            return
        log_ns = self._now_ns
        if topic != DIAGNOSTICS.name:
            stamp_ns = stamp_ns_of(self._heard[topic].type_name, data)
            if stamp_ns == 0:  # markers, when there is nothing to show
                stamp_ns = max(self._answered, default=self._now_ns)
            if not self._first_ns - MARGIN_NS <= stamp_ns <= self._now_ns + MARGIN_NS:
                return
            self._answered[stamp_ns].add(topic)
            log_ns = stamp_ns if self._is_step else self._now_ns
        self._write(self._heard[topic], log_ns, data)

    def is_complete(self, stamp_ns: int) -> bool:
        """Tell whether all that belongs to the answer of a stamp has come."""
        return self._answered.get(stamp_ns, set()) >= self._heard.keys() - {DIAGNOSTICS.name}

    def _write(self, topic: BagTopic, stamp_ns: int, data: bytes) -> None:
        qos = latched_qos() if topic.latched else None
        self._writer.write_bytes(topic.name, topic.type_name, stamp_ns, data, qos)


def stamp_ns_of(type_name: str, data: bytes) -> int:
    """Return the stamp of a serialised message of the detector; 0 of an empty marker array."""
    if type_name != ANSWER_TOPICS["markers"]:
        return stamp_ns_of_cdr(data)
    array: Any = deserialize_message(data, MarkerArray)
    return max((stamp_ns_from_msg(marker.header.stamp) for marker in array.markers), default=0)
