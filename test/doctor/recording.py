# SPDX-License-Identifier: Apache-2.0
"""A healthy recording of a six-camera rig, as messages, and the bag it makes.

Pictures are ray-cast at four moments and used in turn, each encoded a little differently, so that
no two messages are equal. Cameras fire 43 ms apart in all, 10 times a second for two seconds; each
message arrives 30 ms after its stamp.
"""

from __future__ import annotations

import array
import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
from geometry_msgs.msg import Quaternion, TransformStamped, Vector3
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CompressedImage
from tf2_msgs.msg import TFMessage

from simdistill_ros.conversions import header_to_msg, image_to_msg, info_to_msg
from simdistill_ros.core.frames import quaternion_from_rotation, rigid
from simdistill_ros.core.snapshot import Snapshot, View
from simdistill_ros.replay.bag_storage import BagWriter, bag_typestore, latched_qos, stream_qos

MS = 1_000_000
START_NS = 1_700_000_000_000_000_000
PERIOD_NS = 100 * MS
CYCLES = 20
DELAY_NS = 30 * MS
OFFSETS_NS = {
    "cam_front_left": 0,
    "cam_front": 8 * MS,
    "cam_front_right": 16 * MS,
    "cam_back_right": 23 * MS,
    "cam_back": 33 * MS,
    "cam_back_left": 43 * MS,
}
CAMERAS = tuple(OFFSETS_NS)


@dataclass(frozen=True)
class Entry:
    """One message and when it was logged."""

    topic: str
    arrival_ns: int
    message: Any

    @property
    def camera(self) -> str:
        return self.topic.split("/")[1]

    @property
    def is_image(self) -> bool:
        return "image" in self.topic

    @property
    def is_info(self) -> bool:
        return self.topic.endswith("camera_info")


Recording = list[Entry]
Fault = Callable[[Recording], Recording]


def image_topic(camera: str) -> str:
    return f"/{camera}/image_rect_compressed"


def frame_of(camera: str) -> str:
    return f"{camera}_optical_frame"


def healthy(snapshots: list[Snapshot]) -> Recording:
    """Return the recording of a rig that has nothing wrong."""
    entries = [mountings(snapshots[0])]
    entries += [pose(START_NS + i * 50 * MS, i) for i in range(-2, CYCLES * 2 + 6)]
    for cycle in range(CYCLES):
        for camera in CAMERAS:
            stamp_ns = START_NS + cycle * PERIOD_NS + OFFSETS_NS[camera]
            view = snapshots[cycle // 5 % len(snapshots)].view(camera)
            info = info_to_msg(view.calibration, frame_of(camera), stamp_ns)
            entries.append(Entry(f"/{camera}/camera_info", stamp_ns + DELAY_NS, info))
            message = compressed(view, cycle, stamp_ns)
            entries.append(Entry(image_topic(camera), stamp_ns + DELAY_NS, message))
    return entries


def compressed(view: View, cycle: int, stamp_ns: int) -> CompressedImage:
    data = simplejpeg.encode_jpeg(np.ascontiguousarray(view.image), quality=70 + cycle)
    return jpeg_message(data, frame_of(view.camera), stamp_ns)


def jpeg_message(data: bytes, frame: str, stamp_ns: int) -> CompressedImage:
    header = header_to_msg(frame, stamp_ns)
    return CompressedImage(header=header, format="jpeg", data=array.array("B", data))


def transform(parent: str, child: str, parent_from_child: Any, stamp_ns: int) -> TransformStamped:
    message = TransformStamped(header=header_to_msg(parent, stamp_ns), child_frame_id=child)
    x, y, z = parent_from_child[:3, 3].tolist()
    qw, qx, qy, qz = quaternion_from_rotation(parent_from_child[:3, :3]).tolist()
    message.transform.translation = Vector3(x=x, y=y, z=z)
    message.transform.rotation = Quaternion(w=qw, x=qx, y=qy, z=qz)
    return message


def mountings(snapshot: Snapshot) -> Entry:
    transforms = [
        transform("base_link", frame_of(v.camera), v.ego_from_cam, START_NS) for v in snapshot.views
    ]
    return Entry("/tf_static", START_NS - 100 * MS, TFMessage(transforms=transforms))


def pose(stamp_ns: int, step: int) -> Entry:
    moved = rigid(np.eye(3), [0.1 * step, 0.0, 0.0])
    message = TFMessage(transforms=[transform("odom", "base_link", moved, stamp_ns)])
    return Entry("/tf", stamp_ns + 5 * MS, message)


def raw(entry: Entry) -> Entry:
    """Return a compressed image entry as a raw one on `image_rect`."""
    pixels = simplejpeg.decode_jpeg(bytes(entry.message.data))
    header = entry.message.header
    stamp_ns = header.stamp.sec * 1_000_000_000 + header.stamp.nanosec
    topic = entry.topic.replace("image_rect_compressed", "image_rect")
    return Entry(topic, entry.arrival_ns, image_to_msg(pixels, header.frame_id, stamp_ns))


# -- building blocks of faults -----------------------------------------------------------------


def edit(which: Callable[[Entry], bool], change: Callable[[Any], Any]) -> Fault:
    """Return a fault that changes copies of some messages; None drops one."""

    def fault(recording: Recording) -> Recording:
        changed = []
        for entry in recording:
            if which(entry):
                message = change(copied(entry.message))
                if message is None:
                    continue
                entry = replace(entry, message=message)
            changed.append(entry)
        return changed

    return fault


def copied(message: Any) -> Any:
    return deserialize_message(serialize_message(message), type(message))


def images_of(*cameras: str) -> Callable[[Entry], bool]:
    return lambda entry: entry.is_image and entry.camera in cameras


def infos_of(*cameras: str) -> Callable[[Entry], bool]:
    return lambda entry: entry.is_info and entry.camera in cameras


def edit_mounting(camera: str, change: Callable[[np.ndarray], np.ndarray]) -> Fault:
    """Return a fault that changes base_link <- camera, a (4, 4)."""

    def change_all(message: TFMessage) -> TFMessage:
        for index, one in enumerate(message.transforms):
            if one.child_frame_id == frame_of(camera):
                matrix = change(matrix_of(one))
                stamp_ns = START_NS
                message.transforms[index] = transform(
                    one.header.frame_id, one.child_frame_id, matrix, stamp_ns
                )
        return message

    return edit(lambda entry: entry.topic == "/tf_static", change_all)


def matrix_of(message: TransformStamped) -> np.ndarray:
    from simdistill_ros.conversions import transform_from_msg

    return transform_from_msg(message)[3]


def every(faults: Iterable[Fault]) -> Fault:
    """Return the faults one after the other."""
    faults = list(faults)

    def fault(recording: Recording) -> Recording:
        for one in faults:
            recording = one(recording)
        return recording

    return fault


@functools.cache
def _typestore() -> Any:
    return bag_typestore()


def write_bag(recording: Recording, folder: Path, qos: dict[str, Any] | None = None) -> Path:
    with BagWriter(folder, _typestore()) as bag:
        for entry in sorted(recording, key=lambda entry: entry.arrival_ns):
            default = latched_qos() if entry.topic == "/tf_static" else stream_qos()
            profile = (qos or {}).get(entry.topic, default)
            bag.write(entry.topic, entry.arrival_ns, entry.message, profile)
    return folder
