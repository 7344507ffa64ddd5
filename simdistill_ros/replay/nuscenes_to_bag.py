# SPDX-License-Identifier: Apache-2.0
"""Turn a nuScenes dataroot into rosbag2 bags (MCAP): one bag a scene, since scenes lie days apart.

Every message carries and is logged at the true time of its sensor:

    /cam_*/image_rect_compressed  CompressedImage   the file's bytes (--input compressed)
    /cam_*/image_rect             Image             rgb8 (--input raw)
    /cam_*/camera_info            CameraInfo        K, P = [K|0], R = I, no distortion
    /tf_static                    TFMessage         base_link -> every sensor, latched
    /tf                           TFMessage         map -> base_link, every ego pose
    /lidar_top                    PointCloud2       x y z intensity ring
    /nuscenes/ground_truth        Detection3DArray  base_link at the sample's time
    /nuscenes/ground_truth_markers  MarkerArray     the same as white edges
    /nuscenes/sample              String            JSON, see `sample_record.py`
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rosbags.interfaces import Qos

from simdistill_ros.command_line.parser import command_parser
from simdistill_ros.command_line.run import Outcome, run_command
from simdistill_ros.command_line.terminal import progress
from simdistill_ros.replay import nuscenes_messages as messages
from simdistill_ros.replay.bag_storage import BagWriter, bag_typestore, latched_qos, stream_qos
from simdistill_ros.replay.nuscenes_reader import (
    CAMERA_CHANNELS,
    LIDAR_CHANNEL,
    SensorRecord,
    channels_of_scene,
    ground_truths_of_sample,
    load_nuscenes,
    poses_of_scene,
    records_of_channel,
    samples_of_scene,
    select_scenes,
)
from simdistill_ros.replay.sample_record import SampleRecord

INPUTS = ("compressed", "raw")
TF_DEPTH = 1000


@dataclass(frozen=True)
class BagOptions:
    """What goes into a bag.

    Attributes:
        input: `compressed` or `raw` images.
        lidar: With LIDAR_TOP.
        keyframes: End after so many; None for the whole scene.
    """

    input: str = "compressed"
    lidar: bool = True
    keyframes: int | None = None


@dataclass(frozen=True)
class _Entry:
    """One message to come: made when it is written, so that a scene need not fit in memory."""

    stamp_ns: int
    order: int
    topic: str
    make: Any
    qos: Qos | None = None


def write_scene_bag(nusc: Any, scene: str, folder: Path, options: BagOptions) -> None:
    """Write one scene.

    Raises:
        FileExistsError: If the folder exists.
        FileNotFoundError: If an image or point cloud of the tables is not on disk.
    """
    samples = samples_of_scene(nusc, scene)[: options.keyframes]
    entries = sorted(
        _entries(nusc, scene, samples, options), key=lambda e: (e.stamp_ns, e.order, e.topic)
    )
    if options.keyframes is not None:
        end_ns = max(samples[-1].stamp_ns, *samples[-1].camera_stamps_ns.values())
        entries = [entry for entry in entries if entry.stamp_ns <= end_ns]
    with BagWriter(folder, bag_typestore()) as bag:
        for entry in progress(entries, f"bag of {scene}", len(entries)):
            bag.write(entry.topic, entry.stamp_ns, entry.make(), entry.qos)


def _entries(
    nusc: Any, scene: str, samples: Sequence[SampleRecord], options: BagOptions
) -> Iterator[_Entry]:
    poses = poses_of_scene(nusc, scene)
    present = channels_of_scene(nusc, scene)
    cameras = [channel for channel in CAMERA_CHANNELS if channel in present]
    records = {channel: records_of_channel(nusc, scene, channel) for channel in cameras}
    lidar = records_of_channel(nusc, scene, LIDAR_CHANNEL) if LIDAR_CHANNEL in present else []
    mountings = [r[0] for r in records.values()] + lidar[:1]
    start_ns = int(poses.stamps_ns[0])
    yield _Entry(
        start_ns,
        0,
        "/tf_static",
        lambda: messages.mountings_to_msg(mountings, start_ns),
        latched_qos(),
    )
    for stamp, pose in zip(poses.stamps_ns, poses.global_from_ego, strict=True):
        make = _later(messages.pose_to_msg, pose, int(stamp))
        yield _Entry(int(stamp), 1, "/tf", make, stream_qos(TF_DEPTH))
    for channel in cameras:
        yield from _camera_entries(records[channel], options.input)
    for record in lidar if options.lidar else []:
        yield _Entry(record.stamp_ns, 4, "/lidar_top", _later(messages.lidar_to_msg, record))
    for sample in samples:
        make = _later(messages.text_to_msg, sample.to_json())
        yield _Entry(sample.stamp_ns, 2, "/nuscenes/sample", make)
        for topic, convert in (
            ("/nuscenes/ground_truth", messages.detections_to_msg),
            ("/nuscenes/ground_truth_markers", messages.ground_truth_markers_to_msg),
        ):
            make = _later(_ground_truths_to_msg, nusc, sample.token, poses, convert)
            yield _Entry(sample.stamp_ns, 5, topic, make)


def _camera_entries(records: Sequence[SensorRecord], kind: str) -> Iterator[_Entry]:
    for record in records:
        if kind == "compressed":
            topic, convert = "image_rect_compressed", messages.compressed_image_to_msg
        else:
            topic, convert = "image_rect", messages.raw_image_to_msg
        info = _later(messages.camera_info_to_msg, record)
        yield _Entry(record.stamp_ns, 2, f"/{record.name}/camera_info", info)
        image = _later(convert, record)
        yield _Entry(record.stamp_ns, 3, f"/{record.name}/{topic}", image)


def _ground_truths_to_msg(nusc: Any, token: str, poses: Any, convert: Any) -> Any:
    return convert(ground_truths_of_sample(nusc, token, poses))


def _later(make: Any, *arguments: Any) -> Any:
    return lambda: make(*arguments)


def write_bags(nusc: Any, scenes: Sequence[str], out: Path, options: BagOptions) -> list[Path]:
    """Write one bag a scene to `out/<scene>` and return their folders."""
    folders = [out / scene for scene in scenes]
    for scene, folder in zip(scenes, folders, strict=True):
        write_scene_bag(nusc, scene, folder, options)
    return folders


def add_dataset_arguments(parser: argparse.ArgumentParser, *, required: bool = False) -> None:
    """Declare the arguments that choose scenes of a dataroot."""
    parser.add_argument("--dataroot", type=Path, required=required,
                        help="nuScenes folder (samples, sweeps, tables)")  # fmt: skip
    parser.add_argument("--version", default="v1.0-mini", help="table folder (default %(default)s)")
    parser.add_argument("--split", help="only scenes of this split: val, mini_val, ... or your own")
    parser.add_argument("--scenes", nargs="+", default=[], help="only these scenes, by name")


EXAMPLES = (
    ("nuscenes_to_bag --dataroot DATA --out bags", "all scenes of v1.0-mini"),
    ("nuscenes_to_bag --dataroot DATA --scenes scene-0103 --limit 5 --out bags",
     "the beginning of one scene"),
    ("nuscenes_to_bag --dataroot DATA --version v1.0-trainval --split val --no-lidar --out bags",
     "a split, without LiDAR"),
)  # fmt: skip


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = command_parser("nuscenes_to_bag", __doc__, EXAMPLES)
    add_dataset_arguments(parser, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder that gets a bag a scene")
    parser.add_argument("--input", choices=INPUTS, default="compressed", help="kind of images")
    parser.add_argument(
        "--lidar", action=argparse.BooleanOptionalAction, default=True, help="with LIDAR_TOP"
    )
    parser.add_argument("--limit", type=int, help="only the first keyframes of each scene")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    arguments = make_parser().parse_args(argv)
    return run_command("nuscenes_to_bag", arguments, lambda: _write(arguments))


def _write(arguments: argparse.Namespace) -> Outcome:
    nusc = load_nuscenes(arguments.dataroot, arguments.version)
    scenes = select_scenes(nusc, arguments.split, arguments.scenes)
    options = BagOptions(arguments.input, arguments.lidar, arguments.limit)
    bags = [str(folder) for folder in write_bags(nusc, scenes, arguments.out, options)]
    return Outcome("\n".join(f"wrote {bag}" for bag in bags), {"bags": bags})


if __name__ == "__main__":
    sys.exit(main())
