# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest
import torch

from simdistill_ros.core.backends.torch_backend import TorchBackend
from simdistill_ros.core.detector import Detector
from simdistill_ros.core.frames import inverse, rotation_about_z, transform_points
from simdistill_ros.core.preprocess import InputRule, Preprocessor
from simdistill_ros.replay.nuscenes_reader import (
    ground_truths_of_sample,
    load_nuscenes,
    poses_of_scene,
    snapshot_of_sample,
)
from simdistill_training.data.augmentation import ImageAugmentation, SceneAugmentation
from simdistill_training.data.build import training_dataset
from simdistill_training.data.dataset import SampleDataset, SampleOptions
from simdistill_training.data.errors import BrokenSampleError
from simdistill_training.data.index import find_or_build_index
from simdistill_training.data.lidar import LidarOptions
from simdistill_training.data.loader import batch_loader, collate

VERSION = "v1.0-mini"
IMAGES = ImageAugmentation(scale=(0.95, 1.1), shift_fraction=0.05, rotation_rad=0.05, flip=0.5)
SCENE = SceneAugmentation(rotation_rad=0.39, scale=(0.95, 1.05), flip_x=0.5, flip_y=0.5)


def with_options(dataset, **changes):
    options = replace(dataset.options, **changes)
    return SampleDataset(dataset.index, dataset.dataroot, dataset.samples, options)


def assert_same_as_vehicle(dataset, position=1):
    sample, card = dataset[position], dataset.options.card
    nusc = load_nuscenes(dataset.dataroot, VERSION)
    cameras = tuple(name.lower() for name in card.cameras)
    snapshot = snapshot_of_sample(nusc, sample.token, cameras)
    rule = InputRule(card.image.input_hw, card.image.resized_width_px, card.image.resize_kernel)
    own = Preprocessor(rule, cameras)(snapshot)
    np.testing.assert_array_equal(sample.images, own.images)
    detector = Detector(card, TorchBackend(card))
    tables = detector.tables_of(own)
    # Poses may differ in the last bit, which moves a handful of points on cell edges.
    assert abs(len(tables.pixel_index) - len(sample.tables.pixel_index)) < 20
    counts = np.diff(tables.cell_offsets) - np.diff(sample.tables.cell_offsets)
    assert np.abs(counts).sum() < 20
    expected = own.input_from_cam @ np.linalg.inv(own.ego_from_cam)[:, :3]
    np.testing.assert_allclose(sample.input_from_bev, expected, atol=1e-6)


def test_input_without_augmentation_is_the_vehicles_pixel_for_pixel(dataset):
    assert_same_as_vehicle(dataset)


def test_real_input_without_augmentation_is_the_vehicles(real_dataroot, cache, card):
    index = find_or_build_index(real_dataroot, VERSION, cache)
    dataset = SampleDataset(index, real_dataroot, np.array([3, 50]), SampleOptions(card))
    assert_same_as_vehicle(dataset)


def test_boxes_are_the_replays_ground_truth(dataset):
    nusc = load_nuscenes(dataset.dataroot, VERSION)
    for position, sample in enumerate(dataset.samples):
        token = str(dataset.index.tokens[sample])
        scene = nusc.get("scene", nusc.get("sample", token)["scene_token"])["name"]
        expected = ground_truths_of_sample(
            nusc, token, poses_of_scene(nusc, scene), dataset.stamp_ns(int(sample))
        )
        actual = dataset.boxes_of(int(sample))
        np.testing.assert_allclose(actual.centers_m, expected.centers_m, atol=1e-6)
        np.testing.assert_allclose(actual.yaws_rad, expected.yaws_rad, atol=1e-6)
        assert actual.names() == expected.names()
        assert len(dataset[position].boxes) <= len(actual)


def test_boxes_without_points_are_left_out(dataset):
    sample = int(dataset.samples[0])
    all_boxes = with_options(dataset, min_points=0).boxes_of(sample)
    points = dataset.index.box_points[dataset.index.boxes_of(sample)]
    assert len(all_boxes) == len(points)
    assert len(dataset.boxes_of(sample)) == (points >= 1).sum() < len(points)


def points_on_boxes(sample):
    """Return the share of boxes with LiDAR points inside, in the sample's own frame."""
    hits = []
    for center, size, yaw in zip(
        sample.boxes.centers_m, sample.boxes.sizes_lwh_m, sample.boxes.yaws_rad, strict=True
    ):
        local = (sample.points[:, :3] - center) @ rotation_about_z(yaw)
        hits.append((np.abs(local) <= size / 2 + 0.05).all(axis=1).any())
    return np.mean(hits)


def test_points_lie_in_their_boxes_before_and_after_augmentation(dataset):
    plain = with_options(dataset, lidar=LidarOptions(sweeps=0))
    assert points_on_boxes(plain[0]) > 0.95
    augmented = with_options(plain, scene=SCENE, images=IMAGES)
    for draw in range(4):
        assert points_on_boxes(augmented[draw, 0]) > 0.95


def test_augmentation_of_the_scene_leaves_boxes_on_their_pixels(dataset):
    plain, moved = dataset[0], with_options(dataset, scene=SCENE)[5, 0]
    spots, moved_spots = centers_px(plain), centers_px(moved)
    compared = 0
    for camera_spots, camera_moved in zip(spots, moved_spots, strict=True):
        near = camera_spots[(camera_spots[:, 2] > 1) & (camera_spots[:, 2] < 25)]
        for spot in near:
            # Only the frame changed: some moved box projects to the same pixel.
            assert np.abs(camera_moved[:, :2] - spot[:2]).max(axis=1).min() < 1e-3
            compared += 1
    assert compared > 10


def centers_px(sample):
    """Return (N, M, 3): pixel and depth of each box centre in each camera."""
    homogeneous = np.pad(sample.boxes.centers_m, ((0, 0), (0, 1)), constant_values=1.0)
    scaled = np.einsum("nij,bj->nbi", sample.input_from_bev, homogeneous)
    depth = np.maximum(scaled[..., 2:], 1e-3)
    return np.concatenate([scaled[..., :2] / depth, scaled[..., 2:]], -1)


def test_tables_follow_the_augmented_scene(dataset):
    turned = SceneAugmentation(flip_x=1.0, flip_y=1.0)
    plain, moved = dataset[0], with_options(dataset, scene=turned)[0]
    cells = dataset.options.card.bev.grid.shape_xy
    before = np.diff(plain.tables.cell_offsets).reshape(cells)
    after = np.diff(moved.tables.cell_offsets).reshape(cells)
    assert np.abs(before[::-1, ::-1] - after).sum() < 0.02 * before.sum()


def test_draw_decides_augmentation_and_nothing_else_does(dataset):
    augmented = with_options(dataset, images=IMAGES, scene=SCENE, random_sweeps=True)
    first, other, again = augmented[1, 0], augmented[2, 0], augmented[1, 0]
    np.testing.assert_array_equal(first.images, again.images)
    np.testing.assert_array_equal(first.points, again.points)
    assert (first.images != other.images).any()


def test_sweeps_are_the_newest_in_evaluation_and_random_in_training(dataset):
    few = with_options(dataset, lidar=LidarOptions(sweeps=2))
    ages = np.unique(few[2].points[:, 4])
    np.testing.assert_allclose(ages, [0.0, 0.05, 0.1], atol=0.01)
    random = with_options(few, random_sweeps=True)
    drawn = {tuple(np.unique(random[draw, 2].points[:, 4]).round(2)) for draw in range(4)}
    assert len(drawn) > 1


def test_standing_things_stay_put_over_sweeps(dataset):
    accumulated = with_options(dataset, lidar=LidarOptions(sweeps=9))[2].points
    key, past = accumulated[accumulated[:, 4] == 0], accumulated[accumulated[:, 4] > 0.3]

    # Ground cells, 2 m wide, must agree in height: wrong ego motion would smear slopes and kerbs.
    def heights(points):
        near = points[(np.abs(points[:, :2]) < 12).all(1) & (points[:, 2] < 0.3)]
        cells = np.floor(near[:, :2] / 2).astype(int)
        return {tuple(c): np.median(near[(cells == c).all(1), 2]) for c in np.unique(cells, axis=0)}

    now, then = heights(key), heights(past)
    common = now.keys() & then.keys()
    assert len(common) > 20
    assert np.median([abs(now[c] - then[c]) for c in common]) < 0.05


def test_old_sweeps_are_left_out(dataset):
    young = with_options(dataset, lidar=LidarOptions(sweeps=9, max_age_s=0.12))
    assert young[2].points[:, 4].max() < 0.12


def test_missing_file_names_sample_and_path(dataset, tmp_path):
    lost = SampleDataset(dataset.index, tmp_path, dataset.samples, dataset.options)
    token = str(dataset.index.tokens[dataset.samples[0]])
    with pytest.raises(BrokenSampleError, match=rf"{token}.*CAM_FRONT.*No such file"):
        lost[0]


def test_truncated_image_is_an_error_or_skipped_when_asked(dataset, tmp_path):
    broken = tmp_path / "broken"
    for path in (dataset.dataroot / "samples").iterdir():
        (broken / "samples").mkdir(parents=True, exist_ok=True)
        if path.name != "CAM_BACK":
            (broken / "samples" / path.name).symlink_to(path)
    (broken / "sweeps").symlink_to(dataset.dataroot / "sweeps")
    (broken / "samples" / "CAM_BACK").mkdir()
    for path in (dataset.dataroot / "samples" / "CAM_BACK").iterdir():
        (broken / "samples" / "CAM_BACK" / path.name).write_bytes(path.read_bytes()[:900])
    strict = SampleDataset(dataset.index, broken, dataset.samples, dataset.options)
    with pytest.raises(BrokenSampleError, match="CAM_BACK"):
        strict[0]
    tolerant = with_options(strict, skip_broken=True)
    assert tolerant[0] is None
    assert collate([tolerant[0], None]) is None


def test_batch_joins_samples(dataset):
    batch = collate([dataset[0], None, dataset[1]])
    assert batch is not None
    assert len(batch) == 2
    assert batch.images.shape[:2] == (2, 6)
    assert batch.images.dtype == torch.uint8
    assert len(batch.points) == len(batch.boxes) == len(batch.tokens) == 2


def test_worker_processes_give_the_same_batches(dataset):
    keys = [(3, 1), (4, 0), (5, 2), (6, 1)]
    augmented = with_options(dataset, images=IMAGES, scene=SCENE)
    here, there = (
        list(batch_loader(augmented, keys, batch_size=2, workers=workers, drop_last=True))
        for workers in (0, 1)
    )
    for own, other in zip(here, there, strict=True):
        torch.testing.assert_close(own.images, other.images)
        torch.testing.assert_close(own.tables.pixel_index, other.tables.pixel_index)


def test_training_without_teacher_reads_no_points(experiment_named, card, index):
    dataset = training_dataset(experiment_named("student-baseline-tiny"), card, index)
    assert len(dataset[0].points) == 0


def test_pose_of_the_bev_frame_is_that_of_the_newest_camera(dataset):
    sample = int(dataset.samples[2])
    newest = int(np.argmax(dataset.index.stamps_ns[sample, :6]))
    origin = transform_points(inverse(dataset.global_from_bev(sample)),
                              dataset.index.poses[sample, newest, 4:])  # fmt: skip
    np.testing.assert_allclose(origin, 0, atol=1e-9)
