# SPDX-License-Identifier: Apache-2.0
"""Preprocess, backend, decode: the one call."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from simdistill_ros.core.backends.base import BackendError, HeadMaps
from simdistill_ros.core.backends.torch_backend import TorchBackend
from simdistill_ros.core.camera import CameraCalibration
from simdistill_ros.core.detector import Detector
from simdistill_ros.core.frames import rigid, rotation_about_z
from simdistill_ros.core.lift_geometry import PoolingTables
from simdistill_ros.core.model_card import ModelCard, load_model_card
from simdistill_ros.core.snapshot import Snapshot, View

MODELS = Path(__file__).resolve().parents[2] / "models"
K = np.array([[280.0, 0.0, 199.5], [0.0, 280.0, 112.0], [0.0, 0.0, 1.0]])
OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


class OnePeak:
    """A backend that sees one thing: a cell of the first task, and the offset in it."""

    description = "one peak"

    def __init__(self, card: ModelCard, cell: tuple[int, int]) -> None:
        self.card, self.cell = card, cell
        self.images: np.ndarray | None = None
        self.tables: list[PoolingTables] = []
        self.closed = False

    def infer(self, images: np.ndarray, tables: PoolingTables) -> HeadMaps:
        self.images = images
        self.tables.append(tables)
        shape = self.card.head_shape_xy
        channels = {"reg": 2, "height": 1, "dim": 3, "rot": 2, "vel": 2}
        tasks: HeadMaps = []
        for task in self.card.tasks:
            maps = {name: np.zeros((n, *shape), np.float32) for name, n in channels.items()}
            maps["heatmap"] = np.full((len(task.classes), *shape), -9.0, np.float32)
            tasks.append(maps)
        row, column = self.cell
        first = tasks[0]
        first["heatmap"][0, row, column] = 2.0
        first["reg"][:, row, column] = [0.5, 0.25]
        first["height"][0, row, column] = 0.75
        first["dim"][:, row, column] = np.log([4.0, 2.0, 1.5])
        first["rot"][:, row, column] = [np.sin(0.5), np.cos(0.5)]
        first["vel"][:, row, column] = [3.0, -1.0]
        return tasks

    def close(self) -> None:
        self.closed = True


@pytest.fixture(scope="module")
def card() -> ModelCard:
    return load_model_card(MODELS / "tiny")


def ring(card: ModelCard, seed: int = 0) -> Snapshot:
    generator = np.random.default_rng(seed)
    calibration = CameraCalibration(400, 225, K)
    views = []
    for index, camera in enumerate(name.lower() for name in card.cameras):
        image = generator.integers(0, 256, (225, 400, 3), np.uint8)
        turn = rotation_about_z(np.pi / 3 * index) @ OPTICAL
        views.append(View(camera, 100 + index, image, calibration, rigid(turn, [1.0, 0.0, 1.5])))
    return Snapshot(105, tuple(views))


def test_a_peak_becomes_a_box_in_the_vehicle_frame_at_the_snapshots_stamp(card: ModelCard) -> None:
    row, column = 40, 20
    detector = Detector(card, OnePeak(card, (row, column)))

    boxes = detector.detect(ring(card))

    cell_m = card.head_cell_m
    expected = [card.bev.x_m[0] + (row + 0.5) * cell_m, card.bev.y_m[0] + (column + 0.25) * cell_m]
    assert (boxes.frame, boxes.stamp_ns) == ("base_link", 105)
    assert boxes.names() == [card.classes[0]]
    np.testing.assert_allclose(boxes.centers_m, [[*expected, 0.75]], atol=1e-5)
    np.testing.assert_allclose(boxes.sizes_lwh_m, [[4.0, 2.0, 1.5]], rtol=1e-5)
    np.testing.assert_allclose(boxes.yaws_rad, [0.5], atol=1e-6)
    np.testing.assert_allclose(boxes.velocities_mps, [[3.0, -1.0]], atol=1e-6)


def test_a_model_whose_grid_is_turned_still_answers_in_the_vehicle_frame(card: ModelCard) -> None:
    half = float(np.sqrt(0.5))
    pose = card.bev.ego_from_bev.model_copy(
        update={"rotation_wxyz": (half, 0.0, 0.0, -half), "translation_m": (0.9, 0.0, 1.8)}
    )
    turned = card.model_copy(update={"bev": card.bev.model_copy(update={"ego_from_bev": pose})})
    straight_box = Detector(card, OnePeak(card, (40, 20))).detect(ring(card))

    box = Detector(turned, OnePeak(turned, (40, 20))).detect(ring(card))

    x, y, z = straight_box.centers_m[0]
    np.testing.assert_allclose(box.centers_m, [[y + 0.9, -x, z + 1.8]], atol=1e-5)
    np.testing.assert_allclose(box.yaws_rad, [0.5 - np.pi / 2], atol=1e-6)


def test_the_score_threshold_of_a_call_overrides_the_cards(card: ModelCard) -> None:
    detector = Detector(card, OnePeak(card, (40, 20)))

    assert len(detector.detect(ring(card), 0.95)) == 0
    assert len(detector.detect(ring(card), 0.5)) == 1


def test_tables_are_made_once_a_calibration(card: ModelCard) -> None:
    backend = OnePeak(card, (40, 20))
    detector = Detector(card, backend)
    moved = ring(card)
    views = (replace(moved.views[0], ego_from_cam=np.eye(4)), *moved.views[1:])

    detector.detect(ring(card, 1))
    detector.detect(ring(card, 2))
    detector.detect(Snapshot(9, views))

    first, second, third = backend.tables
    assert first is second
    assert third is not first


def test_every_stage_is_timed(card: ModelCard) -> None:
    detector = Detector(card, OnePeak(card, (40, 20)), clock_ns=iter(range(100)).__next__)

    detector.detect(ring(card))

    assert detector.durations_ns == dict.fromkeys(
        ("preprocess", "geometry", "inference", "decode"), 1
    )


def test_the_untrained_student_runs_end_to_end_and_says_that_it_is_untrained(
    card: ModelCard,
) -> None:
    untrained = card.model_copy(update={"weights": None})
    detector = Detector(untrained, TorchBackend(untrained))

    first = detector.detect(ring(card), 0.0)
    again = detector.detect(ring(card), 0.0)
    other = detector.detect(ring(card, 7), 0.0)

    assert "UNTRAINED" in detector.description
    assert len(first) > 0
    np.testing.assert_array_equal(first.scores, again.scores)
    assert not np.array_equal(first.scores, other.scores)


def test_a_device_that_is_not_there_is_a_clear_error(card: ModelCard) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")

    with pytest.raises(BackendError, match=r"cuda.*CUDA build of torch"):
        TorchBackend(card, "cuda")


def test_closing_the_detector_closes_the_backend(card: ModelCard) -> None:
    backend = OnePeak(card, (40, 20))

    Detector(card, backend).close()

    assert backend.closed


def test_a_missing_camera_has_no_effect_whatever_stands_in_for_it(card: ModelCard) -> None:
    whole = ring(card)
    lost = whole.views[2].camera
    views = tuple(view for view in whole.views if view.camera != lost)
    detector = Detector(card, backend := OnePeak(card, (40, 20)))
    detector.detect(Snapshot(105, views, missing=(lost,)))
    assert backend.images is not None
    assert not backend.images[2].any()
    assert backend.images[3].any()
    features = card.feature_hw[0] * card.feature_hw[1]
    tables = backend.tables[-1]
    assert 2 not in tables.pixel_index // features
    assert set(tables.pixel_index // features) == {0, 1, 3, 4, 5}


def test_the_network_gives_the_same_maps_whatever_the_missing_cameras_pixels_are(
    card: ModelCard,
) -> None:
    backend = TorchBackend(card)
    detector = Detector(card, backend)
    whole = ring(card)
    views = tuple(view for view in whole.views if view.camera != whole.views[2].camera)
    network_input = detector._preprocess(Snapshot(105, views, missing=(whole.views[2].camera,)))
    tables = detector.tables_of(network_input)
    blank = backend.infer(network_input.images, tables)
    noise = network_input.images.copy()
    noise[2] = np.random.default_rng(5).integers(0, 256, noise[2].shape)
    for task, other in zip(blank, backend.infer(noise, tables), strict=True):
        for name, values in task.items():
            np.testing.assert_array_equal(values, other[name])
    # The same picture run through the network as an image would change them.
    seen = detector.tables_of(detector._preprocess(whole))
    with_picture = backend.infer(network_input.images, seen)
    assert any((with_picture[0][name] != blank[0][name]).any() for name in blank[0])
    detector.close()


def test_a_camera_that_is_neither_there_nor_said_to_be_missing_is_an_error(
    card: ModelCard,
) -> None:
    detector = Detector(card, OnePeak(card, (0, 0)))
    with pytest.raises(KeyError, match="no camera"):
        detector.detect(Snapshot(105, ring(card).views[1:]))
