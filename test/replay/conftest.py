# SPDX-License-Identifier: Apache-2.0
"""A nuScenes dataroot of a few kilobytes whose every number is known.

One scene, three keyframes half a second apart, six 64x36 cameras that fire one after the other up
to 43 ms before the LiDAR, one sweep between keyframes. The vehicle starts at (100, 200), faces
north (yaw 90 degrees) and drives at 10 m/s. A parked car stands 20 m ahead of its start, a
pedestrian walks east at 1 m/s, a car without a single point is not to be scored.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest

START_US = 1_600_000_000_000_000
KEYFRAME_US = 500_000
# Channel -> time before the LiDAR's, yaw of its optical axis in degrees.
CAMERAS = {
    "CAM_FRONT": (35_000, 0),
    "CAM_FRONT_RIGHT": (27_000, -60),
    "CAM_FRONT_LEFT": (43_000, 60),
    "CAM_BACK": (8_000, 180),
    "CAM_BACK_LEFT": (1_000, 110),
    "CAM_BACK_RIGHT": (17_000, -110),
}


def quaternion_about_z(degrees):
    half = math.radians(degrees) / 2
    return np.array([math.cos(half), 0.0, 0.0, math.sin(half)])


def multiply(a, b):
    w = a[0] * b[0] - a[1:] @ b[1:]
    return np.array([w, *(a[0] * b[1:] + b[0] * a[1:] + np.cross(a[1:], b[1:]))])


# Takes x right, y down, z forward to x forward, y left, z up.
OPTICAL_QUATERNION = np.array([0.5, -0.5, 0.5, -0.5])


class TableWriter:
    """Collects the rows of the thirteen tables."""

    def __init__(self, root: Path) -> None:
        self.root = root
        names = (
            "attribute calibrated_sensor category ego_pose instance log map sample "
            "sample_annotation sample_data scene sensor visibility"
        )
        self.tables = {name: [] for name in names.split()}

    def add(self, table, token, **row):
        self.tables[table].append({"token": token, **row})
        return token

    def write(self, version):
        folder = self.root / version
        folder.mkdir()
        for name, rows in self.tables.items():
            (folder / f"{name}.json").write_text(json.dumps(rows))


def build_dataroot(root: Path) -> Path:
    tables = TableWriter(root)
    _fixed_rows(tables)
    for channel in (*CAMERAS, "LIDAR_TOP"):
        _sensor_rows(tables, channel)
    for index in range(3):
        tables.add(
            "sample",
            f"sample_{index}",
            timestamp=START_US + index * KEYFRAME_US,
            prev=f"sample_{index - 1}" if index else "",
            next=f"sample_{index + 1}" if index < 2 else "",
            scene_token="scene",
        )
    _annotation_rows(tables)
    tables.write("v1.0-tiny")
    return root


def _fixed_rows(tables):
    (tables.root / "maps").mkdir()
    cv2.imwrite(str(tables.root / "maps" / "map.png"), np.zeros((4, 4), np.uint8))
    tables.add("map", "map", log_tokens=["log"], category="semantic_prior", filename="maps/map.png")
    tables.add("log", "log", logfile="l", vehicle="v", date_captured="2020-09-13", location="here")
    tables.add("visibility", "4", level="v80-100", description="")
    tables.add("attribute", "parked", name="vehicle.parked", description="")
    tables.add("attribute", "walking", name="pedestrian.moving", description="")
    for name in ("vehicle.car", "human.pedestrian.adult", "animal"):
        tables.add("category", name, name=name, description="")
    tables.add(
        "scene",
        "scene",
        log_token="log",
        nbr_samples=3,
        first_sample_token="sample_0",
        last_sample_token="sample_2",
        name="scene-0001",
        description="",
    )


def _sensor_rows(tables, channel):
    is_camera = channel in CAMERAS
    lead_us, yaw = CAMERAS.get(channel, (0, -90))
    rotation = quaternion_about_z(yaw)
    intrinsics = []
    if is_camera:
        rotation = multiply(rotation, OPTICAL_QUATERNION)
        intrinsics = [[40.0, 0.0, 31.5], [0.0, 40.0, 17.5], [0.0, 0.0, 1.0]]
    modality = "camera" if is_camera else "lidar"
    tables.add("sensor", f"sensor_{channel}", channel=channel, modality=modality)
    tables.add(
        "calibrated_sensor",
        f"mounting_{channel}",
        sensor_token=f"sensor_{channel}",
        translation=[1.0, 0.25, 1.5],
        rotation=rotation.tolist(),
        camera_intrinsic=intrinsics,
    )
    count = 5  # keyframe, sweep, keyframe, sweep, keyframe
    for index in range(count):
        stamp_us = START_US + index * KEYFRAME_US // 2 - lead_us
        token = f"{channel}_{index}"
        elapsed_s = (stamp_us - START_US) / 1e6
        tables.add(
            "ego_pose",
            f"pose_{token}",
            timestamp=stamp_us,
            rotation=quaternion_about_z(90).tolist(),
            translation=[100.0, 200.0 + 10.0 * elapsed_s, 0.0],
        )
        folder = "samples" if index % 2 == 0 else "sweeps"
        suffix = "jpg" if is_camera else "pcd.bin"
        filename = f"{folder}/{channel}/{token}.{suffix}"
        _write_measurement(tables.root / filename, index, is_camera)
        tables.add(
            "sample_data",
            token,
            sample_token=f"sample_{(index + 1) // 2}",
            ego_pose_token=f"pose_{token}",
            calibrated_sensor_token=f"mounting_{channel}",
            timestamp=stamp_us,
            fileformat=suffix.split(".")[0],
            is_key_frame=index % 2 == 0,
            height=36 if is_camera else 0,
            width=64 if is_camera else 0,
            filename=filename,
            prev=f"{channel}_{index - 1}" if index else "",
            next=f"{channel}_{index + 1}" if index < count - 1 else "",
        )


def _write_measurement(path, index, is_camera):
    path.parent.mkdir(parents=True, exist_ok=True)
    if is_camera:
        noise = np.random.default_rng(index).integers(0, 255, (36, 64, 3), np.uint8)
        cv2.imwrite(str(path), noise)
    else:
        np.array([[1, 2, 3, 0.5, 7], [4, 5, 6, 0.25, 31]], "<f4").tofile(path)


def _annotation_rows(tables):
    objects = {
        "car": ("vehicle.car", "parked", (100.0, 220.0, 0.8), (0.0, 0.0), 12),
        "walker": ("human.pedestrian.adult", "walking", (95.0, 210.0, 0.9), (1.0, 0.0), 5),
        "hidden": ("vehicle.car", "parked", (103.0, 215.0, 0.8), (0.0, 0.0), 0),
        "dog": ("animal", None, (98.0, 206.0, 0.3), (0.0, 0.0), 3),
    }
    for name, (category, attribute, start, velocity, points) in objects.items():
        tables.add(
            "instance",
            name,
            category_token=category,
            nbr_annotations=3,
            first_annotation_token=f"{name}_0",
            last_annotation_token=f"{name}_2",
        )
        for index in range(3):
            moved = np.array(start) + np.array([*velocity, 0.0]) * index * 0.5
            tables.add(
                "sample_annotation",
                f"{name}_{index}",
                sample_token=f"sample_{index}",
                instance_token=name,
                visibility_token="4",
                attribute_tokens=[attribute] if attribute else [],
                translation=moved.tolist(),
                size=[2.0, 4.0, 1.6],
                rotation=quaternion_about_z(180).tolist(),
                prev=f"{name}_{index - 1}" if index else "",
                next=f"{name}_{index + 1}" if index < 2 else "",
                num_lidar_pts=points,
                num_radar_pts=0,
            )


@pytest.fixture(scope="session")
def tiny_dataroot(tmp_path_factory) -> Path:
    return build_dataroot(tmp_path_factory.mktemp("nuscenes"))


@pytest.fixture(scope="session")
def tiny_nusc(tiny_dataroot):
    from simdistill_ros.replay.nuscenes_reader import load_nuscenes

    return load_nuscenes(tiny_dataroot, "v1.0-tiny")


@pytest.fixture(scope="session")
def tiny_replay(tiny_dataroot, tmp_path_factory):
    """The tiny scene played to the oracle and recorded with overlays: `folder` and `result`."""
    from types import SimpleNamespace

    from simdistill_ros.replay.options import ReplayOptions
    from simdistill_ros.replay.run import run_replay

    folder = tmp_path_factory.mktemp("recorded")
    options = ReplayOptions(
        out=folder,
        dataroot=tiny_dataroot,
        version="v1.0-tiny",
        oracle=True,
        record=True,
        overlays=True,
    )
    return SimpleNamespace(folder=folder, result=run_replay(options))


@pytest.fixture(scope="session")
def recording(tiny_replay):
    from simdistill_ros.replay.bag_storage import Bag

    return Bag(tiny_replay.folder / "recording" / "scene-0001")
