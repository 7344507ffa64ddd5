# SPDX-License-Identifier: Apache-2.0
"""One synchronised set of views."""

from dataclasses import replace

import numpy as np
import pytest

from simdistill_ros.core.camera import CameraCalibration
from simdistill_ros.core.snapshot import Snapshot, View

K = np.array([[100.0, 0.0, 8.0], [0.0, 100.0, 4.0], [0.0, 0.0, 1.0]])


def view(camera: str, stamp_ns: int = 0) -> View:
    image = np.zeros((9, 16, 3), np.uint8)
    return View(camera, stamp_ns, image, CameraCalibration(16, 9, K), np.eye(4))


def test_the_spread_is_the_time_between_oldest_and_newest_view() -> None:
    snapshot = Snapshot(50, (view("cam_front", 50), view("cam_back", 8), view("cam_left", 20)))

    assert snapshot.spread_ns == 42


def test_a_view_is_found_by_name_and_a_missing_one_is_named() -> None:
    snapshot = Snapshot(0, (view("cam_front"),))

    assert snapshot.view("cam_front").camera == "cam_front"
    with pytest.raises(KeyError, match=r"cam_back.*cam_front"):
        snapshot.view("cam_back")


def test_an_image_of_another_size_than_its_calibration_is_refused() -> None:
    with pytest.raises(ValueError, match=r"cam_front.*\(9, 16, 3\)"):
        replace(view("cam_front"), image=np.zeros((9, 15, 3), np.uint8))
