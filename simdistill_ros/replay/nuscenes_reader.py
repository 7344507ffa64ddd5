# SPDX-License-Identifier: Apache-2.0
"""Thin access to a nuScenes dataroot: devkit tables in, the project's value types out.

nuScenes' names (`CAM_FRONT`, microseconds, (w, l, h)) stop here. Ground truths are the boxes the
detection benchmark scores: its ten classes, at least one LiDAR or radar point.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from nuscenes.eval.detection.utils import category_to_detection_name
from nuscenes.nuscenes import NuScenes
from nuscenes.utils.splits import create_splits_scenes, get_scenes_of_split

from simdistill_ros.core.boxes import (
    NUSCENES_CLASSES,
    Detections,
    empty_detections,
    transform_detections,
)
from simdistill_ros.core.camera import CameraCalibration
from simdistill_ros.core.frames import (
    EGO_FRAME,
    GLOBAL_FRAME,
    FloatArray,
    inverse,
    rigid,
    rotation_from_quaternion,
    yaw_of_rotation,
)
from simdistill_ros.core.images import decode_jpeg_png
from simdistill_ros.core.snapshot import Snapshot, View
from simdistill_ros.replay.pose_track import PoseTrack, pose_track
from simdistill_ros.replay.sample_record import SampleRecord

CAMERA_CHANNELS = (
    "CAM_FRONT",
    "CAM_FRONT_RIGHT",
    "CAM_FRONT_LEFT",
    "CAM_BACK",
    "CAM_BACK_LEFT",
    "CAM_BACK_RIGHT",
)
LIDAR_CHANNEL = "LIDAR_TOP"
NANOSECONDS_PER_MICROSECOND = 1000
LARGE_TABLE_BYTES = 100_000_000


@dataclass(frozen=True)
class SensorRecord:
    """One measurement of one sensor, keyframe or sweep.

    Attributes:
        channel: nuScenes channel, such as `CAM_FRONT`.
        stamp_ns: When it was taken.
        path: Its file.
        is_key_frame: Whether it belongs to an annotated sample.
        global_from_ego: (4, 4) vehicle pose at `stamp_ns`.
        ego_from_sensor: (4, 4) mounting.
        calibration: Intrinsics; None unless it is a camera.
    """

    channel: str
    stamp_ns: int
    path: Path
    is_key_frame: bool
    global_from_ego: FloatArray
    ego_from_sensor: FloatArray
    calibration: CameraCalibration | None

    @property
    def name(self) -> str:
        """Name of the sensor in ROS: the channel in lower case."""
        return self.channel.lower()


def load_nuscenes(dataroot: Path | str, version: str) -> NuScenes:
    """Return the devkit's tables.

    Raises:
        ValueError: If the folder holds no such version.
    """
    if not (Path(dataroot) / version / "sample.json").is_file():
        have = sorted(p.parent.name for p in Path(dataroot).glob("*/sample.json"))
        raise ValueError(
            f"dataroot {dataroot}: expected tables in {version}/, got {', '.join(have) or 'none'}; "
            "set --dataroot and --version"
        )
    # The devkit reports its progress on the large tables, which take most of a minute.
    is_slow = (Path(dataroot) / version / "sample_data.json").stat().st_size > LARGE_TABLE_BYTES
    return NuScenes(version=version, dataroot=str(dataroot), verbose=is_slow)


def select_scenes(
    nusc: NuScenes, split: str | None = None, scenes: Sequence[str] = ()
) -> list[str]:
    """Return names of the dataroot's scenes, oldest first: all, those of a split, or those named.

    Raises:
        ValueError: If a named scene is absent, the split is unknown, or nothing is left.
    """
    have = {scene["name"]: _start_ns(nusc, scene["name"]) for scene in nusc.scene}
    names = set(scenes) or set(have)
    missing = sorted(names - set(have))
    if missing:
        raise ValueError(f"no scene {', '.join(missing)} in {nusc.dataroot}; it has {sorted(have)}")
    if split:
        names &= _scenes_of_split(nusc, split)
    if not names:
        raise ValueError(f"no scene of {nusc.dataroot} ({sorted(have)}) is in split {split!r}")
    return sorted(names, key=lambda name: have[name])


def _scenes_of_split(nusc: NuScenes, split: str) -> set[str]:
    try:
        return set(get_scenes_of_split(split, nusc))
    except ValueError as error:
        known = ", ".join(create_splits_scenes())
        raise ValueError(f"split {split!r} is none of {known}, and: {error}") from error


def _scene(nusc: NuScenes, name: str) -> dict[str, str]:
    for scene in nusc.scene:
        if scene["name"] == name:
            return dict(scene)
    raise ValueError(f"no scene {name!r} in {nusc.dataroot}")


def _start_ns(nusc: NuScenes, scene: str) -> int:
    return sample_record(nusc, _scene(nusc, scene)["first_sample_token"]).stamp_ns


def samples_of_scene(nusc: NuScenes, scene: str) -> list[SampleRecord]:
    """Return the scene's keyframes in order."""
    samples = []
    token = _scene(nusc, scene)["first_sample_token"]
    while token:
        samples.append(sample_record(nusc, token))
        token = nusc.get("sample", token)["next"]
    return samples


def sample_record(nusc: NuScenes, token: str) -> SampleRecord:
    """Return one keyframe's token and times."""
    sample = nusc.get("sample", token)
    return SampleRecord(
        token=token,
        scene=nusc.get("scene", sample["scene_token"])["name"],
        stamp_ns=sample["timestamp"] * NANOSECONDS_PER_MICROSECOND,
        camera_stamps_ns={
            channel.lower(): _stamp_ns(nusc.get("sample_data", sample["data"][channel]))
            for channel in CAMERA_CHANNELS
            if channel in sample["data"]
        },
    )


def _stamp_ns(sample_data: dict[str, int]) -> int:
    return int(sample_data["timestamp"]) * NANOSECONDS_PER_MICROSECOND


def channels_of_scene(nusc: NuScenes, scene: str) -> list[str]:
    """Return the channels that the scene's first keyframe has."""
    data = nusc.get("sample", _scene(nusc, scene)["first_sample_token"])["data"]
    return sorted(data)


def records_of_channel(nusc: NuScenes, scene: str, channel: str) -> list[SensorRecord]:
    """Return everything a sensor measured in a scene, keyframes and sweeps, in order."""
    return [sensor_record(nusc, token) for token in _chain(nusc, scene, channel)]


def _chain(nusc: NuScenes, scene: str, channel: str) -> Iterator[str]:
    sample = nusc.get("sample", _scene(nusc, scene)["first_sample_token"])
    token = sample["data"][channel]
    while previous := nusc.get("sample_data", token)["prev"]:
        token = previous
    while token:
        yield token
        token = nusc.get("sample_data", token)["next"]


def sensor_record(nusc: NuScenes, token: str) -> SensorRecord:
    """Return one row of `sample_data` with its pose, mounting and intrinsics."""
    row = nusc.get("sample_data", token)
    mounting = nusc.get("calibrated_sensor", row["calibrated_sensor_token"])
    calibration = None
    if row["sensor_modality"] == "camera":
        k = np.array(mounting["camera_intrinsic"], dtype=np.float64)
        calibration = CameraCalibration(row["width"], row["height"], k)
    return SensorRecord(
        channel=row["channel"],
        stamp_ns=_stamp_ns(row),
        path=Path(nusc.dataroot) / row["filename"],
        is_key_frame=bool(row["is_key_frame"]),
        global_from_ego=_pose(nusc.get("ego_pose", row["ego_pose_token"])),
        ego_from_sensor=_pose(mounting),
        calibration=calibration,
    )


def _pose(record: dict[str, list[float]]) -> FloatArray:
    return rigid(rotation_from_quaternion(record["rotation"]), record["translation"])


def poses_of_scene(nusc: NuScenes, scene: str) -> PoseTrack:
    """Return the vehicle poses of every measurement of every sensor."""
    tokens = (
        token
        for channel in channels_of_scene(nusc, scene)
        for token in _chain(nusc, scene, channel)
    )
    rows = (nusc.get("sample_data", token) for token in tokens)
    return pose_track(
        (_stamp_ns(row), _pose(nusc.get("ego_pose", row["ego_pose_token"]))) for row in rows
    )


def camera_records_of_sample(nusc: NuScenes, token: str) -> dict[str, SensorRecord]:
    """Return camera name -> keyframe image of a sample."""
    data = nusc.get("sample", token)["data"]
    records = [sensor_record(nusc, data[channel]) for channel in CAMERA_CHANNELS if channel in data]
    return {record.name: record for record in records}


def snapshot_of_sample(
    nusc: NuScenes, token: str, cameras: Sequence[str], *, motion_compensated: bool = True
) -> Snapshot:
    """Return a keyframe's images as the node would have seen them, without ROS.

    Args:
        nusc: The devkit's tables.
        token: Sample token.
        cameras: Lower-case camera names.
        motion_compensated: Express each camera's pose in the ego frame of the snapshot's stamp
            (the node's `fixed_frame: map`) rather than of its own stamp (no `fixed_frame`).
    """
    records = camera_records_of_sample(nusc, token)
    newest = max((records[camera] for camera in cameras), key=lambda record: record.stamp_ns)
    views = []
    for camera in cameras:
        record = records[camera]
        assert record.calibration is not None
        ego_from_cam = record.ego_from_sensor
        if motion_compensated:
            ego_from_global = inverse(newest.global_from_ego)
            ego_from_cam = ego_from_global @ record.global_from_ego @ ego_from_cam
        image = decode_jpeg_png(record.path.read_bytes())
        views.append(View(camera, record.stamp_ns, image, record.calibration, ego_from_cam))
    return Snapshot(newest.stamp_ns, tuple(views))


def ground_truths_in_global(nusc: NuScenes, token: str) -> Detections:
    """Return a sample's scored annotations in the global frame, score 1, at the sample's time.

    Unknown velocities (an object annotated once) are zero; the benchmark ignores them.
    """
    stamp_ns = sample_record(nusc, token).stamp_ns
    annotations = []
    for annotation_token in nusc.get("sample", token)["anns"]:
        annotation = nusc.get("sample_annotation", annotation_token)
        name = category_to_detection_name(annotation["category_name"])
        points = annotation["num_lidar_pts"] + annotation["num_radar_pts"]
        if name in NUSCENES_CLASSES and points > 0:
            annotations.append((NUSCENES_CLASSES.index(name), annotation))
    if not annotations:
        return empty_detections(GLOBAL_FRAME, stamp_ns, NUSCENES_CLASSES)
    rotations = [rotation_from_quaternion(a["rotation"]) for _, a in annotations]
    velocities = np.array([nusc.box_velocity(a["token"])[:2] for _, a in annotations])
    return Detections(
        frame=GLOBAL_FRAME,
        stamp_ns=stamp_ns,
        centers_m=np.array([a["translation"] for _, a in annotations], dtype=np.float64),
        sizes_lwh_m=np.array([a["size"] for _, a in annotations], dtype=np.float64)[:, [1, 0, 2]],
        yaws_rad=np.array([yaw_of_rotation(rotation) for rotation in rotations]),
        velocities_mps=np.nan_to_num(velocities),
        scores=np.ones(len(annotations)),
        labels=np.array([label for label, _ in annotations], dtype=np.int64),
        class_names=NUSCENES_CLASSES,
    )


def ground_truths_of_sample(
    nusc: NuScenes, token: str, poses: PoseTrack, stamp_ns: int | None = None
) -> Detections:
    """Return a sample's ground truths in the ego frame of `stamp_ns` (default: the sample's).

    The boxes stand where they were annotated; only the frame is that of the other time.
    """
    ground_truths = ground_truths_in_global(nusc, token)
    stamp_ns = ground_truths.stamp_ns if stamp_ns is None else stamp_ns
    ego_from_global = inverse(poses.at(stamp_ns))
    moved = transform_detections(ego_from_global, ground_truths, EGO_FRAME)
    return replace(moved, stamp_ns=stamp_ns)
