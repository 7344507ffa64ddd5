# SPDX-License-Identifier: Apache-2.0
"""The bags of a replay: found or made, and what they say about keyframes and the vehicle's way."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import Any

from std_msgs.msg import String
from tf2_msgs.msg import TFMessage

from simdistill_ros.conversions import transform_from_msg
from simdistill_ros.core.frames import EGO_FRAME, GLOBAL_FRAME
from simdistill_ros.replay.bag_storage import Bag, find_bags
from simdistill_ros.replay.nuscenes_reader import select_scenes
from simdistill_ros.replay.nuscenes_to_bag import BagOptions, write_bags
from simdistill_ros.replay.options import ReplayOptions
from simdistill_ros.replay.pose_track import PoseTrack, pose_track
from simdistill_ros.replay.sample_record import SampleRecord, sample_from_json


@dataclass(frozen=True)
class Scene:
    """What a bag says about itself: its keyframes and the vehicle's way."""

    bag: Bag
    samples: list[SampleRecord]
    poses: PoseTrack


def find_or_make_bags(options: ReplayOptions, nusc: Any) -> list[Bag]:
    """Return the bags that were named, or new ones of the chosen scenes in `out/bag`.

    Raises:
        ValueError: If no scene or bag is left.
        OSError: If files are missing.
    """
    if options.bag is not None:
        bags = find_bags(options.bag)
        return [b for b in bags if not options.scenes or b.folder.name in options.scenes]
    folder = options.out / "bag"
    if folder.exists():
        shutil.rmtree(folder)
    names = select_scenes(nusc, options.split, options.scenes)
    write_bags(nusc, names, folder, BagOptions(options.input, keyframes=options.limit))
    return find_bags(folder)


def read_scene(bag: Bag, options: ReplayOptions) -> Scene:
    """Return a bag's keyframes and poses.

    Raises:
        ValueError: If the bag has no samples, no such images or no poses.
    """
    samples = [sample_from_json(m.data) for m in bag.read("/nuscenes/sample", String)]
    if not samples:
        raise ValueError(
            f"{bag.folder}: expected /nuscenes/sample messages, got none; "
            "make the bag by nuscenes_to_bag"
        )
    suffix = "image_rect_compressed" if options.input == "compressed" else "image_rect"
    if f"/cam_front/{suffix}" not in bag.topics:
        raise ValueError(
            f"{bag.folder}: no {options.input} images (/cam_front/{suffix}); "
            "choose --input as the bag was made"
        )
    return Scene(bag, samples[: options.limit], read_poses(bag))


def read_poses(bag: Bag) -> PoseTrack:
    """Return the map -> base_link poses of a bag's /tf.

    Raises:
        ValueError: If there are none.
    """
    poses = []
    for message in bag.read("/tf", TFMessage):
        for transform in message.transforms:
            parent, child, stamp_ns, parent_from_child = transform_from_msg(transform)
            if (parent, child) == (GLOBAL_FRAME, EGO_FRAME):
                poses.append((stamp_ns, parent_from_child))
    if not poses:
        raise ValueError(f"{bag.folder}: expected {GLOBAL_FRAME} -> {EGO_FRAME} on /tf, got none")
    return pose_track(poses)
