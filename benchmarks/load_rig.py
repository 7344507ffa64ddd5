# SPDX-License-Identifier: Apache-2.0
"""A rig of six 1600x900 cameras at 12 Hz, in a process of its own.

`python -m benchmarks.load_rig raw 600` publishes 600 cycles once every image topic is heard, says
`go` when it begins, and ends with a line of JSON: how many it sent and how late it was.

It shares the cores with what it measures and would otherwise measure itself: messages are
serialised once, and of each only the stamp is written before its bytes are published.
"""

from __future__ import annotations

import array
import json
import struct
import sys
import time
from typing import Any

import cv2
import numpy as np
import rclpy
from geometry_msgs.msg import TransformStamped
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from tf2_msgs.msg import TFMessage

from benchmarks.bench_detector import HEIGHT, WIDTH, K, jpeg_image
from simdistill_ros.conversions import header_to_msg, info_to_msg
from simdistill_ros.core.camera import CameraCalibration
from simdistill_ros.core.images import decode_jpeg_png

# Offsets of nuScenes' cameras within a cycle, milliseconds.
OFFSETS_MS = {
    "cam_front_left": 0,
    "cam_front": 8,
    "cam_front_right": 16,
    "cam_back_right": 23,
    "cam_back": 33,
    "cam_back_left": 43,
}
PERIOD_MS = 1000 / 12
CONNECT_S = 120.0
STAMP_AT = 4  # in a serialised message that begins with a header, little endian


def image_topic(camera: str, kind: str) -> str:
    """Return the node's default topic."""
    return f"{camera}/image_rect" + ("" if kind == "raw" else "_compressed")


def image_message(kind: str, seed: int) -> Any:
    """Return an image without header; its bytes are a plain array, which rclpy takes as it is.

    Args:
        kind: `raw`, or the kind of JPEG.
        seed: What it shows.
    """
    if kind != "raw":
        return CompressedImage(format="jpeg", data=array.array("B", jpeg_image(seed, kind)))
    pixels = cv2.cvtColor(decode_jpeg_png(jpeg_image(seed)), cv2.COLOR_RGB2BGR)
    return Image(
        height=HEIGHT,
        width=WIDTH,
        encoding="bgr8",
        step=3 * WIDTH,
        data=array.array("B", np.ascontiguousarray(pixels).tobytes()),
    )


class Rig:
    """The publishers of six cameras and of their transforms."""

    def __init__(self, node: Any, kind: str) -> None:
        """Create publishers and messages."""
        message_kind = Image if kind == "raw" else CompressedImage
        self._infos = {
            camera: node.create_publisher(
                CameraInfo, f"{camera}/camera_info", qos_profile_sensor_data
            )
            for camera in OFFSETS_MS
        }
        self._images = {
            camera: node.create_publisher(
                message_kind, image_topic(camera, kind), qos_profile_sensor_data
            )
            for camera in OFFSETS_MS
        }
        info = info_to_msg(CameraCalibration(WIDTH, HEIGHT, K), "", 0)
        self._messages = {
            camera: (_serialized(info, camera), _serialized(image_message(kind, seed), camera))
            for seed, camera in enumerate(OFFSETS_MS)
        }
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._static = node.create_publisher(TFMessage, "/tf_static", latched)
        self._static.publish(TFMessage(transforms=[_identity(camera) for camera in OFFSETS_MS]))

    def wait_for_listeners(self) -> None:
        """Wait until every image topic has one.

        Raises:
            RuntimeError: If that takes too long.
        """
        deadline_s = time.monotonic() + CONNECT_S
        while not all(p.get_subscription_count() for p in self._images.values()):
            if time.monotonic() > deadline_s:
                raise RuntimeError(f"nobody subscribed within {CONNECT_S:.0f} s")
            time.sleep(0.05)
        time.sleep(0.5)

    def publish(self, camera: str, stamp_ns: int) -> None:
        """Publish one image and its CameraInfo."""
        info, image = self._messages[camera]
        for publisher, message in ((self._infos[camera], info), (self._images[camera], image)):
            struct.pack_into("<iI", message, STAMP_AT, *divmod(stamp_ns, 10**9))
            publisher.publish(bytes(message))


def _serialized(message: Any, frame: str) -> bytearray:
    message.header = header_to_msg(frame, 0)
    return bytearray(serialize_message(message))


def _identity(camera: str) -> TransformStamped:
    message = TransformStamped(header=header_to_msg("base_link", 1), child_frame_id=camera)
    message.transform.rotation.w = 1.0
    return message


def main() -> None:
    """Publish."""
    kind, cycles = sys.argv[1], int(sys.argv[2])
    rclpy.init()
    node = rclpy.create_node("rig")
    rig = Rig(node, kind)
    rig.wait_for_listeners()
    print("go", flush=True)
    start_s, worst_s = time.monotonic() + 0.1, 0.0
    start_ns = time.time_ns() + 100_000_000
    for cycle in range(cycles):
        for camera, offset_ms in OFFSETS_MS.items():
            after_ms = cycle * PERIOD_MS + offset_ms
            due_s = start_s + after_ms / 1000
            time.sleep(max(0.0, due_s - time.monotonic()))
            worst_s = max(worst_s, time.monotonic() - due_s)
            rig.publish(camera, start_ns + round(after_ms * 1e6))
    took_s = time.monotonic() - start_s
    time.sleep(1.0)
    report = {
        "images": cycles * len(OFFSETS_MS),
        "rate_hz": round(cycles / took_s, 3),
        "latest_ms": round(worst_s * 1e3, 1),
    }
    print(json.dumps(report), flush=True)
    node.destroy_node()
    rclpy.shutdown()


if __name__ == "__main__":
    main()
