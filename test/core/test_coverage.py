# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from simdistill_ros.core.camera import CameraCalibration
from simdistill_ros.core.coverage import (
    directions_rad,
    is_seen,
    newest_stamps_ns,
    sector_of,
    sectors_of,
)
from simdistill_ros.core.frames import rigid, rotation_about_z
from simdistill_ros.core.snapshot import View

# 100 pixels wide with focal length 50: 90 degrees, 45 to each side.
K = np.array([[50.0, 0.0, 49.5], [0.0, 50.0, 24.5], [0.0, 0.0, 1.0]])
OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
IMAGE = np.zeros((50, 100, 3), np.uint8)


def view(azimuth_deg, *, at=(0.0, 0.0), roll_deg=0, stamp_ns=7):
    roll = rotation_about_z(np.radians(roll_deg))  # about the optical axis
    turn = rotation_about_z(np.radians(azimuth_deg)) @ OPTICAL @ roll
    return View("cam", stamp_ns, IMAGE, CameraCalibration(100, 50, K), rigid(turn, [*at, 1.5]))


@pytest.mark.parametrize("azimuth_deg", [0, 60, 135, 180, -120])
def test_a_sector_is_the_horizontal_field_of_view_around_the_optical_axis(azimuth_deg):
    sector = sector_of(view(azimuth_deg))
    assert np.degrees(sector.span_rad) == pytest.approx(90)
    inside = np.radians([azimuth_deg - 44, azimuth_deg + 44])
    outside = np.radians([azimuth_deg - 46, azimuth_deg + 46, azimuth_deg + 180])
    assert sector.contains(inside).tolist() == [True, True]
    assert sector.contains(outside).tolist() == [False, False, False]


def test_a_camera_that_hangs_upside_down_sees_the_same_sector():
    upright, turned = sector_of(view(30)), sector_of(view(30, roll_deg=180))
    assert turned.first_rad == pytest.approx(upright.first_rad)
    assert turned.span_rad == pytest.approx(upright.span_rad)


def test_directions_that_no_camera_sees_have_no_stamp():
    sectors = sectors_of([view(0, stamp_ns=5), view(90, stamp_ns=9)])
    azimuths = directions_rad()
    stamps = newest_stamps_ns(sectors, azimuths)
    degrees = np.degrees(azimuths)
    assert (stamps[(degrees > -45) & (degrees < 45)] == 5).all()
    assert (stamps[(degrees > 45) & (degrees < 135)] == 9).all()
    assert (stamps[(degrees < -45) | (degrees > 135)] == -1).all()


def test_where_two_images_overlap_the_newer_counts():
    stamps = newest_stamps_ns(sectors_of([view(0, stamp_ns=5), view(20, stamp_ns=9)]), np.zeros(1))
    assert stamps.tolist() == [9]


def test_a_point_is_seen_from_where_the_camera_is():
    sectors = sectors_of([view(0, at=(2.0, 0.0))])
    points = np.array([[3.0, 0.5], [1.0, 0.0], [2.5, 1.0], [10.0, 7.0], [10.0, 9.0]])
    assert is_seen(sectors, points).tolist() == [True, False, False, True, False]
    assert is_seen((), points).tolist() == [False] * 5
