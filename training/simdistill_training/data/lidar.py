# SPDX-License-Identifier: Apache-2.0
"""LiDAR points of a keyframe and of sweeps before it, in one frame at one time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from simdistill_ros.core.frames import FloatArray, transform_points
from simdistill_training.data.errors import BrokenSampleError
from simdistill_training.data.images import read_file
from simdistill_training.data.index import LIDAR, DatasetIndex, pose_matrix

Float32Array = npt.NDArray[np.float32]

VALUES_PER_POINT = 5  # x, y, z, intensity, ring
OWN_VEHICLE_M = 1.0


@dataclass(frozen=True)
class LidarOptions:
    """Which measurements are accumulated.

    Attributes:
        sweeps: Past sweeps besides the keyframe.
        max_age_s: Older sweeps are left out.
        has_intensity: Whether intensities are given to the teacher; else they are zero.
    """

    sweeps: int = 9
    max_age_s: float = 0.6
    has_intensity: bool = True


def accumulated_points(
    index: DatasetIndex,
    sample: int,
    dataroot: Path,
    bev_from_global: FloatArray,
    options: LidarOptions,
    rng: np.random.Generator | None = None,
) -> Float32Array:
    """Return the points around a keyframe, each moved with the vehicle's motion.

    Args:
        index: The dataroot's index.
        sample: Which sample.
        dataroot: Where the files are.
        bev_from_global: (4, 4), into the frame of the result.
        options: Which measurements.
        rng: Picks the sweeps at random among those stored; None takes the newest.

    Returns:
        (P, 5) float32: x, y, z in metres, intensity, and seconds before the keyframe.

    Raises:
        BrokenSampleError: If a file is missing or damaged.
    """
    token = str(index.tokens[sample])
    key_stamp_ns = int(index.stamps_ns[sample, LIDAR])
    clouds = [
        _cloud(
            dataroot / index.files[sample, LIDAR].decode(),
            token,
            bev_from_global @ pose_matrix(index.poses[sample, LIDAR]),
            pose_matrix(index.mountings[sample, LIDAR]),
        )
    ]
    for sweep in chosen_sweeps(index, sample, options, rng):
        age_s = (key_stamp_ns - int(index.sweep_stamps_ns[sweep])) * 1e-9
        clouds.append(
            _cloud(
                dataroot / index.sweep_files[sweep].decode(),
                token,
                bev_from_global @ pose_matrix(index.sweep_poses[sweep]),
                pose_matrix(index.sweep_mountings[sweep]),
                age_s=age_s,
            )
        )
    points = np.concatenate(clouds)
    if not options.has_intensity:
        points[:, 3] = 0.0
    return points


def chosen_sweeps(
    index: DatasetIndex, sample: int, options: LidarOptions, rng: np.random.Generator | None
) -> list[int]:
    """Return which sweeps of a sample are used, newest first."""
    of_sample = index.sweeps_of(sample)
    stored = np.arange(of_sample.start, of_sample.stop)
    ages_s = (index.stamps_ns[sample, LIDAR] - index.sweep_stamps_ns[stored]) * 1e-9
    stored = stored[ages_s <= options.max_age_s]
    count = min(options.sweeps, len(stored))
    if rng is None:
        return [int(sweep) for sweep in stored[:count]]
    return sorted(int(sweep) for sweep in rng.choice(stored, count, replace=False))


def _cloud(
    path: Path,
    token: str,
    bev_from_ego: FloatArray,
    ego_from_lidar: FloatArray,
    age_s: float | None = None,
) -> Float32Array:
    """Return one measurement's points; a sweep's (with an age) without the vehicle's own."""
    data = read_file(path, token)
    if len(data) % (4 * VALUES_PER_POINT):
        raise BrokenSampleError(
            token, path, f"expected points of {VALUES_PER_POINT} floats, got {len(data)} bytes"
        )
    raw = np.frombuffer(data, dtype=np.float32).reshape(-1, VALUES_PER_POINT)
    kept = np.isfinite(raw[:, :4]).all(axis=1)
    if age_s is not None:
        kept &= (np.abs(raw[:, :2]) >= OWN_VEHICLE_M).any(axis=1)
    raw = raw[kept]
    points = np.empty((len(raw), 5), dtype=np.float32)
    points[:, :3] = transform_points(bev_from_ego @ ego_from_lidar, raw[:, :3])
    points[:, 3] = raw[:, 3]
    points[:, 4] = age_s or 0.0
    return points
