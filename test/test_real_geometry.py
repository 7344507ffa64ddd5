# SPDX-License-Identifier: Apache-2.0
"""From calibration to BEV cell, on real frames: labelled objects lift to where they stand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from simdistill_ros.core.backends.base import HeadMaps
from simdistill_ros.core.boxes import Detections
from simdistill_ros.core.camera import project_points
from simdistill_ros.core.detector import Detector
from simdistill_ros.core.frames import inverse, transform_points
from simdistill_ros.core.lift_geometry import PoolingTables
from simdistill_ros.core.model_card import ModelCard, load_model_card
from simdistill_ros.core.preprocess import NetworkInput
from simdistill_ros.core.snapshot import Snapshot
from simdistill_ros.resources import model_folder

pytest.importorskip("nuscenes")

from simdistill_ros.replay.nuscenes_reader import (
    ground_truths_of_sample,
    load_nuscenes,
    poses_of_scene,
    samples_of_scene,
    snapshot_of_sample,
)


class NoNetwork:
    description = "none"

    def infer(self, images: np.ndarray, tables: PoolingTables) -> HeadMaps:
        raise AssertionError("not used")

    def close(self) -> None: ...


@pytest.fixture(scope="module")
def card() -> ModelCard:
    return load_model_card(model_folder("tiny"))


@pytest.fixture(scope="module", params=["scene-0523", "scene-0916"])
def frame(request: pytest.FixtureRequest, dataroot: Path) -> tuple[Snapshot, Detections]:
    nusc = load_nuscenes(dataroot, "v1.0-mini")
    sample = samples_of_scene(nusc, request.param)[10]
    cameras = ("cam_front", "cam_front_right", "cam_front_left", "cam_back", "cam_back_left",
               "cam_back_right")  # fmt: skip
    snapshot = snapshot_of_sample(nusc, sample.token, cameras)
    poses = poses_of_scene(nusc, request.param)
    return snapshot, ground_truths_of_sample(nusc, sample.token, poses, snapshot.stamp_ns)


def lifted_cells(
    card: ModelCard, tables: PoolingTables, network_input: NetworkInput, center_m: np.ndarray
) -> list[tuple[int, int]]:
    """Return the cells that the pixels showing a point, at the point's depth, are summed into."""
    rows, columns = card.feature_hw
    depths = card.lift.depth
    cells = []
    for camera in range(len(network_input.images)):
        cam_from_ego = inverse(network_input.ego_from_cam[camera])
        point_cam = transform_points(cam_from_ego, center_m)
        pixel, depth_m = project_points(network_input.input_from_cam[camera], point_cam[None])
        column, row = np.floor((pixel[0] + 0.5) / card.lift.stride).astype(int)
        bin_ = round((float(depth_m[0]) - depths.start_m) / depths.step_m)
        visible = 0 <= row < rows and 0 <= column < columns and 0 <= bin_ < depths.count
        if not visible or depth_m[0] <= 0:
            continue
        entry = ((camera * depths.count + bin_) * rows + row) * columns + column
        at = np.flatnonzero(tables.depth_index == entry)
        assert len(at) <= 1
        for position in at:
            cell = int(np.searchsorted(tables.cell_offsets, position, side="right")) - 1
            cells.append(divmod(cell, card.bev.grid.shape_xy[1]))
    return cells


def test_labelled_objects_lift_into_the_cells_they_stand_in(
    card: ModelCard, frame: tuple[Snapshot, Detections]
) -> None:
    snapshot, ground_truths = frame
    detector = Detector(card, NoNetwork())
    network_input = detector._preprocess(snapshot)
    tables = detector.tables_of(network_input)
    distances_m = np.linalg.norm(ground_truths.centers_m[:, :2], axis=1)
    near = ground_truths.select(distances_m < 40)

    errors_m = []
    for center_m in near.centers_m:
        for cell in lifted_cells(card, tables, network_input, center_m):
            low = np.array([card.bev.x_m[0], card.bev.y_m[0]])
            lifted_m = low + (np.array(cell) + 0.5) * card.bev.cell_m
            errors_m.append(float(np.linalg.norm(lifted_m - center_m[:2])))

    assert len(errors_m) > 15
    # Half a depth bin, half a feature pixel at 40 m and half a cell, each with its square root.
    assert max(errors_m) < 1.6
    assert np.median(errors_m) < 0.6


def test_every_view_of_a_real_frame_is_upright_and_looks_outward(
    frame: tuple[Snapshot, Detections],
) -> None:
    for view in frame[0].views:
        forward, down = view.ego_from_cam[:3, 2], view.ego_from_cam[:3, 1]
        assert abs(forward[2]) < 0.1, view.camera
        assert down[2] < -0.95, view.camera
        assert ("front" in view.camera) == (forward[0] > 0.3), view.camera
        assert ("left" in view.camera) == (forward[1] > 0.5), view.camera
        assert ("right" in view.camera) == (forward[1] < -0.5), view.camera
