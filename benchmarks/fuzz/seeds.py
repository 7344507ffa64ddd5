# SPDX-License-Identifier: Apache-2.0
"""Good messages to start from: small, so that a million of them are decoded in minutes."""

from __future__ import annotations

import array
import functools
from random import Random
from typing import Any

import cv2
import numpy as np
import simplejpeg
from geometry_msgs.msg import TransformStamped
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from tf2_msgs.msg import TFMessage

from simdistill_ros.conversions import header_to_msg, info_to_msg
from simdistill_ros.core.camera import CameraCalibration

HEIGHT, WIDTH = 12, 16
START_NS = 1_600_000_000_000_000_000
K = np.array([[14.0, 0.0, 7.5], [0.0, 14.0, 5.5], [0.0, 0.0, 1.0]])
CAMERAS = ("cam_front", "cam_back")
# Encoding -> bytes a pixel; an independent list, to be compared with what is accepted.
ENCODINGS = {
    "rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1,
    "bayer_rggb8": 1, "bayer_bggr8": 1, "bayer_gbrg8": 1, "bayer_grbg8": 1,
}  # fmt: skip


@functools.cache
def picture_files() -> tuple[bytes, ...]:
    """Return JPEGs and PNGs of different makes."""
    small = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    pixels = cv2.resize(small, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    progressive = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    grey = np.ascontiguousarray(pixels[..., :1])
    return (
        simplejpeg.encode_jpeg(pixels, quality=90),
        simplejpeg.encode_jpeg(pixels, quality=30, colorsubsampling="420"),
        simplejpeg.encode_jpeg(grey, colorspace="GRAY"),
        progressive,
        cv2.imencode(".png", pixels)[1].tobytes(),
        cv2.imencode(".png", grey)[1].tobytes(),
    )


def raw_image(draw: Random, camera: str = "cam_front", stamp_ns: int = START_NS) -> Image:
    """Return a good raw image of any encoding, with or without padding."""
    encoding = draw.choice(list(ENCODINGS))
    step = WIDTH * ENCODINGS[encoding] + draw.choice((0, 0, 3))
    message = Image(header=header_to_msg(f"{camera}_optical_frame", stamp_ns))
    message.encoding, message.step = encoding, step
    message.height, message.width = HEIGHT, WIDTH
    message.data = array.array("B", bytes(step * HEIGHT))
    return message


def compressed_image(
    data: bytes, camera: str = "cam_front", stamp_ns: int = START_NS
) -> CompressedImage:
    """Return a message with these bytes."""
    header = header_to_msg(f"{camera}_optical_frame", stamp_ns)
    return CompressedImage(header=header, format="jpeg", data=array.array("B", data))


def camera_info(camera: str = "cam_front") -> CameraInfo:
    """Return a good CameraInfo."""
    return info_to_msg(CameraCalibration(WIDTH, HEIGHT, K), f"{camera}_optical_frame", START_NS)


def transform(parent: str, child: str, stamp_ns: int = START_NS) -> TransformStamped:
    """Return a good transform: half a turn about an axis, one metre up."""
    message = TransformStamped(header=header_to_msg(parent, stamp_ns), child_frame_id=child)
    rotation: Any = message.transform.rotation
    rotation.w, rotation.x, rotation.y, rotation.z = 0.5, -0.5, 0.5, -0.5
    message.transform.translation.z = 1.0
    return message


def mounts() -> TFMessage:
    """Return the transforms of all cameras."""
    return TFMessage(transforms=[transform("base_link", f"{c}_optical_frame") for c in CAMERAS])
