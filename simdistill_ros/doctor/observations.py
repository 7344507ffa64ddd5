# SPDX-License-Identifier: Apache-2.0
"""What was seen of a rig in a few seconds: plain values, no ROS, the one input of every check."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from simdistill_ros.core.camera import CameraCalibration
from simdistill_ros.core.frames import FloatArray
from simdistill_ros.core.snapshot import ImageArray

NANOSECONDS = 1_000_000_000
COMPRESSED_TYPE = "sensor_msgs/msg/CompressedImage"
RAW_TYPE = "sensor_msgs/msg/Image"
INFO_TYPE = "sensor_msgs/msg/CameraInfo"
TF_TYPE = "tf2_msgs/msg/TFMessage"
CLOCK_TYPE = "rosgraph_msgs/msg/Clock"


@dataclass(frozen=True)
class CameraPlan:
    """What the node is told about one camera."""

    name: str
    image_topic: str
    info_topic: str


@dataclass(frozen=True)
class Plan:
    """What the node is told: the parameters that the checks compare the world with.

    Attributes:
        cameras: The cameras it will listen to.
        problems: What is wrong with the parameters themselves, as (kind's code, text).
    """

    cameras: tuple[CameraPlan, ...]
    compressed: bool = True
    rectified: bool = False
    ignore_r: bool = False
    reliability: str = "best_effort"
    base_frame: str = "base_link"
    fixed_frame: str = ""
    tolerance_ns: int = 60_000_000
    timeout_ns: int = 500_000_000
    queue_size: int = 8
    anchor: str = ""
    tf_timeout_ns: int = 200_000_000
    device: str = "cpu"
    use_sim_time: bool = False
    model: str = ""
    problems: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Endpoint:
    """A publisher of a topic and what it offers; unknown policies are empty strings."""

    node: str
    type_name: str
    reliability: str = ""
    durability: str = ""


@dataclass(frozen=True)
class Stream:
    """The messages of one topic, in the order of arrival.

    Attributes:
        topic: Its name.
        stamps_ns: `header.stamp` of each message.
        arrivals_ns: When each arrived: the host's clock, or the bag's log time.
        sizes_bytes: Size of each message's payload.
        frame_ids: Different `header.frame_id`s, first seen first.
    """

    topic: str
    stamps_ns: tuple[int, ...] = ()
    arrivals_ns: tuple[int, ...] = ()
    sizes_bytes: tuple[int, ...] = ()
    frame_ids: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Return the number of messages."""
        return len(self.arrivals_ns)


@dataclass(frozen=True)
class Picture:
    """One decoded image, made smaller.

    Attributes:
        stamp_ns: Its stamp.
        pixels: (h, w, 3) uint8 RGB, at most `recorder.PICTURE_WIDTH_PX` wide.
        full_hw: Height and width of the image that arrived.
    """

    stamp_ns: int
    pixels: ImageArray
    full_hw: tuple[int, int]


@dataclass(frozen=True)
class InfoSeen:
    """The fields of a CameraInfo that the checks read."""

    width: int
    height: int
    distortion_model: str
    d: tuple[float, ...]
    k: tuple[float, ...]
    r: tuple[float, ...]
    p: tuple[float, ...]
    frame_id: str


@dataclass(frozen=True)
class Failure:
    """Something that could not be used: short stable cause, sentence, how often."""

    cause: str
    text: str
    count: int = 1


@dataclass(frozen=True)
class CameraSeen:
    """One camera.

    Attributes:
        plan: What it was meant to be.
        images: Its image topic.
        infos: Its CameraInfo topic.
        image_digests: A checksum of each image's bytes, in the order of arrival.
        sizes_hw: Different image sizes, first seen first.
        encodings: Different encodings or compression formats.
        image_failures: Images that the node could not decode, by cause.
        pictures: A few decoded images, spread over the time.
        infos_seen: Different CameraInfos, first seen first, at most a few.
        calibration: What the node makes of the newest CameraInfo, at the newest image's size.
        calibration_failure: Why there is no calibration though there is a CameraInfo.
        frame: The optical frame that the node looks up.
        ego_from_cam: (4, 4) as the node finds it at the newest image that has one, else None.
        transform_failures: Look-ups that failed as they would in the node, by cause.
        transform_lookups: Number of look-ups tried.
    """

    plan: CameraPlan
    images: Stream
    infos: Stream
    image_digests: tuple[int, ...] = ()
    sizes_hw: tuple[tuple[int, int], ...] = ()
    encodings: tuple[str, ...] = ()
    image_failures: tuple[Failure, ...] = ()
    pictures: tuple[Picture, ...] = ()
    infos_seen: tuple[InfoSeen, ...] = ()
    calibration: CameraCalibration | None = None
    calibration_failure: Failure | None = None
    frame: str = ""
    ego_from_cam: FloatArray | None = None
    transform_failures: tuple[Failure, ...] = ()
    transform_lookups: int = 0

    @property
    def name(self) -> str:
        """Its name in the model card."""
        return self.plan.name


@dataclass(frozen=True, eq=False)
class Edge:
    """One parent → child relation of the transform tree.

    Attributes:
        parent: Parent frame.
        child: Child frame.
        static_count: Messages on `/tf_static`.
        dynamic_count: Messages on `/tf`.
        first_ns: Stamp of the oldest dynamic sample, or None.
        newest_ns: Stamp of the newest dynamic sample, or None.
        moves: Whether the samples differ.
        parent_from_child: (4, 4), the newest.
        lag_ns: Median time from stamp to arrival of the dynamic samples.
    """

    parent: str
    child: str
    static_count: int
    dynamic_count: int
    first_ns: int | None
    newest_ns: int | None
    moves: bool
    parent_from_child: FloatArray
    lag_ns: int = 0

    @property
    def period_ns(self) -> int | None:
        """Mean time between two dynamic samples; None with fewer than two."""
        if self.first_ns is None or self.newest_ns is None or self.dynamic_count < 2:
            return None
        return (self.newest_ns - self.first_ns) // (self.dynamic_count - 1)


@dataclass(frozen=True)
class Transforms:
    """What `/tf` and `/tf_static` said."""

    edges: tuple[Edge, ...] = ()
    failures: tuple[Failure, ...] = ()

    @property
    def frames(self) -> frozenset[str]:
        """All frames."""
        return frozenset(f for edge in self.edges for f in (edge.parent, edge.child))


@dataclass(frozen=True)
class Machine:
    """The host while it was looked at; None where it could not be told.

    Attributes:
        cores: Usable processors.
        cpu_busy: Share of them that was busy, 0 to 1.
        memory_free_bytes: Memory that programs can still get.
        gpu_name: Name of the CUDA device.
        gpu_free_bytes: Its free memory.
        environment: Environment variables that matter, as this process sees them.
        rmw: The middleware's name.
    """

    cores: int
    cpu_busy: float | None = None
    memory_free_bytes: int | None = None
    gpu_name: str | None = None
    gpu_free_bytes: int | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    rmw: str = ""


@dataclass(frozen=True)
class Rig:
    """All that was seen.

    Attributes:
        plan: What the node is told.
        is_live: A running graph; else a bag.
        duration_ns: How long was looked.
        end_ns: The last arrival, or when looking ended.
        cameras: One for each planned camera.
        transforms: The transform tree.
        topics: All topics that exist, with their type's name.
        publishers: Publishers of the topics that matter.
        clock_count: Messages on `/clock`.
        clock_offset_ns: `/clock` minus the host's clock at the last of them, or None.
        detector_states: Lifecycle state of each detector node found, live only.
        machine: The host; None for a bag, which may come from another one.
    """

    plan: Plan
    is_live: bool
    duration_ns: int
    end_ns: int
    cameras: tuple[CameraSeen, ...]
    transforms: Transforms = Transforms()
    topics: Mapping[str, str] = field(default_factory=dict)
    publishers: Mapping[str, tuple[Endpoint, ...]] = field(default_factory=dict)
    clock_count: int = 0
    clock_offset_ns: int | None = None
    detector_states: Mapping[str, str] = field(default_factory=dict)
    machine: Machine | None = None

    def camera(self, name: str) -> CameraSeen:
        """Return a camera by name."""
        return next(camera for camera in self.cameras if camera.name == name)
