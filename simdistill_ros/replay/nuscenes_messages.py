# SPDX-License-Identifier: Apache-2.0
"""nuScenes records as the ROS messages a vehicle would have published."""

from __future__ import annotations

import array
from collections.abc import Sequence

import numpy as np
from geometry_msgs.msg import Point, Quaternion, TransformStamped, Vector3
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2, PointField
from std_msgs.msg import ColorRGBA, String
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import Marker, MarkerArray

from simdistill_ros.conversions import (
    detections_to_msg,
    header_to_msg,
    image_to_msg,
    info_to_msg,
)
from simdistill_ros.core.boxes import BOX_EDGES, Detections, box_corners
from simdistill_ros.core.frames import (
    EGO_FRAME,
    GLOBAL_FRAME,
    FloatArray,
    quaternion_from_rotation,
)
from simdistill_ros.core.images import decode_jpeg_png
from simdistill_ros.replay.nuscenes_reader import SensorRecord

__all__ = [
    "camera_info_to_msg",
    "compressed_image_to_msg",
    "detections_to_msg",
    "ground_truth_markers_to_msg",
    "lidar_to_msg",
    "mountings_to_msg",
    "pose_to_msg",
    "raw_image_to_msg",
    "text_to_msg",
]

# As stored on disk: float32 x, y, z, intensity, ring.
_FILE_COLUMNS = 5
# As in the message: field -> type and offset, bytes; points are padded to 20 bytes.
_POINT_FIELDS = {
    "x": ("<f4", 0),
    "y": ("<f4", 4),
    "z": ("<f4", 8),
    "intensity": ("<f4", 12),
    "ring": ("<u2", 16),
}
_POINT_BYTES = 20


def sensor_frame(record: SensorRecord) -> str:
    """Return the TF frame of a sensor; a camera's is optical."""
    return f"{record.name}_optical_frame" if record.calibration else record.name


def compressed_image_to_msg(record: SensorRecord) -> CompressedImage:
    """Return the camera's file, byte for byte."""
    data = array.array("B")
    data.frombytes(record.path.read_bytes())
    kind = "png" if record.path.suffix == ".png" else "jpeg"
    header = header_to_msg(sensor_frame(record), record.stamp_ns)
    return CompressedImage(header=header, format=kind, data=data)


def raw_image_to_msg(record: SensorRecord) -> Image:
    """Return the camera's decoded pixels, rgb8."""
    pixels = decode_jpeg_png(record.path.read_bytes())
    return image_to_msg(pixels, sensor_frame(record), record.stamp_ns)


def camera_info_to_msg(record: SensorRecord) -> CameraInfo:
    """Return the camera's intrinsics; nuScenes images are rectified.

    Raises:
        ValueError: If the record is not a camera's.
    """
    if record.calibration is None:
        raise ValueError(f"expected a camera, got {record.channel}")
    return info_to_msg(record.calibration, sensor_frame(record), record.stamp_ns)


def lidar_to_msg(record: SensorRecord) -> PointCloud2:
    """Return a sweep in its own frame: x, y, z, intensity (float32), ring (uint16)."""
    rows = np.fromfile(record.path, dtype="<f4").reshape(-1, _FILE_COLUMNS)
    points = np.zeros(len(rows), dtype=_point_dtype())
    for column, name in enumerate(_POINT_FIELDS):
        points[name] = rows[:, column]
    data = array.array("B")
    data.frombytes(points.tobytes())
    return PointCloud2(
        header=header_to_msg(sensor_frame(record), record.stamp_ns),
        height=1,
        width=len(points),
        fields=[_point_field(name) for name in _POINT_FIELDS],
        point_step=_POINT_BYTES,
        row_step=_POINT_BYTES * len(points),
        data=data,
        is_dense=True,
    )


def _point_dtype() -> np.dtype[np.void]:
    formats, offsets = zip(*_POINT_FIELDS.values(), strict=True)
    names = list(_POINT_FIELDS)
    return np.dtype(
        {"names": names, "formats": formats, "offsets": offsets, "itemsize": _POINT_BYTES}
    )


def _point_field(name: str) -> PointField:
    kind, offset = _POINT_FIELDS[name]
    datatype = PointField.FLOAT32 if kind == "<f4" else PointField.UINT16
    return PointField(name=name, offset=offset, datatype=datatype, count=1)


def mountings_to_msg(records: Sequence[SensorRecord], stamp_ns: int) -> TFMessage:
    """Return base_link -> sensor of each record."""
    return TFMessage(
        transforms=[
            _transform(EGO_FRAME, sensor_frame(record), record.ego_from_sensor, stamp_ns)
            for record in records
        ]
    )


def pose_to_msg(global_from_ego: FloatArray, stamp_ns: int) -> TFMessage:
    """Return map -> base_link at one time."""
    return TFMessage(transforms=[_transform(GLOBAL_FRAME, EGO_FRAME, global_from_ego, stamp_ns)])


def _transform(
    parent: str, child: str, parent_from_child: FloatArray, stamp_ns: int
) -> TransformStamped:
    x, y, z = parent_from_child[:3, 3].tolist()
    qw, qx, qy, qz = quaternion_from_rotation(parent_from_child[:3, :3]).tolist()
    message = TransformStamped(header=header_to_msg(parent, stamp_ns), child_frame_id=child)
    message.transform.translation = Vector3(x=x, y=y, z=z)
    message.transform.rotation = Quaternion(w=qw, x=qx, y=qy, z=qz)
    return message


def ground_truth_markers_to_msg(boxes: Detections) -> MarkerArray:
    """Return boxes as one marker of white edges, so that the next keyframe's replace them."""
    marker = Marker(header=header_to_msg(boxes.frame, boxes.stamp_ns), ns="ground_truth")
    marker.type = Marker.LINE_LIST
    marker.action = Marker.ADD if len(boxes) else Marker.DELETE
    marker.pose.orientation.w = 1.0
    marker.scale.x = 0.06
    marker.color = ColorRGBA(r=1.0, g=1.0, b=1.0, a=0.9)
    ends = box_corners(boxes)[:, np.array(BOX_EDGES).ravel()].reshape(-1, 3)
    marker.points = [Point(x=x, y=y, z=z) for x, y, z in ends.tolist()]
    return MarkerArray(markers=[marker])


def text_to_msg(text: str) -> String:
    """Return a string message."""
    return String(data=text)
