# SPDX-License-Identifier: Apache-2.0
"""A stream of serialised messages as a bag holds it: six cameras at 12 Hz and their transforms."""

from __future__ import annotations

import array
import functools

import numpy as np
import simplejpeg
from geometry_msgs.msg import TransformStamped
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from tf2_msgs.msg import TFMessage

from simdistill_ros.conversions import header_to_msg, image_to_msg, info_to_msg
from simdistill_ros.core.camera import CameraCalibration
from simdistill_ros.replay.bag_storage import BagMessage
from simdistill_ros.replay.faults.cdr_stamp import stamp_ns_of_cdr

MS = 1_000_000
START_NS = 1_600_000_000_000_000_000
CAMERAS = (
    "cam_front",
    "cam_front_right",
    "cam_front_left",
    "cam_back_right",
    "cam_back_left",
    "cam_back",
)
K = np.array([[40.0, 0.0, 31.5], [0.0, 40.0, 17.5], [0.0, 0.0, 1.0]])


@functools.cache
def picture():
    grid = np.indices((36, 64)).sum(axis=0) // 6 % 2 * 200 + 30
    return np.repeat(grid.astype(np.uint8)[..., None], 3, axis=2)


@functools.cache
def _jpeg():
    return array.array("B", simplejpeg.encode_jpeg(picture(), quality=95))


def _message(topic, stamp_ns, message):
    return BagMessage(topic, stamp_ns, bytes(serialize_message(message)))


def stream(cycles, raw=False):
    messages = [_message("/tf_static", START_NS, _mounts())]
    for cycle in range(cycles):
        for number, camera in enumerate(CAMERAS):
            stamp_ns = START_NS + cycle * 83 * MS + number * 8 * MS
            header = header_to_msg(f"{camera}_optical_frame", stamp_ns)
            info = info_to_msg(CameraCalibration(64, 36, K), header.frame_id, stamp_ns)
            messages.append(_message(f"/{camera}/camera_info", stamp_ns, info))
            if raw:
                image = image_to_msg(picture(), header.frame_id, stamp_ns)
                messages.append(_message(f"/{camera}/image_rect", stamp_ns, image))
                continue
            image = CompressedImage(header=header, format="jpeg", data=_jpeg())
            messages.append(_message(f"/{camera}/image_rect_compressed", stamp_ns, image))
    return messages


def _mounts():
    transforms = []
    for camera in CAMERAS:
        transform = TransformStamped(header=header_to_msg("base_link", START_NS))
        transform.child_frame_id = f"{camera}_optical_frame"
        transform.transform.translation.z = 1.5
        transform.transform.rotation.w = 1.0
        transforms.append(transform)
    return TFMessage(transforms=transforms)


def images_of(messages, camera=""):
    return [m for m in messages if f"/{camera}" in m.topic and "/image_rect" in m.topic and (
        not camera or m.topic.split("/")[1] == camera)]  # fmt: skip


def stamps_of(messages, camera):
    return [stamp_ns_of_cdr(m.data) for m in images_of(messages, camera)]


def read(message):
    kinds = {"image_rect": Image, "camera_info": CameraInfo, "tf_static": TFMessage}
    kind = kinds.get(message.topic.split("/")[-1], CompressedImage)
    return deserialize_message(message.data, kind)
