# SPDX-License-Identifier: Apache-2.0
"""rosbag2 files (MCAP) without rosbag2: message definitions, QoS profiles, writing and reading.

Messages are CDR bytes in and out; who knows their types serialises them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rclpy.serialization import deserialize_message, serialize_message
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import Reader, StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

# The newest metadata that Humble, Jazzy and Kilted all read.
METADATA_VERSION = 8


def latched_qos() -> Qos:
    """Return the profile of `/tf_static`: a subscriber that comes later still gets the message."""
    return _qos(QosDurability.TRANSIENT_LOCAL, depth=1)


def stream_qos(depth: int = 10) -> Qos:
    """Return the profile of everything else: reliable, which sensor-data subscribers accept."""
    return _qos(QosDurability.VOLATILE, depth)


def _qos(durability: QosDurability, depth: int) -> Qos:
    forever = QosTime(sec=9223372036, nsec=854775807)
    return Qos(
        history=QosHistory.KEEP_LAST,
        depth=depth,
        reliability=QosReliability.RELIABLE,
        durability=durability,
        deadline=forever,
        lifespan=forever,
        liveliness=QosLiveliness.AUTOMATIC,
        liveliness_lease_duration=forever,
        avoid_ros_namespace_conventions=False,
    )


def bag_typestore() -> Typestore:
    """Return definitions of the common interfaces and of the installed `vision_msgs`.

    Raises:
        FileNotFoundError: If the .msg files of `vision_msgs` are not found.
    """
    store = get_typestore(Stores.ROS2_HUMBLE)
    types = {}
    for path in sorted(_vision_msgs_folder().glob("*.msg")):
        types.update(get_types_from_msg(path.read_text(), f"vision_msgs/msg/{path.stem}"))
    store.register(types)
    return store


def _vision_msgs_folder() -> Path:
    import vision_msgs

    package = Path(vision_msgs.__file__).resolve().parent
    source = Path(__file__).resolve().parents[2] / "interfaces" / "vision_msgs" / "msg"
    installed = [parent / "share" / "vision_msgs" / "msg" for parent in package.parents]
    for folder in (*installed, source):
        if (folder / "Detection3DArray.msg").is_file():
            return folder
    raise FileNotFoundError(
        f"expected share/vision_msgs/msg/*.msg in a prefix above {package}, found none; "
        "install vision_msgs again"
    )


class BagWriter:
    """Writes messages to one new bag; a topic is declared by its first message, or before."""

    def __init__(
        self, folder: Path, typestore: Typestore, facts: Mapping[str, str] | None = None
    ) -> None:
        """Open the bag; `facts` go into its metadata.

        Raises:
            FileExistsError: If the folder exists.
        """
        if folder.exists():
            raise FileExistsError(f"bag {folder} exists already; remove it or choose another --out")
        folder.parent.mkdir(parents=True, exist_ok=True)
        self._typestore = typestore
        self._writer = Writer(folder, version=METADATA_VERSION, storage_plugin=StoragePlugin.MCAP)
        for key, value in (facts or {}).items():
            self._writer.set_custom_data(key, value)
        self._connections: dict[str, Any] = {}

    def __enter__(self) -> BagWriter:
        """Start writing."""
        self._writer.__enter__()
        return self

    def __exit__(self, *failure: Any) -> None:
        """Finish the bag, or abandon it on an exception."""
        self._writer.__exit__(*failure)

    def write(self, topic: str, stamp_ns: int, message: Any, qos: Qos | None = None) -> None:
        """Append a message at a log time; `qos` counts at a topic's first message."""
        kind = type_name(type(message))
        self.write_bytes(topic, kind, stamp_ns, serialize_message(message), qos)

    def write_bytes(
        self, topic: str, type_name: str, stamp_ns: int, data: bytes, qos: Qos | None = None
    ) -> None:
        """Append a serialised message, as `write`."""
        self.declare(topic, type_name, qos)
        self._writer.write(self._connections[topic], stamp_ns, data)

    def declare(self, topic: str, type_name: str, qos: Qos | None = None) -> None:
        """Let a topic be in the bag, whether or not a message of it comes."""
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(
                topic,
                type_name,
                typestore=self._typestore,
                offered_qos_profiles=[qos or stream_qos()],
            )


def type_name(message_class: type) -> str:
    """Return the interface name of a message class, such as `sensor_msgs/msg/Image`."""
    package = message_class.__module__.split(".", maxsplit=1)[0]
    return f"{package}/msg/{message_class.__name__}"


@dataclass(frozen=True)
class BagTopic:
    """A topic in a bag."""

    name: str
    type_name: str
    latched: bool


@dataclass(frozen=True)
class BagMessage:
    """One message: CDR bytes at a log time."""

    topic: str
    stamp_ns: int
    data: bytes


class Bag:
    """One bag on disk."""

    def __init__(self, folder: Path) -> None:
        """Read the metadata.

        Raises:
            FileNotFoundError: If the folder is no bag.
        """
        if not (folder / "metadata.yaml").is_file():
            raise FileNotFoundError(f"{folder}: expected a rosbag2 folder with a metadata.yaml")
        self.folder = folder
        with Reader(folder) as reader:
            self.topics = {c.topic: _topic_of(c) for c in reader.connections}

    def messages(self, topics: Sequence[str] | None = None) -> Iterator[BagMessage]:
        """Yield the messages of some topics (default: all) by log time."""
        with Reader(self.folder) as reader:
            wanted = [c for c in reader.connections if topics is None or c.topic in topics]
            if not wanted:
                return
            for connection, stamp_ns, data in reader.messages(connections=wanted):
                yield BagMessage(connection.topic, stamp_ns, bytes(data))

    def read(self, topic: str, message_class: Any) -> Iterator[Any]:
        """Yield the deserialised messages of one topic."""
        for message in self.messages([topic]):
            yield deserialize_message(message.data, message_class)


def _topic_of(connection: Any) -> BagTopic:
    profiles = connection.ext.offered_qos_profiles
    latched = any(p.durability == QosDurability.TRANSIENT_LOCAL for p in profiles)
    return BagTopic(connection.topic, connection.msgtype, latched)


def find_bags(path: Path) -> list[Bag]:
    """Return the bag at a path, or all bags in that folder, oldest first.

    Raises:
        FileNotFoundError: If there is none.
    """
    if (path / "metadata.yaml").is_file():
        return [Bag(path)]
    bags = [Bag(child.parent) for child in path.glob("*/metadata.yaml")]
    if not bags:
        raise FileNotFoundError(f"{path}: expected a rosbag2 folder or a folder of them, got none")
    return sorted(bags, key=_start_ns)


def _start_ns(bag: Bag) -> int:
    with Reader(bag.folder) as reader:
        return int(reader.start_time)
