# SPDX-License-Identifier: Apache-2.0
"""Faults of transforms and of who is mounted where."""

from __future__ import annotations

from typing import Any

import numpy as np
from recording import (
    MS,
    START_NS,
    Entry,
    Fault,
    Recording,
    edit,
    every,
    frame_of,
    matrix_of,
    transform,
)
from rig_stamp_faults import end_ns
from rig_topic_faults import rename
from tf2_msgs.msg import TFMessage

from simdistill_ros.core.frames import rigid, rotation_about_z

OPTICAL_FROM_BODY = rigid([[0, -1, 0], [0, 0, -1], [1, 0, 0]], [0, 0, 0])


def body_frame(ego_from_cam: np.ndarray) -> np.ndarray:
    return np.asarray(ego_from_cam @ OPTICAL_FROM_BODY)


def in_millimetres(ego_from_cam: np.ndarray) -> np.ndarray:
    return rigid(ego_from_cam[:3, :3], 1000 * ego_from_cam[:3, 3])


def below_ground(ego_from_cam: np.ndarray) -> np.ndarray:
    return rigid(ego_from_cam[:3, :3], ego_from_cam[:3, 3] * [1, 1, -1])


def about_axis(degrees: float) -> Any:
    roll = rigid(rotation_about_z(np.radians(degrees)), [0, 0, 0])
    return lambda ego_from_cam: ego_from_cam @ roll


def yawed(degrees: float) -> Any:
    yaw = rigid(rotation_about_z(np.radians(degrees)), [0, 0, 0])
    return lambda ego_from_cam: rigid((yaw @ ego_from_cam)[:3, :3], ego_from_cam[:3, 3])


def turned_vehicle(ego_from_cam: np.ndarray) -> np.ndarray:
    """The pose in a frame with x right and y forward, as LiDARs have it."""
    return np.asarray(rigid(rotation_about_z(np.pi / 2), [0, 0, 0]) @ ego_from_cam)


def edit_tf_static(change: Any) -> Fault:
    return edit(lambda e: e.topic == "/tf_static", change)


def exchange_frames(first: str, second: str) -> Fault:
    """Exchange the poses of two cameras in TF."""
    names = {frame_of(first): frame_of(second), frame_of(second): frame_of(first)}

    def change(message: TFMessage) -> TFMessage:
        for one in message.transforms:
            one.child_frame_id = names.get(one.child_frame_id, one.child_frame_id)
        return message

    return edit_tf_static(change)


def exchange_everything(first: str, second: str) -> Fault:
    """Exchange all topics of two cameras; frames stay with their cameras."""
    return every([rename(first, "other"), rename(second, first), rename("other", second)])


def without_transform(camera: str) -> Fault:
    def change(message: TFMessage) -> TFMessage:
        message.transforms = [t for t in message.transforms if t.child_frame_id != frame_of(camera)]
        return message

    return edit_tf_static(change)


def parent_and_child_exchanged(camera: str) -> Fault:
    def change(message: TFMessage) -> TFMessage:
        for one in message.transforms:
            if one.child_frame_id == frame_of(camera):
                one.header.frame_id, one.child_frame_id = one.child_frame_id, one.header.frame_id
        return message

    return edit_tf_static(change)


def renamed_parent(message: TFMessage, parent: str, *cameras: str) -> TFMessage:
    for one in message.transforms:
        if not cameras or one.child_frame_id in map(frame_of, cameras):
            one.header.frame_id = parent
    return message


def spoil_quaternion(message: TFMessage) -> TFMessage:
    for one in message.transforms:
        if one.child_frame_id == frame_of("cam_back"):
            one.transform.rotation.w = one.transform.rotation.x = 0.0
            one.transform.rotation.y = one.transform.rotation.z = 0.0
    return message


def as_dynamic(period_ns: int, until_ns: int, *cameras: str) -> Fault:
    """Publish mountings again and again on /tf instead of once on /tf_static."""

    def fault(recording: Recording) -> Recording:
        static = next(e for e in recording if e.topic == "/tf_static").message.transforms
        moved = [t for t in static if not cameras or t.child_frame_id in map(frame_of, cameras)]
        left = [t for t in static if t not in moved]
        added = [
            Entry(
                "/tf",
                stamp_ns + 5 * MS,
                TFMessage(
                    transforms=[
                        transform(t.header.frame_id, t.child_frame_id, matrix_of(t), stamp_ns)
                        for t in moved
                    ]
                ),
            )
            for stamp_ns in range(START_NS - period_ns, until_ns, period_ns)
        ]

        def keep_rest(message: TFMessage) -> TFMessage | None:
            return TFMessage(transforms=left) if left else None

        return edit_tf_static(keep_rest)(recording) + added

    return fault


def second_parent(recording: Recording) -> Recording:
    static = next(e for e in recording if e.topic == "/tf_static").message.transforms
    one = next(t for t in static if t.child_frame_id == frame_of("cam_back"))
    again = transform("roof", one.child_frame_id, matrix_of(one), START_NS)
    entry = Entry("/tf_static", START_NS - 90 * MS, TFMessage(transforms=[again]))
    return [*recording, entry]


def close_loop(recording: Recording) -> Recording:
    """base_link gets a child's child as its parent, after odometry has stopped."""
    tf = transform(frame_of("cam_back"), "base_link", np.eye(4), START_NS)
    entry = Entry("/tf_static", START_NS - 50 * MS, TFMessage(transforms=[tf]))
    return [*(e for e in recording if e.topic != "/tf"), entry]


def both_ways(recording: Recording) -> Recording:
    """The mounting of a camera comes on /tf too."""
    static = next(e for e in recording if e.topic == "/tf_static").message.transforms
    one = next(t for t in static if t.child_frame_id == frame_of("cam_back"))
    again = TFMessage(transforms=[one])
    return [*recording, Entry("/tf", START_NS - 60 * MS, again)]


def on_a_cab_without_news(recording: Recording) -> Recording:
    """Cameras sit on a cab that sways; its transforms begin a second late."""
    swaying = [
        Entry(
            "/tf",
            stamp_ns + 5 * MS,
            TFMessage(transforms=[transform("base_link", "cab", swayed(index), stamp_ns)]),
        )
        for index, stamp_ns in enumerate(range(START_NS + 1000 * MS, end_ns(), 50 * MS))
    ]
    return edit_tf_static(lambda m: renamed_parent(m, "cab"))(recording) + swaying


def swayed(index: int) -> np.ndarray:
    return rigid(np.eye(3), [0.0, 0.01 * (index % 5), 0.0])


def same_pose(message: TFMessage, source: str, target: str) -> TFMessage:
    poses = {t.child_frame_id: t.transform for t in message.transforms}
    for one in message.transforms:
        if one.child_frame_id == frame_of(target):
            one.transform = poses[frame_of(source)]
    return message
