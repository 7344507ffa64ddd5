# SPDX-License-Identifier: Apache-2.0
"""The vehicle's sensors: nuScenes' six cameras and LIDAR_TOP, slightly different per scene."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simdistill_ros.core.frames import rigid
from simdistill_ros.scenes.shapes import FloatArray
from simdistill_ros.scenes.world import Facing

NATIVE_WH_PX = (1600, 900)
LIDAR = "LIDAR_TOP"
CAMERA_PERIOD_US = 500_000 / 6
LIDAR_PERIOD_US = 50_000
KEYFRAME_PERIOD_US = 500_000

# Optical axes (x right, y down, z forward) of a camera that looks along ego x.
_EGO_AXES_FROM_CAM = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


@dataclass(frozen=True)
class _Mount:
    """Position in the ego frame, heading, focal length at native size, lead before the LiDAR."""

    position_m: tuple[float, float, float]
    heading_deg: float
    focal_px: float
    lead_ms: float


_CAMERAS = {
    "CAM_FRONT": _Mount((1.70, 0.0, 1.51), 0.0, 1266.0, 35.0),
    "CAM_FRONT_RIGHT": _Mount((1.56, -0.50, 1.51), -56.0, 1260.0, 28.0),
    "CAM_FRONT_LEFT": _Mount((1.55, 0.50, 1.51), 56.0, 1266.0, 43.0),
    "CAM_BACK": _Mount((0.04, 0.0, 1.57), 180.0, 805.0, 10.0),
    "CAM_BACK_LEFT": _Mount((1.04, 0.48, 1.58), 109.0, 1257.0, 0.5),
    "CAM_BACK_RIGHT": _Mount((1.04, -0.48, 1.56), -110.0, 1255.0, 20.0),
}
CAMERAS = tuple(_CAMERAS)
CHANNELS = (*CAMERAS, LIDAR)


@dataclass(frozen=True)
class Camera:
    """A calibrated camera.

    Attributes:
        channel: nuScenes channel name.
        ego_from_cam: (4, 4) extrinsics, metres.
        image_from_cam: (3, 3) intrinsics in pixels of the rendered image.
        lead_us: How long before the LiDAR stamp the camera fires, microseconds.
    """

    channel: str
    ego_from_cam: FloatArray
    image_from_cam: FloatArray
    lead_us: int

    def facing(self, width_px: int, margin_rad: float) -> Facing:
        """Return the sector that an image of `width_px` shows, wider by `margin_rad` each side."""
        axis = self.ego_from_cam[:3, 2]
        half = float(np.arctan2(width_px * 0.55, self.image_from_cam[0, 0]))
        return Facing(float(np.arctan2(axis[1], axis[0])), half + margin_rad)


@dataclass(frozen=True)
class Rig:
    """All sensors of one scene.

    Attributes:
        cameras: Six cameras in the order of `CAMERAS`.
        ego_from_lidar: (4, 4); the LiDAR's x points right and its y forward.
    """

    cameras: tuple[Camera, ...]
    ego_from_lidar: FloatArray


def make_rig(rng: np.random.Generator, width_px: int, height_px: int) -> Rig:
    """Return the rig with millimetre and sub-degree variation drawn from `rng`."""
    cameras = [
        _make_camera(name, mount, rng, width_px, height_px) for name, mount in _CAMERAS.items()
    ]
    roll, pitch, yaw = rng.normal(0.0, 0.006, 3)
    rotation = _rotation(float(roll), float(pitch), np.radians(-90.0) + float(yaw))
    position = np.array([0.96, 0.0, 1.84]) + rng.normal(0.0, 0.01, 3)
    return Rig(tuple(cameras), rigid(rotation, position))


def _make_camera(
    name: str, mount: _Mount, rng: np.random.Generator, width_px: int, height_px: int
) -> Camera:
    roll, pitch, yaw = rng.normal(0.0, [0.004, 0.006, 0.008])
    rotation = _rotation(float(roll), float(pitch), np.radians(mount.heading_deg) + float(yaw))
    position = np.asarray(mount.position_m) + rng.normal(0.0, 0.008, 3)
    focal = mount.focal_px + float(rng.normal(0.0, 5.0))
    principal = np.array([815.0, 485.0]) + rng.normal(0.0, [10.0, 10.0])
    sx, sy = width_px / NATIVE_WH_PX[0], height_px / NATIVE_WH_PX[1]
    image_from_cam = np.array(
        [
            [focal * sx, 0.0, (principal[0] + 0.5) * sx - 0.5],
            [0.0, focal * sy, (principal[1] + 0.5) * sy - 0.5],
            [0.0, 0.0, 1.0],
        ]
    )
    ego_from_cam = rigid(rotation @ _EGO_AXES_FROM_CAM, position)
    return Camera(name, ego_from_cam, image_from_cam, round(mount.lead_ms * 1000))


def _rotation(roll_rad: float, pitch_rad: float, yaw_rad: float) -> FloatArray:
    """Return yaw about z after pitch about y after roll about x."""
    (cr, sr), (cp, sp), (cy, sy) = (
        (np.cos(angle), np.sin(angle)) for angle in (roll_rad, pitch_rad, yaw_rad)
    )
    roll = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    pitch = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
    yaw = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    return np.asarray(yaw @ pitch @ roll, dtype=np.float64)
