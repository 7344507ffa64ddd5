# SPDX-License-Identifier: Apache-2.0
"""The mosaic: cameras arranged as they look, lost ones shown as lost."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from drawn_boxes import STAMP_NS, boxes, camera, colored

from simdistill_ros.core.boxes import NUSCENES_CLASSES, empty_detections
from simdistill_ros.core.camera import CameraCalibration
from simdistill_ros.core.class_colors import CLASS_COLORS
from simdistill_ros.core.snapshot import Snapshot
from simdistill_ros.drawing.mosaic import ABSENT, GAP_PX, Mosaic, camera_rows, tile_width_px

# As on a nuScenes vehicle, degrees counter-clockwise from ahead.
AZIMUTHS_DEG = {
    "cam_back": 180.0,
    "cam_back_left": 108.0,
    "cam_back_right": -110.0,
    "cam_front": 0.3,
    "cam_front_left": 55.0,
    "cam_front_right": -57.0,
}
NOTHING = empty_detections("base_link", STAMP_NS, NUSCENES_CLASSES)


def rig(levels: dict[str, int] | None = None) -> Snapshot:
    views = []
    for name, azimuth in AZIMUTHS_DEG.items():
        view = camera(name, np.radians(azimuth))
        level = (levels or {}).get(name, 0)
        views.append(replace(view, image=np.full_like(view.image, level)))
    return Snapshot(STAMP_NS, tuple(views))


def tile(picture: np.ndarray, row: int, column: int) -> np.ndarray:
    height, width = (picture.shape[0] - GAP_PX) // 2, (picture.shape[1] - 2 * GAP_PX) // 3
    top, left = row * (height + GAP_PX), column * (width + GAP_PX)
    return picture[top : top + height, left : left + width]


def test_cameras_stand_where_they_look() -> None:
    assert camera_rows({name: np.radians(deg) for name, deg in AZIMUTHS_DEG.items()}) == [
        ["cam_front_left", "cam_front", "cam_front_right"],
        ["cam_back_left", "cam_back", "cam_back_right"],
    ]


def test_a_camera_that_looks_back_from_the_right_half_turn_stands_in_the_middle_too() -> None:
    rows = camera_rows({"l": 2.0, "r": -2.0, "back": -3.1, "a": 0.9, "b": 0.0, "c": -0.9})
    assert rows == [["a", "b", "c"], ["l", "back", "r"]]


@pytest.mark.parametrize(("count", "rows"), [(1, [1]), (2, [1, 1]), (5, [3, 2]), (7, [4, 3])])
def test_any_number_of_cameras_makes_two_rows(count: int, rows: list[int]) -> None:
    azimuths = {f"c{i}": 2 * np.pi * i / count - np.pi for i in range(count)}
    assert [len(row) for row in camera_rows(azimuths)] == rows


def test_each_tile_shows_its_camera() -> None:
    levels = {name: 40 + 30 * i for i, name in enumerate(AZIMUTHS_DEG)}
    picture = Mosaic(480).draw(rig(levels), NOTHING)

    for row, names in enumerate(
        [["cam_front_left", "cam_front", "cam_front_right"],
         ["cam_back_left", "cam_back", "cam_back_right"]]
    ):  # fmt: skip
        for column, name in enumerate(names):
            assert np.median(tile(picture, row, column)) == levels[name], name
    assert picture.shape[1] == 3 * tile_width_px(480, 6) + 2 * GAP_PX <= 480


def test_a_box_shows_in_the_tile_of_the_camera_that_faces_it() -> None:
    picture = Mosaic(480).draw(rig(), boxes([0.9], (-10.0, 0.0, 1.0), "bus"))

    hits = {
        (row, column): len(colored(tile(picture, row, column), CLASS_COLORS["bus"]))
        for row in range(2)
        for column in range(3)
    }
    assert hits.pop((1, 1)) > 50
    assert not any(hits.values())


def test_a_lost_camera_leaves_its_place_empty_and_the_others_where_they_are() -> None:
    mosaic, whole = Mosaic(480), rig(dict.fromkeys(AZIMUTHS_DEG, 200))
    mosaic.draw(whole, NOTHING)
    left = tuple(view for view in whole.views if view.camera != "cam_front_right")

    picture = mosaic.draw(Snapshot(STAMP_NS, left, missing=("cam_front_right",)), NOTHING)

    assert tuple(np.median(tile(picture, 0, 2), axis=(0, 1))) == ABSENT
    assert np.median(tile(picture, 0, 1)) == 200
    assert np.median(tile(picture, 1, 2)) == 200


def test_a_camera_of_another_shape_is_cropped_like_the_networks_input() -> None:
    square = CameraCalibration(200, 200, np.array([[100.0, 0, 99.5], [0, 100.0, 99.5], [0, 0, 1]]))
    image = np.full((200, 200, 3), 10, np.uint8)
    image[100:] = 150  # the lower part stays
    views = (*rig().views[:-1], camera("cam_front_right", np.radians(-57), image, square))

    picture = Mosaic(480).draw(Snapshot(STAMP_NS, views), NOTHING)

    assert tile(picture, 0, 2)[-1].min() == 150
    assert np.median(tile(picture, 0, 2)[5]) == 10
