# SPDX-License-Identifier: Apache-2.0
"""Look at a recorded bag: MCAP or sqlite3, compressed or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rclpy.serialization import deserialize_message
from rosbags.interfaces import QosDurability, QosReliability
from rosbags.rosbag2 import Reader, ReaderError

from simdistill_ros.doctor.message_types import MESSAGE_CLASSES
from simdistill_ros.doctor.observations import NANOSECONDS, Endpoint, Plan, Rig
from simdistill_ros.doctor.recorder import Recorder

_RELIABILITIES = {
    QosReliability.RELIABLE: "reliable",
    QosReliability.BEST_EFFORT: "best_effort",
}
_DURABILITIES = {
    QosDurability.VOLATILE: "volatile",
    QosDurability.TRANSIENT_LOCAL: "transient_local",
}


def look_at_bag(path: Path, plan: Plan, seconds: float) -> Rig:
    """Return what the first seconds of a bag hold.

    Raises:
        ValueError: If the path is no bag, or the bag is empty or damaged.
    """
    try:
        with Reader(path) as reader:
            return _read(reader, plan, round(seconds * NANOSECONDS))
    except (ReaderError, OSError) as error:
        raise ValueError(f"--bag {path}: expected a rosbag2 folder; {error}") from error


def _read(reader: Any, plan: Plan, duration_ns: int) -> Rig:
    if not reader.message_count:
        raise ValueError("expected a bag with messages, got an empty one")
    start_ns = int(reader.start_time)
    duration_ns = min(duration_ns, int(reader.end_time) - start_ns)
    recorder = Recorder(plan, start_ns=start_ns, duration_ns=duration_ns, decode_gap_ns=0)
    wanted = [c for c in reader.connections if recorder.accepts(c.topic, c.msgtype)]
    stop_ns = start_ns + duration_ns + 1
    for connection, arrival_ns, data in (
        reader.messages(connections=wanted, stop=stop_ns) if wanted else ()
    ):
        message = deserialize_message(bytes(data), MESSAGE_CLASSES[connection.msgtype])
        recorder.take(connection.topic, message, arrival_ns)
    publishers: dict[str, tuple[Endpoint, ...]] = {}
    for connection in reader.connections:
        known = publishers.get(connection.topic, ())
        publishers[connection.topic] = known + _endpoints(connection)
    return recorder.rig(
        is_live=False,
        end_ns=start_ns + duration_ns,
        topics={c.topic: c.msgtype for c in reader.connections},
        publishers=publishers,
    )


def _endpoints(connection: Any) -> tuple[Endpoint, ...]:
    """Return the publishers that were recorded; bags may keep none of their profiles."""
    profiles = connection.ext.offered_qos_profiles
    if not profiles:
        return (Endpoint("", connection.msgtype),)
    return tuple(
        Endpoint(
            node="",
            type_name=connection.msgtype,
            reliability=_RELIABILITIES.get(profile.reliability, ""),
            durability=_DURABILITIES.get(profile.durability, ""),
        )
        for profile in profiles
    )
