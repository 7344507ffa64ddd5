# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from simdistill_ros.core.boxes import NUSCENES_CLASSES, Detections, empty_detections
from simdistill_ros.core.class_colors import CLASS_COLORS
from simdistill_ros.drawing.camera_boxes import draw_camera
from simdistill_ros.replay.answers import Answer
from simdistill_ros.replay.bag_storage import Bag
from simdistill_ros.replay.nuscenes_reader import (
    CAMERA_CHANNELS,
    ground_truths_of_sample,
    poses_of_scene,
    samples_of_scene,
    snapshot_of_sample,
)
from simdistill_ros.replay.nuscenes_to_bag import BagOptions, write_scene_bag
from simdistill_ros.replay.pictures import FEW, SCORE_CUT, boxes_to_show, write_pictures
from simdistill_ros.replay.scene_bags import Scene

CAMERAS = tuple(channel.lower() for channel in CAMERA_CHANNELS)


def boxes(scores, center=(10.0, 0.0, 0.0)):
    count = len(scores)
    return Detections(
        frame="base_link",
        stamp_ns=0,
        centers_m=np.tile(center, (count, 1)).astype(float),
        sizes_lwh_m=np.tile([4.0, 2.0, 2.0], (count, 1)),
        yaws_rad=np.zeros(count),
        velocities_mps=np.zeros((count, 2)),
        scores=np.array(scores),
        labels=np.zeros(count, dtype=np.int64),
        class_names=NUSCENES_CLASSES,
    )


def colored(image, color):
    """Where the pixels are close to a colour: (row, column) pairs."""
    return np.argwhere(np.abs(image.astype(int) - color).sum(axis=-1) < 60)


def test_boxes_below_the_cut_are_not_shown_beside_better_ones():
    shown, note = boxes_to_show(boxes([0.9, SCORE_CUT, 0.1]))
    assert len(shown) == 2
    assert "2 detections" in note


def test_where_no_score_is_good_the_best_few_are_shown_and_it_is_said():
    shown, note = boxes_to_show(boxes(np.linspace(0.0, 0.2, 40)))
    assert len(shown) == FEW
    assert shown.scores.min() > 0.12
    assert "no detection reaches" in note


def test_nothing_is_shown_of_nothing():
    shown, note = boxes_to_show(empty_detections("base_link", 0, NUSCENES_CLASSES))
    assert len(shown) == 0
    assert note.startswith("0 detections")


def test_box_shows_in_the_camera_that_faces_it_and_in_no_other(tiny_nusc):
    snapshot = snapshot_of_sample(tiny_nusc, "sample_0", CAMERAS)
    snapshot = replace(
        snapshot, views=tuple(replace(v, image=np.zeros_like(v.image)) for v in snapshot.views)
    )
    truth = ground_truths_of_sample(
        tiny_nusc, "sample_0", poses_of_scene(tiny_nusc, "scene-0001"), snapshot.stamp_ns
    )
    cars = truth.select(np.array(truth.names()) == "car")
    front = draw_camera(snapshot.view("cam_front"), cars, 320)
    assert front.shape == (180, 320, 3)
    rows, columns = np.argwhere(front.any(axis=-1)).T
    # Dead ahead, a quarter of a metre to the right of the camera, on the road below it.
    assert columns.mean() == pytest.approx(160, abs=12)
    assert rows.mean() > 90
    assert not draw_camera(snapshot.view("cam_back"), cars, 320).any()


def test_a_picture_is_written_for_every_answered_sample(tiny_nusc, tmp_path):
    write_scene_bag(tiny_nusc, "scene-0001", tmp_path / "bag", BagOptions())
    samples = samples_of_scene(tiny_nusc, "scene-0001")
    scene = Scene(Bag(tmp_path / "bag"), samples, poses_of_scene(tiny_nusc, "scene-0001"))
    stamp_ns = samples[1].reference_stamp_ns(CAMERAS)
    answers = {"sample_1": Answer(replace(boxes([0.9]), stamp_ns=stamp_ns), 0)}
    (path,) = write_pictures(tiny_nusc, [scene], answers, tmp_path / "pictures", title="test")
    assert path.name == "scene-0001_001.jpg"
    picture = np.asarray(Image.open(path))
    height, width, _ = picture.shape
    assert width > 2 * height
    assert len(colored(picture[60:-60, -600:], CLASS_COLORS["car"])) > 20
