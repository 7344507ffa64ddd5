# SPDX-License-Identifier: Apache-2.0
"""Messages to core values and back, in pairs `x_from_msg` / `x_to_msg`.

This is the one place that knows both sides: nanoseconds against `builtin_interfaces/Time`, RGB
arrays against encodings, and the box convention of `core/boxes.py` against `vision_msgs`.
"""

from __future__ import annotations

import array
from typing import Any

import numpy as np
import numpy.typing as npt
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point, Quaternion, Vector3
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2, PointField
from std_msgs.msg import Header
from vision_msgs.msg import Detection3D, Detection3DArray, ObjectHypothesisWithPose

from simdistill_ros.core.boxes import Detections
from simdistill_ros.core.camera import (
    CalibrationError,
    CameraCalibration,
    offset_matrix,
    scale_matrix,
)
from simdistill_ros.core.frames import (
    FloatArray,
    is_rotation,
    rotation_from_quaternion,
    yaw_of_rotation,
)
from simdistill_ros.core.images import (
    KNOWN_ENCODINGS,
    EncodedImage,
    ImageError,
    decode_jpeg_png,
    rgb_from_encoding,
)
from simdistill_ros.core.snapshot import ImageArray
from simdistill_ros.core.transform_tree import rigid_from_quaternion
from simdistill_ros.serialized import ImageMessage, TransformFields

NANOSECONDS = 1_000_000_000
# An image may be a resized copy of what CameraInfo describes, but not a stretched one.
ASPECT_TOLERANCE = 0.01
# More than any distortion model has.
MAX_COEFFICIENTS = 32
VELOCITY_FIELDS = ("x", "y", "z", "vx", "vy", "seen")


def stamp_ns_from_msg(stamp: Time) -> int:
    """Return a message stamp in integer nanoseconds."""
    return int(stamp.sec) * NANOSECONDS + int(stamp.nanosec)


def stamp_to_msg(stamp_ns: int) -> Time:
    """Return integer nanoseconds as a message stamp."""
    return Time(sec=stamp_ns // NANOSECONDS, nanosec=stamp_ns % NANOSECONDS)


def header_to_msg(frame: str, stamp_ns: int) -> Header:
    """Return a header with this frame and stamp."""
    return Header(frame_id=frame, stamp=stamp_to_msg(stamp_ns))


def encoded_from_msg(message: Image | CompressedImage | ImageMessage) -> EncodedImage:
    """Return a message's image undecoded, its bytes shared and not copied.

    Encodings that `core.images` does not know are handed to cv_bridge where it is installed.

    Raises:
        ImageError: If cv_bridge cannot read such an encoding either.
    """
    if isinstance(message, CompressedImage):
        return EncodedImage(memoryview(message.data))
    if isinstance(message, ImageMessage):
        if message.is_compressed or message.encoded.encoding in KNOWN_ENCODINGS:
            return message.encoded
        return _encoded_through_cv_bridge(_raw_to_msg(message.encoded))
    if message.encoding not in KNOWN_ENCODINGS:
        return _encoded_through_cv_bridge(message)
    return EncodedImage(
        data=memoryview(message.data),
        encoding=message.encoding,
        height=message.height,
        width=message.width,
        step=message.step,
        is_bigendian=bool(message.is_bigendian),
    )


def _raw_to_msg(raw: EncodedImage) -> Image:
    """Return a raw image as a message, its bytes copied; cv_bridge reads no stamp."""
    return Image(
        height=raw.height,
        width=raw.width,
        encoding=raw.encoding,
        is_bigendian=int(raw.is_bigendian),
        step=raw.step,
        data=array.array("B", raw.data),
    )


def image_from_msg(message: Image | CompressedImage) -> ImageArray:
    """Return a message's pixels, (H, W, 3) uint8 RGB.

    Raises:
        ImageError: If the pixels cannot be had; its `cause` names why.
    """
    encoded = encoded_from_msg(message)
    if not encoded.encoding:
        return decode_jpeg_png(encoded.data)
    return rgb_from_encoding(**vars(encoded))


def _encoded_through_cv_bridge(message: Image) -> EncodedImage:
    known = ", ".join(KNOWN_ENCODINGS)
    unknown = f"encoding {message.encoding!r} is none of {known}"
    try:
        from cv_bridge import CvBridge, CvBridgeError
    except ImportError:
        raise ImageError("unknown_encoding", unknown) from None
    try:
        pixels = np.asarray(CvBridge().imgmsg_to_cv2(message, desired_encoding="rgb8"))
    except (CvBridgeError, ValueError, TypeError) as failure:
        raise ImageError("unknown_encoding", f"{unknown}; cv_bridge says: {failure}") from failure
    height, width, _ = pixels.shape
    return EncodedImage(pixels.tobytes(), "rgb8", height, width, 3 * width)


def image_to_msg(image: ImageArray, frame: str, stamp_ns: int) -> Image:
    """Return (H, W, 3) uint8 RGB pixels as an rgb8 message without padding."""
    height, width, _ = image.shape
    # A plain array.array: the setter copies anything else element by element.
    data = array.array("B")
    data.frombytes(np.ascontiguousarray(image).tobytes())
    return Image(
        header=header_to_msg(frame, stamp_ns),
        height=height,
        width=width,
        encoding="rgb8",
        step=3 * width,
        data=data,
    )


def jpeg_to_msg(jpeg: bytes, frame: str, stamp_ns: int) -> CompressedImage:
    """Return a JPEG file's bytes as a message."""
    data = array.array("B", jpeg)
    return CompressedImage(header=header_to_msg(frame, stamp_ns), format="jpeg", data=data)


def calibration_from_msg(
    info: CameraInfo, image_hw: tuple[int, int], *, rectified: bool, ignore_r: bool = False
) -> CameraCalibration:
    """Return the intrinsics of an image that came with this CameraInfo.

    K (or P of a rectified image) belongs to the full sensor; ROI, binning and a resized copy of the
    image are worked in, so that the result holds at `image_hw`.

    Args:
        info: The message.
        image_hw: Height and width of the image that arrived, pixels.
        rectified: Whether the image is rectified already: P and R hold, D is void.
        ignore_r: Take R as the identity, for publishers that fill it wrongly.

    Raises:
        CalibrationError: If the numbers cannot be used; its `cause` names why.
    """
    full_from_cam = _intrinsics_of_info(info, rectified=rectified)
    rotation = np.array(info.r, dtype=np.float64).reshape(3, 3)
    if ignore_r:
        rotation = np.eye(3)
    elif not np.isfinite(rotation).all():
        raise CalibrationError("not_finite", f"CameraInfo.r has a NaN: {rotation.tolist()}")
    elif not is_rotation(rotation):
        raise CalibrationError(
            "bad_rotation",
            f"CameraInfo.r is not a rotation: {rotation.tolist()}; publish the identity for a "
            "single camera, or set input.ignore_r",
        )
    distorted = not rectified and any(d != 0.0 for d in info.d)
    return CameraCalibration(
        width_px=image_hw[1],
        height_px=image_hw[0],
        image_from_cam=_image_from_full(info, image_hw) @ full_from_cam,
        distortion_model=info.distortion_model if distorted else "",
        distortion=tuple(float(d) for d in info.d) if distorted else (),
        rectified_from_cam=rotation if rectified else np.eye(3),
    )


def _intrinsics_of_info(info: CameraInfo, *, rectified: bool) -> FloatArray:
    if len(info.d) > MAX_COEFFICIENTS:
        raise CalibrationError(
            "distortion_length",
            f"expected at most {MAX_COEFFICIENTS} in CameraInfo.d, got {len(info.d)}",
        )
    k = np.array(info.k, dtype=np.float64).reshape(3, 3)
    p = np.array(info.p, dtype=np.float64).reshape(3, 4)[:, :3]
    matrix = p if rectified and p[0, 0] != 0 else k
    if not np.isfinite(matrix).all() or not np.isfinite(np.asarray(info.d)).all():
        raise CalibrationError("not_finite", f"CameraInfo has a NaN: K={k.tolist()}")
    if matrix[0, 0] == 0:
        raise CalibrationError("uncalibrated", "CameraInfo.k[0] is 0: the camera is uncalibrated")
    return matrix


def _image_from_full(info: CameraInfo, image_hw: tuple[int, int]) -> FloatArray:
    """Return the (3, 3) map from full-sensor pixels to pixels of the image that arrived."""
    roi = info.roi
    roi_width, roi_height = int(roi.width), int(roi.height)
    if roi_width == 0 or roi_height == 0:
        roi_width, roi_height = int(info.width) - int(roi.x_offset), int(info.height) - roi.y_offset
    if roi_width <= 0 or roi_height <= 0:
        raise CalibrationError(
            "zero_size", f"CameraInfo has size {info.width}x{info.height}; expected the image's"
        )
    expected_width = roi_width / max(int(info.binning_x), 1)
    expected_height = roi_height / max(int(info.binning_y), 1)
    scale_x, scale_y = image_hw[1] / expected_width, image_hw[0] / expected_height
    if abs(scale_x / scale_y - 1.0) > ASPECT_TOLERANCE:
        raise CalibrationError(
            "aspect_ratio",
            f"the image is {image_hw[1]}x{image_hw[0]} but CameraInfo describes "
            f"{expected_width:g}x{expected_height:g}: the aspect ratio differs, so this "
            "calibration is not of this image",
        )
    scaling = scale_matrix(image_hw[1] / roi_width, image_hw[0] / roi_height)
    return scaling @ offset_matrix(roi.x_offset, roi.y_offset)


def info_to_msg(calibration: CameraCalibration, frame: str, stamp_ns: int) -> CameraInfo:
    """Return the CameraInfo of an undistorted or distorted camera at its image's size."""
    k = calibration.image_from_cam
    p = np.hstack([k, np.zeros((3, 1))])
    return CameraInfo(
        header=header_to_msg(frame, stamp_ns),
        width=calibration.width_px,
        height=calibration.height_px,
        distortion_model=calibration.distortion_model or "plumb_bob",
        d=list(calibration.distortion) or [0.0] * 5,
        k=k.ravel().tolist(),
        r=np.eye(3).ravel().tolist(),
        p=p.ravel().tolist(),
    )


def transform_from_msg(message: Any) -> tuple[str, str, int, FloatArray]:
    """Return (parent, child, stamp_ns, parent_from_child) of a TransformStamped.

    Raises:
        ValueError: If the rotation is not a quaternion or a number is not finite.
    """
    t, q = message.transform.translation, message.transform.rotation
    return transform_from_fields(
        TransformFields(
            parent=message.header.frame_id,
            child=message.child_frame_id,
            stamp_ns=stamp_ns_from_msg(message.header.stamp),
            translation_m=(t.x, t.y, t.z),
            rotation_wxyz=(q.w, q.x, q.y, q.z),
        )
    )


def transform_from_fields(fields: TransformFields) -> tuple[str, str, int, FloatArray]:
    """Return (parent, child, stamp_ns, parent_from_child) of what a TransformStamped says.

    Raises:
        ValueError: As `transform_from_msg`.
    """
    parent_from_child = rigid_from_quaternion(fields.rotation_wxyz, fields.translation_m)
    return fields.parent.lstrip("/"), fields.child.lstrip("/"), fields.stamp_ns, parent_from_child


def quaternion_from_yaw(yaw_rad: float) -> Quaternion:
    """Return the rotation by `yaw_rad` about +z."""
    return Quaternion(w=float(np.cos(yaw_rad / 2)), z=float(np.sin(yaw_rad / 2)), x=0.0, y=0.0)


def detections_to_msg(detections: Detections) -> Detection3DArray:
    """Return the boxes as a Detection3DArray, in order, with class names and gravity centres.

    The array and every element carry the detections' own frame and stamp; `size.x` is the length.
    """
    header = header_to_msg(detections.frame, detections.stamp_ns)
    message = Detection3DArray(header=header)
    for index, name in enumerate(detections.names()):
        element = Detection3D(header=header)
        x, y, z = detections.centers_m[index].tolist()
        element.bbox.center.position = Point(x=x, y=y, z=z)
        element.bbox.center.orientation = quaternion_from_yaw(float(detections.yaws_rad[index]))
        length, width, height = detections.sizes_lwh_m[index].tolist()
        element.bbox.size = Vector3(x=length, y=width, z=height)
        result = ObjectHypothesisWithPose()
        result.hypothesis.class_id = name
        result.hypothesis.score = float(detections.scores[index])
        result.pose.pose = element.bbox.center
        element.results = [result]
        message.detections.append(element)
    return message


def detections_from_msg(message: Detection3DArray, class_names: tuple[str, ...]) -> Detections:
    """Return the boxes of a Detection3DArray; velocities are zero (see `velocities_from_msg`).

    Raises:
        ValueError: If an element has no hypothesis or a class that `class_names` lacks.
    """
    boxes = message.detections
    for box in boxes:
        if not box.results:
            raise ValueError("a Detection3D carries no hypothesis, so its class is unknown")
        if box.results[0].hypothesis.class_id not in class_names:
            raise ValueError(f"class {box.results[0].hypothesis.class_id!r} is not in the model")
    centers = [(b.bbox.center.position.x, b.bbox.center.position.y, b.bbox.center.position.z)
               for b in boxes]  # fmt: skip
    return Detections(
        frame=message.header.frame_id,
        stamp_ns=stamp_ns_from_msg(message.header.stamp),
        centers_m=np.array(centers, dtype=np.float64).reshape(-1, 3),
        sizes_lwh_m=np.array(
            [(b.bbox.size.x, b.bbox.size.y, b.bbox.size.z) for b in boxes], dtype=np.float64
        ).reshape(-1, 3),
        yaws_rad=np.array([_yaw_from_msg(b.bbox.center.orientation) for b in boxes], dtype=float),
        velocities_mps=np.zeros((len(boxes), 2)),
        scores=np.array([b.results[0].hypothesis.score for b in boxes], dtype=np.float64),
        labels=np.array(
            [class_names.index(b.results[0].hypothesis.class_id) for b in boxes], dtype=np.int64
        ),
        class_names=class_names,
    )


def _yaw_from_msg(q: Quaternion) -> float:
    return yaw_of_rotation(rotation_from_quaternion([q.w, q.x, q.y, q.z]))


def velocities_to_msg(
    detections: Detections, seen: npt.NDArray[np.bool_] | None = None
) -> PointCloud2:
    """Return the companion of a Detection3DArray: one point a box, in the same order.

    Fields x, y, z are the box's centre in metres and vx, vy its velocity over ground in metres a
    second, in the message's frame; seen is 0 where no image looked at the centre, else 1. All are
    float32.
    """
    flags = np.ones(len(detections)) if seen is None else seen
    columns = [detections.centers_m, detections.velocities_mps, flags[:, None]]
    points = np.hstack(columns).astype("<f4")
    data = array.array("B")
    data.frombytes(points.tobytes())
    return PointCloud2(
        header=header_to_msg(detections.frame, detections.stamp_ns),
        height=1,
        width=len(detections),
        fields=[
            PointField(name=name, offset=4 * i, datatype=PointField.FLOAT32, count=1)
            for i, name in enumerate(VELOCITY_FIELDS)
        ],
        is_bigendian=False,
        point_step=24,
        row_step=24 * len(detections),
        data=data,
        is_dense=True,
    )


def velocities_from_msg(message: PointCloud2) -> FloatArray:
    """Return the (M, 2) velocities of a companion message, metres a second in its frame.

    Raises:
        ValueError: If the cloud is not one that `velocities_to_msg` makes.
    """
    if tuple(f.name for f in message.fields) != VELOCITY_FIELDS or message.point_step != 24:
        names = [f.name for f in message.fields]
        raise ValueError(f"expected fields {list(VELOCITY_FIELDS)}, got {names}")
    points = np.frombuffer(bytes(message.data), dtype="<f4").reshape(-1, 6)
    return points[:, 3:5].astype(np.float64)
