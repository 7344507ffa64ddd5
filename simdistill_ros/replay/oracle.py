# SPDX-License-Identifier: Apache-2.0
"""The detector's node with ground truth in place of the network, to show that the frames are right.

Everything else is the real thing: images, synchroniser, CameraInfo, TF, messages. To make the score
depend on them, each box travels through the camera that sees it best: by the data set's calibration
into that camera's pixels, then out again by the intrinsics and the pose *the node received*.
A wrong transform, swapped cameras or a wrong stamp thus show as errors; with right ones the score
is that of ground truth. Snapshots between keyframes have no annotation and give an empty answer.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from simdistill_ros.core.boxes import (
    NUSCENES_CLASSES,
    Detections,
    IntArray,
    empty_detections,
    transform_detections,
)
from simdistill_ros.core.calibration_change import CameraGeometry
from simdistill_ros.core.camera import project_points
from simdistill_ros.core.frames import EGO_FRAME, FloatArray, inverse, transform_points
from simdistill_ros.core.snapshot import Snapshot, View
from simdistill_ros.detector_node import main as run_node
from simdistill_ros.parameters import NodeParameters
from simdistill_ros.replay.nuscenes_reader import (
    CAMERA_CHANNELS,
    SensorRecord,
    camera_records_of_sample,
    ground_truths_in_global,
    load_nuscenes,
    sample_record,
)


class OracleDetector:
    """Answers a snapshot with the ground truth of its keyframe."""

    def __init__(self, nusc: Any, *, motion_compensated: bool) -> None:
        """Index the keyframes by their reference stamp.

        Args:
            nusc: The devkit's tables.
            motion_compensated: Whether the node undoes ego motion between cameras (`fixed_frame`).
        """
        self._nusc = nusc
        self._motion_compensated = motion_compensated
        samples = (sample_record(nusc, sample["token"]) for sample in nusc.sample)
        self._tokens = {s.reference_stamp_ns(self.cameras): s.token for s in samples}

    @property
    def cameras(self) -> tuple[str, ...]:
        """All six."""
        return tuple(channel.lower() for channel in CAMERA_CHANNELS)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The benchmark's classes."""
        return NUSCENES_CLASSES

    @property
    def description(self) -> str:
        """What it is."""
        return f"ORACLE: ground truth of {len(self._tokens)} keyframes instead of a network"

    @property
    def durations_ns(self) -> dict[str, int]:
        """No stages."""
        return {}

    @property
    def input_rule(self) -> None:
        """It does not look at the images."""
        return None

    def detect(self, snapshot: Snapshot, score_threshold: float | None = None) -> Detections:
        """Return the keyframe's ground truths; none between keyframes."""
        token = self._tokens.get(snapshot.stamp_ns)
        if token is None:
            return empty_detections(EGO_FRAME, snapshot.stamp_ns, self.class_names)
        ground_truths = ground_truths_in_global(self._nusc, token)
        records = camera_records_of_sample(self._nusc, token)
        cams_from_global = {
            camera: inverse(self._pose(records, camera) @ records[camera].ego_from_sensor)
            for camera in self.cameras
        }
        chosen = best_cameras(ground_truths.centers_m, cams_from_global)
        parts = [
            _through_camera(
                ground_truths.select(chosen == index),
                cams_from_global[camera],
                records[camera],
                snapshot.view(camera),
            )
            for index, camera in enumerate(cams_from_global)
        ]
        return replace(_join(parts), frame=EGO_FRAME, stamp_ns=snapshot.stamp_ns)

    def _pose(self, records: dict[str, SensorRecord], camera: str) -> FloatArray:
        """Return the vehicle's pose for a camera: at its own time, or at the snapshot's."""
        if self._motion_compensated:
            return records[camera].global_from_ego
        return max(records.values(), key=lambda r: r.stamp_ns).global_from_ego

    def prepare_geometry(self, rig: Mapping[str, CameraGeometry]) -> None:
        """Do nothing: geometry plays no part."""

    def close(self) -> None:
        """Nothing to release."""


def best_cameras(centers_global: FloatArray, cams_from_global: dict[str, FloatArray]) -> IntArray:
    """Return for each point the index of the camera whose optical axis points closest to it."""
    cosines = []
    for cam_from_global in cams_from_global.values():
        centers_cam = transform_points(cam_from_global, centers_global)
        cosines.append(centers_cam[:, 2] / np.linalg.norm(centers_cam, axis=1))
    return np.asarray(np.argmax(np.array(cosines), axis=0))


def _through_camera(
    boxes_global: Detections, cam_from_global: FloatArray, record: SensorRecord, view: View
) -> Detections:
    assert record.calibration is not None
    pixels, depths_m = project_points(
        record.calibration.image_from_cam,
        transform_points(cam_from_global, boxes_global.centers_m),
    )
    homogeneous = np.concatenate([pixels, np.ones((len(pixels), 1))], axis=1)
    rays_cam = homogeneous @ np.linalg.inv(view.calibration.image_from_cam).T
    centers_ego = transform_points(view.ego_from_cam, rays_cam * depths_m[:, None])
    boxes_ego = transform_detections(view.ego_from_cam @ cam_from_global, boxes_global, EGO_FRAME)
    return replace(boxes_ego, centers_m=centers_ego)


def _join(parts: Sequence[Detections]) -> Detections:
    names = ("centers_m", "sizes_lwh_m", "yaws_rad", "velocities_mps", "scores", "labels")
    joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return replace(parts[0], **joined)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the detector's node with the oracle inside."""
    parser = argparse.ArgumentParser(prog="oracle", description=__doc__)
    parser.add_argument("--dataroot", type=Path, required=True)
    parser.add_argument("--version", required=True)
    arguments, ros_arguments = parser.parse_known_args(argv)
    nusc = load_nuscenes(arguments.dataroot, arguments.version)

    def make_oracle(parameters: NodeParameters) -> OracleDetector:
        return OracleDetector(nusc, motion_compensated=bool(parameters.fixed_frame))

    run_node([sys.argv[0], *ros_arguments], make_oracle)


if __name__ == "__main__":
    main()
