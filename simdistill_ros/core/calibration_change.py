# SPDX-License-Identifier: Apache-2.0
"""How far a camera's calibration moved: one angle for mounting and lens, and a distance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simdistill_ros.core.camera import CameraCalibration
from simdistill_ros.core.frames import FloatArray
from simdistill_ros.core.preprocess import rectified_pose


@dataclass(frozen=True)
class CameraGeometry:
    """A camera's intrinsics at its image's size, and the pose of its optical frame, ego frame."""

    calibration: CameraCalibration
    ego_from_cam: FloatArray


@dataclass(frozen=True)
class CalibrationJump:
    """A change of geometry.

    Attributes:
        turn_rad: Largest angle between old and new direction of the same place in the image:
            its centre and its corners.
        shift_m: How far the optical centre moved.
    """

    turn_rad: float
    shift_m: float


@dataclass(frozen=True)
class JumpBounds:
    """Changes of calibration up to which nothing is reported."""

    turn_rad: float
    shift_m: float


def calibration_jump(old: CameraGeometry, new: CameraGeometry) -> CalibrationJump:
    """Return by how much a camera's geometry changed."""
    cosines = (directions_ego(old) * directions_ego(new)).sum(axis=0)
    shift = new.ego_from_cam[:3, 3] - old.ego_from_cam[:3, 3]
    return CalibrationJump(
        turn_rad=float(np.arccos(np.clip(cosines, -1.0, 1.0)).max()),
        shift_m=float(np.linalg.norm(shift)),
    )


def directions_ego(geometry: CameraGeometry) -> FloatArray:
    """Return (3, 5) unit vectors, ego frame, of the image's centre and corners."""
    calibration = geometry.calibration
    right, bottom = calibration.width_px - 1.0, calibration.height_px - 1.0
    u = [right / 2, 0.0, right, 0.0, right]
    v = [bottom / 2, 0.0, 0.0, bottom, bottom]
    rays = np.linalg.inv(calibration.image_from_cam) @ np.array([u, v, np.ones(5)])
    rays_ego = rectified_pose(calibration, geometry.ego_from_cam)[:3, :3] @ rays
    return np.asarray(rays_ego / np.linalg.norm(rays_ego, axis=0))
