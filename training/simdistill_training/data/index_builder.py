# SPDX-License-Identifier: Apache-2.0
"""Tables → `DatasetIndex`. One pass over every table, no row kept that is not needed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from nuscenes.eval.detection.utils import category_to_detection_name

from simdistill_ros.command_line.terminal import progress_bar
from simdistill_ros.core.boxes import NUSCENES_CLASSES
from simdistill_training.data.index import (
    CAMERA_CHANNELS,
    CHANNELS,
    LIDAR,
    MAX_SWEEPS,
    DatasetIndex,
)
from simdistill_training.data.tables import TABLES, Row, table_file, table_rows

NANOSECONDS_PER_MICROSECOND = 1000
# The devkit's rule: positions further apart in time say nothing about velocity.
MAX_VELOCITY_GAP_S = 1.5

Read = Callable[[str], Iterator[Row]]


def build_index(dataroot: Path, version: str) -> DatasetIndex:
    """Read the tables of a dataroot.

    Raises:
        TablesError: If a table is missing or damaged.
    """
    files = {table: table_file(dataroot, version, table) for table in TABLES}
    total = sum(file.stat().st_size for file in files.values())
    with progress_bar(f"index {version}", total) as bar:

        def read(table: str) -> Iterator[Row]:
            return table_rows(files[table], bar.update)

        samples, scene_names = _samples(read)
        measurements = _measurements(read, {row["token"]: row for row in samples})
        annotations = _annotations(read, {row["token"]: row["timestamp"] for row in samples})
    sensors = [_sensor_arrays(measurements.keyframes.get(row["token"], {})) for row in samples]
    sweeps = [_sweeps(measurements, row["token"]) for row in samples]
    flat_sweeps = [sweep for of_sample in sweeps for sweep in of_sample]
    boxes = [annotations.get(row["token"], []) for row in samples]
    flat_boxes = [box for of_sample in boxes for box in of_sample]
    return DatasetIndex(
        scene_names=np.array(scene_names, dtype=np.str_),
        tokens=np.array([row["token"] for row in samples], dtype=np.str_),
        scenes=np.array([row["scene_index"] for row in samples], dtype=np.int64),
        sample_stamps_ns=_nanoseconds([row["timestamp"] for row in samples]),
        **{name: np.array([arrays[name] for arrays in sensors]) for name in _SENSOR_SHAPES},
        sweep_offsets=_offsets(sweeps),
        sweep_files=np.array([s["file"] for s in flat_sweeps], dtype=np.bytes_),
        sweep_stamps_ns=np.array([s["stamp_ns"] for s in flat_sweeps], dtype=np.int64),
        sweep_poses=np.array([s["pose"] for s in flat_sweeps]).reshape(-1, 7),
        sweep_mountings=np.array([s["mounting"] for s in flat_sweeps]).reshape(-1, 7),
        box_offsets=_offsets(boxes),
        box_labels=np.array([b["label"] for b in flat_boxes], dtype=np.int64),
        box_centers_m=np.array([b["center"] for b in flat_boxes], dtype=float).reshape(-1, 3),
        box_sizes_lwh_m=np.array([b["size_lwh"] for b in flat_boxes], dtype=float).reshape(-1, 3),
        box_rotations=np.array([b["rotation"] for b in flat_boxes], dtype=float).reshape(-1, 4),
        box_velocities_mps=np.array([b["velocity"] for b in flat_boxes], dtype=float).reshape(
            -1, 3
        ),
        box_points=np.array([b["points"] for b in flat_boxes], dtype=np.int64),
    )


def _samples(read: Read) -> tuple[list[Row], list[str]]:
    """Return the samples in order, each with its `scene_index`, and the scenes' names."""
    names = {row["token"]: row["name"] for row in read("scene")}
    by_scene: dict[str, list[Row]] = defaultdict(list)
    for row in read("sample"):
        by_scene[row["scene_token"]].append(row)
    for rows in by_scene.values():
        rows.sort(key=lambda row: int(row["timestamp"]))
    order = sorted(by_scene, key=lambda token: int(by_scene[token][0]["timestamp"]))
    samples = [
        {**row, "scene_index": index}
        for index, token in enumerate(order)
        for row in by_scene[token]
    ]
    return samples, [names[token] for token in order]


class _Measurements:
    """Keyframe measurements by sample and channel, and the chain of LiDAR measurements."""

    def __init__(self) -> None:
        self.keyframes: dict[str, dict[str, Row]] = defaultdict(dict)
        self.lidar: dict[str, Row] = {}


def _measurements(read: Read, samples: dict[str, Row]) -> _Measurements:
    channels = {row["token"]: row["channel"] for row in read("sensor")}
    mountings = {row["token"]: row for row in read("calibrated_sensor")}
    # ego_pose is the larger table and is needed for a part of sample_data only, so it comes last.
    found = _Measurements()
    waiting: dict[str, list[Row]] = defaultdict(list)
    for row in read("sample_data"):
        mounting = mountings[row["calibrated_sensor_token"]]
        channel = channels[mounting["sensor_token"]]
        is_keyframe = row["is_key_frame"] and row["sample_token"] in samples
        if channel not in CHANNELS or not (is_keyframe or channel == CHANNELS[LIDAR]):
            continue
        entry = {
            "file": row["filename"].encode(),
            "stamp_ns": int(row["timestamp"]) * NANOSECONDS_PER_MICROSECOND,
            "mounting": _pose_row(mounting),
            "intrinsics": mounting["camera_intrinsic"],
            "image_hw": (row["height"], row["width"]),
            "prev": row["prev"],
        }
        waiting[row["ego_pose_token"]].append(entry)
        if is_keyframe:
            found.keyframes[row["sample_token"]][channel] = entry
        if channel == CHANNELS[LIDAR]:
            found.lidar[row["token"]] = entry
    for row in read("ego_pose"):
        for entry in waiting.get(row["token"], ()):
            entry["pose"] = _pose_row(row)
    return found


def _sweeps(measurements: _Measurements, sample_token: str) -> list[Row]:
    """Return the LiDAR measurements before a sample's keyframe, newest first."""
    entry = measurements.keyframes.get(sample_token, {}).get(CHANNELS[LIDAR])
    sweeps: list[Row] = []
    while entry is not None and entry["prev"] and len(sweeps) < MAX_SWEEPS:
        entry = measurements.lidar.get(entry["prev"])
        if entry is not None:
            sweeps.append(entry)
    return sweeps


def _annotations(read: Read, sample_stamps_us: dict[str, int]) -> dict[str, list[Row]]:
    """Return the boxes of the benchmark's classes by sample."""
    classes = {row["token"]: category_to_detection_name(row["name"]) for row in read("category")}
    class_of = {row["token"]: classes[row["category_token"]] for row in read("instance")}
    by_sample: dict[str, list[Row]] = defaultdict(list)
    by_token: dict[str, Row] = {}
    for row in read("sample_annotation"):
        name = class_of[row["instance_token"]]
        if name not in NUSCENES_CLASSES or row["sample_token"] not in sample_stamps_us:
            continue
        width, length, height = row["size"]
        box = {
            "label": NUSCENES_CLASSES.index(name),
            "center": row["translation"],
            "size_lwh": (length, width, height),
            "rotation": row["rotation"],
            "points": row["num_lidar_pts"] + row["num_radar_pts"],
            "stamp_us": sample_stamps_us[row["sample_token"]],
            "prev": row["prev"],
            "next": row["next"],
        }
        by_token[row["token"]] = box
        by_sample[row["sample_token"]].append(box)
    for boxes in by_sample.values():
        for box in boxes:
            box["velocity"] = _velocity(box, by_token)
    return by_sample


def _velocity(box: Row, by_token: dict[str, Row]) -> list[float]:
    """Return the benchmark's velocity: neighbours' difference over time, NaN when too far apart."""
    last = by_token.get(box["next"], box)
    first = by_token.get(box["prev"], box)
    if last is first:
        return [np.nan] * 3
    gap_s = 1e-6 * (last["stamp_us"] - first["stamp_us"])
    is_centred = last is not box and first is not box
    if gap_s > MAX_VELOCITY_GAP_S * (2 if is_centred else 1):
        return [np.nan] * 3
    return [(b - a) / gap_s for a, b in zip(first["center"], last["center"], strict=True)]


_SENSOR_SHAPES: dict[str, tuple[int, ...]] = {
    "files": (7,),
    "stamps_ns": (7,),
    "poses": (7, 7),
    "mountings": (7, 7),
    "intrinsics": (6, 3, 3),
    "image_hw": (6, 2),
}


def _sensor_arrays(entries: dict[str, Row]) -> dict[str, Any]:
    """Return a sample's row of every per-sensor array; zeros for a missing sensor."""
    arrays: dict[str, Any] = {
        "files": [entries[c]["file"] if c in entries else b"" for c in CHANNELS],
        "stamps_ns": np.zeros(7, dtype=np.int64),
    }
    for name in ("poses", "mountings", "intrinsics"):
        arrays[name] = np.zeros(_SENSOR_SHAPES[name])
    arrays["image_hw"] = np.zeros(_SENSOR_SHAPES["image_hw"], dtype=np.int64)
    for index, channel in enumerate(CHANNELS):
        if channel not in entries:
            continue
        entry = entries[channel]
        arrays["stamps_ns"][index] = entry["stamp_ns"]
        arrays["poses"][index] = entry["pose"]
        arrays["mountings"][index] = entry["mounting"]
        if channel in CAMERA_CHANNELS:
            arrays["intrinsics"][index] = entry["intrinsics"]
            arrays["image_hw"][index] = entry["image_hw"]
    return arrays


def _pose_row(row: Row) -> list[float]:
    return [*row["rotation"], *row["translation"]]


def _offsets(lists: list[list[Row]]) -> Any:
    return np.cumsum([0] + [len(items) for items in lists], dtype=np.int64)


def _nanoseconds(stamps_us: list[int]) -> Any:
    return np.array(stamps_us, dtype=np.int64) * NANOSECONDS_PER_MICROSECOND
