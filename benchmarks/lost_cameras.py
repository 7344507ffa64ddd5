# SPDX-License-Identifier: Apache-2.0
"""Snapshots of a data set with cameras taken away, as RoboBEV's Camera Crash and Frame Lost do.

Camera Crash: the same cameras are gone in all samples of a scene. Frame Lost: each image is lost by
chance. Every choice depends on seed, scene, sample and camera alone, so that all policies lose the
same images.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from simdistill_ros.core.frames import inverse
from simdistill_ros.core.images import decode_jpeg_png
from simdistill_ros.core.snapshot import Snapshot, View
from simdistill_ros.replay.nuscenes_reader import (
    SensorRecord,
    camera_records_of_sample,
    sensor_record,
)


@dataclass(frozen=True)
class Loss:
    """What is lost.

    Attributes:
        name: In words.
        crashed: Cameras that a scene never has.
        frame_lost: Chance of each image to be lost.
        seed: Another one loses others.
        hold_ns: Greatest age of an image that is held.
    """

    name: str
    crashed: int = 0
    frame_lost: float = 0.0
    seed: int = 0
    hold_ns: int = 600_000_000

    def cameras(self, scene: str, token: str, cameras: Sequence[str]) -> tuple[str, ...]:
        """Return the cameras that a sample lacks, at least one is left."""
        by_chance = sorted(cameras, key=lambda camera: self._chance(scene, camera))
        lost = set(by_chance[: self.crashed])
        lost |= {camera for camera in cameras if self.is_frame_lost(token, camera)}
        if len(lost) == len(cameras):
            lost.discard(by_chance[-1])
        return tuple(camera for camera in cameras if camera in lost)

    def is_frame_lost(self, token: str, camera: str) -> bool:
        """Tell whether a camera's image of a sample, or sweep, was lost by chance."""
        return self._chance(token, camera) < self.frame_lost

    def _chance(self, *key: str) -> float:
        text = " ".join((str(self.seed), *key))
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


def blanked(snapshot: Snapshot, lost: Sequence[str]) -> Snapshot:
    """Return the snapshot without cameras, and saying so."""
    views = tuple(view for view in snapshot.views if view.camera not in lost)
    return replace(snapshot, views=views, missing=tuple(lost))


def blackened(snapshot: Snapshot, lost: Sequence[str]) -> Snapshot:
    """Return the snapshot with black pictures, as if they were what the cameras saw."""
    views = (
        replace(view, image=np.zeros_like(view.image)) if view.camera in lost else view
        for view in snapshot.views
    )
    return replace(snapshot, views=tuple(views))


def held(nusc: Any, token: str, snapshot: Snapshot, loss: Loss, lost: Sequence[str]) -> Snapshot:
    """Return the snapshot with each lost camera's last image, placed where it was taken.

    Cameras that crashed, or whose last image is older than `loss.hold_ns`, are missing.
    """
    records = camera_records_of_sample(nusc, token)
    newest = max((records[v.camera] for v in snapshot.views), key=lambda record: record.stamp_ns)
    ego_from_global = inverse(newest.global_from_ego)
    views, stand_ins = [], []
    for view in snapshot.views:
        if view.camera not in lost:
            views.append(view)
            continue
        record = _last_image(nusc, token, view.camera, loss, snapshot.stamp_ns)
        if record is None or record.calibration is None:
            continue
        pose = ego_from_global @ record.global_from_ego @ record.ego_from_sensor
        image = decode_jpeg_png(record.path.read_bytes())
        views.append(View(view.camera, record.stamp_ns, image, record.calibration, pose))
        stand_ins.append(view.camera)
    missing = tuple(camera for camera in lost if camera not in stand_ins)
    return Snapshot(snapshot.stamp_ns, tuple(views), missing, tuple(stand_ins))


def _last_image(
    nusc: Any, token: str, camera: str, loss: Loss, stamp_ns: int
) -> SensorRecord | None:
    """Return the newest image of a camera before a sample that was not lost, if young enough."""
    if loss.crashed:
        return None
    row = nusc.get("sample_data", nusc.get("sample", token)["data"][camera.upper()])
    while row["prev"]:
        row = nusc.get("sample_data", row["prev"])
        record = sensor_record(nusc, row["token"])
        if stamp_ns - record.stamp_ns > loss.hold_ns:
            return None
        key = row["sample_token"] if row["is_key_frame"] else row["token"]
        if not loss.is_frame_lost(key, camera):
            return record
    return None
