# SPDX-License-Identifier: Apache-2.0
"""One keyframe as the network and the losses see it: inputs, geometry, points and boxes.

Time and frames are the vehicle's: the bev frame belongs to the newest camera's stamp, and each
camera's pose is corrected for the motion until then.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from simdistill_ros.core.boxes import NUSCENES_CLASSES, Detections
from simdistill_ros.core.frames import FloatArray, inverse, transform_points, yaw_of_rotation
from simdistill_ros.core.lift_geometry import PoolingTables
from simdistill_ros.core.model_card import ModelCard
from simdistill_ros.core.preprocess import InputRule
from simdistill_ros.core.snapshot import ImageArray
from simdistill_training.data.augmentation import (
    ImageAugmentation,
    SceneAugmentation,
    augment_boxes,
    random_augmented_from_bev,
    random_input_from_image,
)
from simdistill_training.data.errors import BrokenSampleError
from simdistill_training.data.images import jitter_colors, plain_input, warped_input
from simdistill_training.data.index import (
    CAMERA_CHANNELS,
    DatasetIndex,
    Int64Array,
    pose_matrix,
)
from simdistill_training.data.lidar import Float32Array, LidarOptions, accumulated_points

LOGGER = logging.getLogger(__name__)
BEV_FRAME = "bev"
FREE_VIEW = -1  # of a sample that was augmented anew


@dataclass(frozen=True)
class Sample:
    """One sample, ready to be put into a batch; see `Batch` for shapes and frames."""

    token: str
    images: ImageArray
    tables: PoolingTables
    points: Float32Array
    input_from_bev: FloatArray
    boxes: Detections
    view: int


@dataclass(frozen=True)
class SampleOptions:
    """What a sample is made of.

    Attributes:
        card: The model: input rule, cameras, grid, classes.
        lidar: Which LiDAR measurements; None leaves the points out.
        min_points: LiDAR and radar points a box must hold to count.
        images: Image augmentation; None for the vehicle's own input.
        scene: Scene augmentation; None for the scene as it is.
        random_sweeps: Pick LiDAR sweeps at random instead of the newest.
        skip_broken: Leave samples with broken files out instead of stopping.
        seed: Seed of everything random.
        views: Fixed augmented views of each sample, the same for every seed; 0 augments anew each
            time.
    """

    card: ModelCard
    lidar: LidarOptions | None = field(default_factory=LidarOptions)
    min_points: int = 1
    images: ImageAugmentation | None = None
    scene: SceneAugmentation | None = None
    random_sweeps: bool = False
    skip_broken: bool = False
    seed: int = 0
    views: int = 0


class SampleDataset:
    """Samples by `(draw, position)`: which sample, and its place in the training's sequence.

    All that is random depends on the seed and the draw only, so a resumed training sees what an
    uninterrupted one would have seen, with any number of worker processes.
    """

    def __init__(
        self, index: DatasetIndex, dataroot: Path, samples: Int64Array, options: SampleOptions
    ) -> None:
        """Choose samples of an index."""
        self.index = index
        self.dataroot = dataroot
        self.samples = samples
        self.options = options
        card = options.card
        self.rule = InputRule(
            card.image.input_hw, card.image.resized_width_px, card.image.resize_kernel
        )
        self._cameras = [CAMERA_CHANNELS.index(name.upper()) for name in card.cameras]
        self._labels = np.array(
            [card.classes.index(n) if n in card.classes else -1 for n in NUSCENES_CLASSES]
        )

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.samples)

    def __getitem__(self, key: int | tuple[int, int]) -> Sample | None:
        """Return a sample.

        Args:
            key: Position among the samples, or (draw, position); without a draw it is 0.

        Returns:
            The sample, or None for one that is broken and to be skipped.

        Raises:
            BrokenSampleError: If a file is missing or damaged and `skip_broken` is off.
        """
        draw, position = key if isinstance(key, tuple) else (0, key)
        try:
            return self._sample(int(self.samples[position]), draw)
        except BrokenSampleError as error:
            if not self.options.skip_broken:
                raise
            LOGGER.warning("skipped: %s", error)
            return None

    def stamp_ns(self, sample: int) -> int:
        """Return the stamp of a sample's newest camera, which its boxes refer to."""
        return int(self.index.stamps_ns[sample, self._cameras].max())

    def global_from_ego(self, sample: int) -> FloatArray:
        """Return the vehicle's (4, 4) pose when a sample's newest camera fired."""
        newest = self._cameras[int(np.argmax(self.index.stamps_ns[sample, self._cameras]))]
        return pose_matrix(self.index.poses[sample, newest])

    def global_from_bev(self, sample: int) -> FloatArray:
        """Return the (4, 4) pose of a sample's bev frame, without augmentation."""
        ego_from_bev = self.options.card.bev.ego_from_bev.matrix()
        return np.asarray(self.global_from_ego(sample) @ ego_from_bev)

    def boxes_of(self, sample: int) -> Detections:
        """Return a sample's ground truth in its bev frame, without augmentation.

        Labels are in the card's order; a velocity that the benchmark does not define is NaN.
        """
        index = self.index
        of_sample = index.boxes_of(sample)
        labels = self._labels[index.box_labels[of_sample]]
        kept = (labels >= 0) & (index.box_points[of_sample] >= self.options.min_points)
        bev_from_global = inverse(self.global_from_bev(sample))
        rotation = bev_from_global[:3, :3]
        box_poses = [
            rotation @ pose_matrix(np.array([*q, 0.0, 0.0, 0.0]))[:3, :3]
            for q in index.box_rotations[of_sample][kept]
        ]
        velocities = index.box_velocities_mps[of_sample][kept] @ rotation.T
        return Detections(
            frame=BEV_FRAME,
            stamp_ns=int(index.sample_stamps_ns[sample]),
            centers_m=transform_points(bev_from_global, index.box_centers_m[of_sample][kept]),
            sizes_lwh_m=index.box_sizes_lwh_m[of_sample][kept],
            yaws_rad=np.array([yaw_of_rotation(pose) for pose in box_poses]),
            velocities_mps=velocities[:, :2],
            scores=np.ones(int(kept.sum())),
            labels=labels[kept],
            class_names=self.options.card.classes,
        )

    def _sample(self, sample: int, draw: int) -> Sample:
        options = self.options
        view = draw % options.views if options.views else FREE_VIEW
        variation = [0, view, sample] if options.views else [options.seed, draw, sample]
        rng = np.random.default_rng(variation)
        bev_from_global = inverse(self.global_from_bev(sample))
        augmented_from_bev = np.eye(4)
        if options.scene is not None:
            augmented_from_bev = random_augmented_from_bev(options.scene, rng)
        bev_from_global = augmented_from_bev @ bev_from_global
        images, input_from_cam = self._images(sample, rng)
        bev_from_cam = np.stack(
            [
                bev_from_global
                @ pose_matrix(self.index.poses[sample, camera])
                @ pose_matrix(self.index.mountings[sample, camera])
                for camera in self._cameras
            ]
        )
        cam_from_bev = np.linalg.inv(bev_from_cam)
        return Sample(
            token=str(self.index.tokens[sample]),
            images=images,
            tables=self._tables(bev_from_cam, input_from_cam),
            points=self._points(sample, bev_from_global, rng),
            input_from_bev=input_from_cam @ cam_from_bev[:, :3],
            boxes=self._inside(augment_boxes(augmented_from_bev, self.boxes_of(sample))),
            view=view,
        )

    def _images(self, sample: int, rng: np.random.Generator) -> tuple[ImageArray, FloatArray]:
        inputs, matrices = [], []
        for camera in self._cameras:
            token = str(self.index.tokens[sample])
            name = self.index.files[sample, camera].decode()
            path = self.dataroot / name
            if not name:
                raise BrokenSampleError(token, path, f"has no {CAMERA_CHANNELS[camera]} image")
            height, width = (int(size) for size in self.index.image_hw[sample, camera])
            if self.options.images is None:
                input_from_image = self.rule.input_from_image((height, width))
                pixels = plain_input(path, token, self.rule, (height, width))
            else:
                input_from_image = random_input_from_image(
                    self.options.images, self.rule, (height, width), rng
                )
                pixels = warped_input(
                    path,
                    token,
                    input_from_image,
                    input_hw=self.rule.input_hw,
                    image_hw=(height, width),
                )
                pixels = jitter_colors(pixels, self.options.images, rng)
            inputs.append(pixels)
            matrices.append(input_from_image @ self.index.intrinsics[sample, camera])
        return np.stack(inputs), np.stack(matrices)

    def _tables(self, bev_from_cam: FloatArray, input_from_cam: FloatArray) -> PoolingTables:
        return self.options.card.pooling_tables(bev_from_cam, input_from_cam)

    def _points(
        self, sample: int, bev_from_global: FloatArray, rng: np.random.Generator
    ) -> Float32Array:
        options = self.options
        if options.lidar is None:
            return np.zeros((0, 5), dtype=np.float32)
        return accumulated_points(
            self.index,
            sample,
            self.dataroot,
            bev_from_global,
            options.lidar,
            rng if options.random_sweeps else None,
        )

    def _inside(self, boxes: Detections) -> Detections:
        """Return the boxes whose centre lies on the grid."""
        grid = self.options.card.bev.grid
        low = np.array([grid.x_m[0], grid.y_m[0]])
        high = np.array([grid.x_m[1], grid.y_m[1]])
        centers = boxes.centers_m[:, :2]
        return boxes.select(((centers >= low) & (centers < high)).all(axis=1))
