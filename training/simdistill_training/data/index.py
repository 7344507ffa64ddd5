# SPDX-License-Identifier: Apache-2.0
"""Everything that training asks of a dataroot's tables, as arrays in one small file.

Built once (`find_or_build_index`), stored without pickle, rebuilt when the tables or the schema
change. nuScenes' conventions end here: stamps become nanoseconds, sizes (length, width, height);
poses stay (qw, qx, qy, qz, x, y, z) rows until a sample is asked for.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt

from simdistill_ros.core.frames import FloatArray, rigid, rotation_from_quaternion
from simdistill_training.data.tables import fingerprint

SCHEMA_VERSION = 1
CAMERA_CHANNELS = (
    "CAM_FRONT",
    "CAM_FRONT_RIGHT",
    "CAM_FRONT_LEFT",
    "CAM_BACK",
    "CAM_BACK_LEFT",
    "CAM_BACK_RIGHT",
)
LIDAR_CHANNEL = "LIDAR_TOP"
CHANNELS = (*CAMERA_CHANNELS, LIDAR_CHANNEL)
LIDAR = CHANNELS.index(LIDAR_CHANNEL)
MAX_SWEEPS = 10

Int64Array = npt.NDArray[np.int64]
TextArray = npt.NDArray[np.str_]
BytesArray = npt.NDArray[np.bytes_]


@dataclass(frozen=True)
class DatasetIndex:
    """The samples of a dataroot, ordered by scene start and time.

    S samples, 7 channels (`CHANNELS`), W LiDAR sweeps, M boxes. Ragged lists are
    `offsets[s]:offsets[s + 1]`. A channel that a sample lacks has an empty file name.

    Attributes:
        scene_names: Names of the scenes.
        tokens: (S,) sample tokens.
        scenes: (S,) index into `scene_names`.
        sample_stamps_ns: (S,) the samples' own times.
        files: (S, 7) paths below the dataroot, UTF-8.
        stamps_ns: (S, 7) when each sensor measured.
        poses: (S, 7, 7) global_from_ego at those times.
        mountings: (S, 7, 7) ego_from_sensor.
        intrinsics: (S, 6, 3, 3) image_from_cam.
        image_hw: (S, 6, 2) height and width, pixels.
        sweep_offsets: (S + 1,).
        sweep_files: (W,) newest first within a sample.
        sweep_stamps_ns: (W,).
        sweep_poses: (W, 7).
        sweep_mountings: (W, 7).
        box_offsets: (S + 1,).
        box_labels: (M,) index into `NUSCENES_CLASSES`.
        box_centers_m: (M, 3), global.
        box_sizes_lwh_m: (M, 3).
        box_rotations: (M, 4) quaternions, global.
        box_velocities_mps: (M, 3), global; NaN where the benchmark defines none.
        box_points: (M,) LiDAR and radar points inside.
    """

    scene_names: TextArray
    tokens: TextArray
    scenes: Int64Array
    sample_stamps_ns: Int64Array
    files: BytesArray
    stamps_ns: Int64Array
    poses: FloatArray
    mountings: FloatArray
    intrinsics: FloatArray
    image_hw: Int64Array
    sweep_offsets: Int64Array
    sweep_files: BytesArray
    sweep_stamps_ns: Int64Array
    sweep_poses: FloatArray
    sweep_mountings: FloatArray
    box_offsets: Int64Array
    box_labels: Int64Array
    box_centers_m: FloatArray
    box_sizes_lwh_m: FloatArray
    box_rotations: FloatArray
    box_velocities_mps: FloatArray
    box_points: Int64Array

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.tokens)

    def boxes_of(self, sample: int) -> slice:
        """Return where a sample's boxes are."""
        return slice(int(self.box_offsets[sample]), int(self.box_offsets[sample + 1]))

    def sweeps_of(self, sample: int) -> slice:
        """Return where a sample's past LiDAR sweeps are, newest first."""
        return slice(int(self.sweep_offsets[sample]), int(self.sweep_offsets[sample + 1]))

    def samples_of_scenes(self, names: list[str]) -> Int64Array:
        """Return the samples of the named scenes.

        Raises:
            ValueError: If a scene is not in the index.
        """
        missing = sorted(set(names) - set(self.scene_names.tolist()))
        if missing:
            raise ValueError(f"expected scenes of the dataroot, got {', '.join(missing)}")
        wanted = [i for i, name in enumerate(self.scene_names.tolist()) if name in set(names)]
        return np.flatnonzero(np.isin(self.scenes, wanted)).astype(np.int64)


def pose_matrix(row: FloatArray) -> FloatArray:
    """Return the (4, 4) transform of a (qw, qx, qy, qz, x, y, z) row."""
    return rigid(rotation_from_quaternion(row[:4]), row[4:])


def find_or_build_index(dataroot: Path, version: str, cache_folder: Path) -> DatasetIndex:
    """Return the dataroot's index, from the cache when the tables are still the same.

    Args:
        dataroot: Folder with `<version>/*.json`; only read.
        version: Name of the tables' folder.
        cache_folder: Where the index file is kept.

    Raises:
        TablesError: If a table is missing or damaged.
    """
    from simdistill_training.data.index_builder import build_index

    tables_hash = fingerprint(dataroot, version)
    file = cache_folder / f"index-{version}-{tables_hash[:12]}-v{SCHEMA_VERSION}.npz"
    if file.is_file():
        return load_index(file)
    index = build_index(dataroot, version)
    save_index(file, index, {"tables": tables_hash, "version": version})
    return index


def save_index(file: Path, index: DatasetIndex, about: dict[str, str]) -> None:
    """Write an index; a reader never sees a half-written file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    arrays = {field.name: getattr(index, field.name) for field in fields(DatasetIndex)}
    header = json.dumps({"schema_version": SCHEMA_VERSION, **about})
    partial = file.with_name(f".{file.name}.{np.random.default_rng().integers(1 << 62)}.npz")
    np.savez_compressed(partial, header=np.array(header), **arrays)
    partial.replace(file)


def load_index(file: Path) -> DatasetIndex:
    """Read an index.

    Raises:
        ValueError: If the file is not an index of this schema.
    """
    with np.load(file, allow_pickle=False) as data:
        header = json.loads(str(data["header"])) if "header" in data else {}
        if header.get("schema_version") != SCHEMA_VERSION:
            raise ValueError(
                f"{file}: expected an index of schema {SCHEMA_VERSION}, "
                f"got {header.get('schema_version')}; delete the file"
            )
        return DatasetIndex(**{field.name: data[field.name] for field in fields(DatasetIndex)})
