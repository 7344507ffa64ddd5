# SPDX-License-Identifier: Apache-2.0
"""Keyframes of a nuScenes dataroot as the vehicle's backend takes them, and boxes back to scores.

Everything is done by the vehicle's own parts: decoding, preprocessing, geometry and box decoding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from simdistill_ros.core.backends.base import HeadMaps
from simdistill_ros.core.boxes import Detections, transform_detections
from simdistill_ros.core.decode import decode_head_maps
from simdistill_ros.core.frames import EGO_FRAME, FloatArray, inverse
from simdistill_ros.core.lift_geometry import PoolingTables
from simdistill_ros.core.model_card import ModelCard
from simdistill_ros.core.preprocess import InputRule, Preprocessor
from simdistill_ros.core.snapshot import ImageArray
from simdistill_ros.replay.evaluation import evaluate_submission
from simdistill_ros.replay.nuscenes_reader import (
    camera_records_of_sample,
    load_nuscenes,
    poses_of_scene,
    sample_record,
    samples_of_scene,
    select_scenes,
    snapshot_of_sample,
)
from simdistill_ros.replay.submission import Record, records_from_detections, write_submission

Records = dict[str, list[Record]]


@dataclass(frozen=True)
class FrameSource:
    """Which keyframes: those of a dataroot's split, at most `limit` of each scene."""

    dataroot: Path
    version: str
    split: str | None = None
    limit: int | None = None

    def __str__(self) -> str:
        """Return the choice in a few words, without naming the folder."""
        which = self.split or "all scenes"
        limit = f", {self.limit} keyframes a scene" if self.limit else ""
        return f"{which} of {self.dataroot.name}/{self.version}{limit}"


@dataclass(frozen=True)
class Frame:
    """One keyframe.

    Attributes:
        token: Sample token.
        stamp_ns: Of the newest camera; the boxes refer to it.
        files: The cameras' image files, in the card's order.
        images: (N, H, W, 3) uint8 RGB, the network's input.
        tables: Pooling tables.
        global_from_ego: (4, 4) at `stamp_ns`.
        sample_from_ego: (4, 4), from the ego frame of `stamp_ns` to that of the sample's time.
    """

    token: str
    stamp_ns: int
    files: tuple[Path, ...]
    images: ImageArray
    tables: PoolingTables
    global_from_ego: FloatArray
    sample_from_ego: FloatArray


class FrameReader:
    """Read frames for one model from one dataroot."""

    def __init__(self, card: ModelCard, source: FrameSource) -> None:
        """Read the dataroot's tables.

        Raises:
            ValueError: If the dataroot has no such version, split or scene.
        """
        self.card, self.source = card, source
        self.nusc: Any = load_nuscenes(source.dataroot, source.version)
        self.rule = input_rule(card)
        self._cameras = tuple(name.lower() for name in card.cameras)
        self._preprocess = Preprocessor(self.rule, self._cameras)
        self._poses = lru_cache(maxsize=2)(lambda scene: poses_of_scene(self.nusc, scene))
        scenes = select_scenes(self.nusc, source.split)
        chosen = [samples_of_scene(self.nusc, scene)[: source.limit] for scene in scenes]
        self.scenes = tuple(scenes)
        self.tokens = tuple(sample.token for samples in chosen for sample in samples)

    def __len__(self) -> int:
        """Return the number of keyframes."""
        return len(self.tokens)

    def read(self, token: str) -> Frame:
        """Return one keyframe.

        Raises:
            ImageError: If an image cannot be used.
            OSError: If a file is missing.
        """
        snapshot = snapshot_of_sample(self.nusc, token, self._cameras)
        prepared = self._preprocess(snapshot)
        bev_from_cam = inverse(self.card.bev.ego_from_bev.matrix()) @ prepared.ego_from_cam
        sample = sample_record(self.nusc, token)
        poses = self._poses(sample.scene)
        global_from_ego = poses.at(snapshot.stamp_ns)
        files = camera_records_of_sample(self.nusc, token)
        return Frame(
            token=token,
            stamp_ns=snapshot.stamp_ns,
            files=tuple(files[camera].path for camera in self._cameras),
            images=np.asarray(prepared.images),
            tables=self.card.pooling_tables(bev_from_cam, prepared.input_from_cam),
            global_from_ego=global_from_ego,
            sample_from_ego=inverse(poses.at(sample.stamp_ns)) @ global_from_ego,
        )

    def score(self, records: Mapping[str, Sequence[Record]], folder: Path) -> dict[str, Any]:
        """Return the benchmark's scores of records; leaves submission and details in a folder."""
        submission = folder / "results_nusc.json"
        write_submission(submission, {t: list(records.get(t, ())) for t in self.tokens})
        return evaluate_submission(self.nusc, submission, self.tokens, folder / "evaluation")

    def close(self) -> None:
        """End the threads."""
        self._preprocess.close()


def input_rule(card: ModelCard) -> InputRule:
    """Return how the card's network input is made of an image."""
    image = card.image
    return InputRule(image.input_hw, image.resized_width_px, image.resize_kernel)


def detections_of(
    head_maps: HeadMaps, card: ModelCard, frame: Frame, threshold: float | None = None
) -> Detections:
    """Return a frame's boxes in the ego frame, as the vehicle's detector would."""
    boxes = decode_head_maps(head_maps, card, stamp_ns=frame.stamp_ns, score_threshold=threshold)
    return transform_detections(card.bev.ego_from_bev.matrix(), boxes, EGO_FRAME)


def records_of(detections: Detections, frame: Frame) -> list[Record]:
    """Return a frame's submission records."""
    return records_from_detections(
        detections,
        frame.token,
        global_from_frame=frame.global_from_ego,
        ego_from_frame=frame.sample_from_ego,
    )
