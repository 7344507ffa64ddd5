# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from simdistill_ros.core.calibration_change import CameraGeometry, calibration_jump
from simdistill_ros.core.camera import CameraCalibration
from simdistill_ros.core.frames import rigid, rotation_about_z

K = np.array([[50.0, 0.0, 49.5], [0.0, 50.0, 24.5], [0.0, 0.0, 1.0]])
OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


def geometry(turn_deg=0.0, x_m=0.0, focal_px=50.0):
    k = K.copy()
    k[0, 0] = k[1, 1] = focal_px
    pose = rigid(rotation_about_z(np.radians(turn_deg)) @ OPTICAL, [x_m, 0, 1.5])
    return CameraGeometry(CameraCalibration(100, 50, k), pose)


def test_a_camera_that_turns_jumps_by_that_angle():
    jump = calibration_jump(geometry(), geometry(turn_deg=3.0))
    assert np.degrees(jump.turn_rad) == pytest.approx(3.0)
    assert jump.shift_m == 0.0


def test_a_camera_that_moves_jumps_by_that_distance():
    jump = calibration_jump(geometry(), geometry(x_m=0.2))
    assert jump.shift_m == pytest.approx(0.2)
    assert jump.turn_rad == pytest.approx(0.0, abs=1e-7)


def test_another_focal_length_turns_the_corners():
    jump = calibration_jump(geometry(), geometry(focal_px=45.0))
    corner = np.hypot(49.5, 24.5)
    expected = np.arctan(corner / 45.0) - np.arctan(corner / 50.0)
    assert jump.turn_rad == pytest.approx(expected)
