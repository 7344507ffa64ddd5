# SPDX-License-Identifier: Apache-2.0
"""A calibration that is no longer that of the cameras."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from geometry_msgs.msg import Quaternion
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CameraInfo
from tf2_msgs.msg import TFMessage

from simdistill_ros.core.frames import (
    FloatArray,
    quaternion_from_rotation,
    rotation_from_quaternion,
)
from simdistill_ros.replay.bag_storage import BagMessage
from simdistill_ros.replay.faults.fault import Fault, elapsed_s, setting


@dataclass(frozen=True)
class CalibrationDrift(Fault):
    """Cameras that were knocked, and whose lenses change: what is published no longer holds.

    The mount in /tf_static is turned about an axis that the seed chooses; the focal length in
    CameraInfo grows from the first message on.
    """

    name = "calibration_drift"

    degrees: float = setting(1.0, "turn of the mount, degrees", 0, 180)
    focal_percent_per_s: float = setting(0.0, "growth of the focal length, % a second", -10, 10)

    def apply(self, messages: Iterator[BagMessage]) -> Iterator[BagMessage]:
        """Change transforms and infos."""
        for time_s, message in elapsed_s(messages):
            if message.topic == "/tf_static":
                yield replace(message, data=self._turned(message))
            elif self.focal_percent_per_s and self.strikes(message, ("camera_info",)):
                factor = 1 + self.focal_percent_per_s / 100 * time_s
                yield replace(message, data=_with_focal_length(message, factor))
            else:
                yield message

    def _turned(self, message: BagMessage) -> bytes:
        transforms = deserialize_message(message.data, TFMessage)
        for transform in transforms.transforms:
            camera = transform.child_frame_id.removesuffix("_optical_frame")
            camera = camera.lstrip("/")
            if camera in self.struck_cameras:
                q = transform.transform.rotation
                rotation = rotation_from_quaternion([q.w, q.x, q.y, q.z]) @ self._turn(camera)
                w, x, y, z = quaternion_from_rotation(rotation).tolist()
                transform.transform.rotation = Quaternion(w=w, x=x, y=y, z=z)
        return bytes(serialize_message(transforms))

    def _turn(self, camera: str) -> FloatArray:
        """Return the (3, 3) turn of a camera's optical frame."""
        axis = np.random.default_rng([self.seed, *camera.encode()]).normal(size=3)
        half = math.radians(self.degrees) / 2
        axis *= math.sin(half) / np.linalg.norm(axis)
        return np.asarray(rotation_from_quaternion([math.cos(half), *axis.tolist()]))


def _with_focal_length(message: BagMessage, factor: float) -> bytes:
    info = deserialize_message(message.data, CameraInfo)
    for matrix, indices in ((info.k, (0, 4)), (info.p, (0, 5))):
        for index in indices:
            matrix[index] *= factor
    return bytes(serialize_message(info))
