# SPDX-License-Identifier: Apache-2.0
"""The benchmark that takes cameras away: which ones, and what the detector is given then."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.lost_cameras import Loss, blackened, blanked
from simdistill_ros.core.camera import CameraCalibration
from simdistill_ros.core.snapshot import Snapshot, View

CAMERAS = ("a", "b", "c", "d", "e", "f")
K = np.array([[5.0, 0, 3.5], [0, 5.0, 3.5], [0, 0, 1]])


@pytest.mark.parametrize("crashed", [1, 2, 3])
def test_a_crash_takes_the_same_cameras_from_every_sample_of_a_scene(crashed):
    loss = Loss("", crashed=crashed)
    lost = {loss.cameras("scene-1", f"sample-{n}", CAMERAS) for n in range(9)}
    assert len(lost) == 1
    assert len(lost.pop()) == crashed
    scenes = {loss.cameras(f"scene-{n}", "sample", CAMERAS) for n in range(9)}
    assert len(scenes) > 1


def test_frames_are_lost_as_often_as_asked_and_the_same_ones_each_time():
    loss = Loss("", frame_lost=1 / 3, seed=4)
    lost = [loss.cameras("scene", f"sample-{n}", CAMERAS) for n in range(300)]
    assert lost == [loss.cameras("scene", f"sample-{n}", CAMERAS) for n in range(300)]
    assert sum(map(len, lost)) / 1800 == pytest.approx(1 / 3, abs=0.04)
    assert max(map(len, lost)) < 6
    assert all(camera in CAMERAS for cameras in lost for camera in cameras)


def test_a_blank_camera_has_no_view_and_a_black_one_has_no_light():
    image = np.full((8, 8, 3), 9, np.uint8)
    views = tuple(View(c, 1, image, CameraCalibration(8, 8, K), np.eye(4)) for c in "ab")
    whole = Snapshot(1, views)
    blank, black = blanked(whole, ["a"]), blackened(whole, ["a"])
    assert ([view.camera for view in blank.views], blank.missing) == (["b"], ("a",))
    assert (black.missing, black.view("a").image.max(), black.view("b").image.max()) == ((), 0, 9)
