# SPDX-License-Identifier: Apache-2.0
"""Detections as a nuScenes detection submission.

Records are in the global frame: geometric centre, size (w, l, h), rotation (w, x, y, z), velocity
(vx, vy). Boxes beyond their class's range of the vehicle are left out, then all but the best 500.
Attributes are not predicted; they follow from class and speed by the rule of `attribute_of`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from simdistill_ros.core.boxes import Detections
from simdistill_ros.core.frames import (
    FloatArray,
    quaternion_from_rotation,
    rotation_about_z,
    transform_points,
)

MAX_BOXES_PER_SAMPLE = 500
MOVING_SPEED_MPS = 0.2

CLASS_RANGE_M: dict[str, float] = {
    "car": 50.0,
    "truck": 50.0,
    "bus": 50.0,
    "trailer": 50.0,
    "construction_vehicle": 50.0,
    "pedestrian": 40.0,
    "motorcycle": 40.0,
    "bicycle": 40.0,
    "traffic_cone": 30.0,
    "barrier": 30.0,
}

# Class -> attribute when moving, when standing.
_ATTRIBUTES: dict[str, tuple[str, str]] = {
    "car": ("vehicle.moving", "vehicle.parked"),
    "truck": ("vehicle.moving", "vehicle.parked"),
    "trailer": ("vehicle.moving", "vehicle.parked"),
    "construction_vehicle": ("vehicle.moving", "vehicle.parked"),
    "bus": ("vehicle.moving", "vehicle.stopped"),
    "motorcycle": ("cycle.with_rider", "cycle.without_rider"),
    "bicycle": ("cycle.with_rider", "cycle.without_rider"),
    "pedestrian": ("pedestrian.moving", "pedestrian.standing"),
    "barrier": ("", ""),
    "traffic_cone": ("", ""),
}

CAMERA_ONLY_META = {
    "use_camera": True,
    "use_lidar": False,
    "use_radar": False,
    "use_map": False,
    "use_external": False,
}

Record = dict[str, Any]


def attribute_of(class_name: str, speed_mps: float) -> str:
    """Return the attribute of a class at a speed over ground; faster than 0.2 m/s is moving."""
    moving, standing = _ATTRIBUTES[class_name]
    return moving if speed_mps > MOVING_SPEED_MPS else standing


def records_from_detections(
    detections: Detections,
    sample_token: str,
    *,
    global_from_frame: FloatArray,
    ego_from_frame: FloatArray,
) -> list[Record]:
    """Return a sample's records, best score first.

    Args:
        detections: Boxes in some frame, of nuScenes' ten classes.
        sample_token: The sample they answer.
        global_from_frame: (4, 4), from the boxes' frame; a tilt goes into the rotations.
        ego_from_frame: (4, 4), to the vehicle at the time that class ranges are measured.

    Raises:
        ValueError: If a class is not one of the benchmark's.
    """
    unknown = sorted(set(detections.names()) - set(CLASS_RANGE_M))
    if unknown:
        raise ValueError(f"expected nuScenes classes, got {', '.join(unknown)}")
    centers_ego = transform_points(ego_from_frame, detections.centers_m)
    ranges_m = np.array([CLASS_RANGE_M[name] for name in detections.names()])
    in_range = np.linalg.norm(centers_ego[:, :2], axis=1) <= ranges_m
    order = np.argsort(-detections.scores, kind="stable")
    best = order[in_range[order]][:MAX_BOXES_PER_SAMPLE]
    return _records(detections.select(best), sample_token, global_from_frame)


def _records(
    detections: Detections, sample_token: str, global_from_frame: FloatArray
) -> list[Record]:
    rotation = global_from_frame[:3, :3]
    centers = transform_points(global_from_frame, detections.centers_m)
    velocities = np.pad(detections.velocities_mps, ((0, 0), (0, 1))) @ rotation.T
    records = []
    for index, name in enumerate(detections.names()):
        global_from_box = rotation @ rotation_about_z(detections.yaws_rad[index])
        velocity = velocities[index, :2]
        length, width, height = detections.sizes_lwh_m[index].tolist()
        records.append(
            {
                "sample_token": sample_token,
                "translation": centers[index].tolist(),
                "size": [width, length, height],
                "rotation": quaternion_from_rotation(global_from_box).tolist(),
                "velocity": velocity.tolist(),
                "detection_name": name,
                "detection_score": float(detections.scores[index]),
                "attribute_name": attribute_of(name, float(np.linalg.norm(velocity))),
            }
        )
    return records


def write_submission(
    path: Path, results: Mapping[str, list[Record]], *, use_lidar: bool = False
) -> None:
    """Write sample token -> records, saying that cameras, and LiDAR or not, were used."""
    meta = {**CAMERA_ONLY_META, "use_lidar": use_lidar}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"meta": meta, "results": dict(results)}))
