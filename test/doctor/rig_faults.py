# SPDX-License-Identifier: Apache-2.0
"""What can go wrong with a rig, each as a pure function over messages."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import simplejpeg
from recording import (
    CAMERAS,
    CYCLES,
    DELAY_NS,
    MS,
    START_NS,
    Entry,
    Fault,
    Recording,
    edit,
    every,
    frame_of,
    images_of,
    infos_of,
    matrix_of,
    raw,
    transform,
)
from tf2_msgs.msg import TFMessage

from simdistill_ros.conversions import stamp_ns_from_msg, stamp_to_msg
from simdistill_ros.core.frames import rigid, rotation_about_z

# -- stamps ------------------------------------------------------------------------------------


def shift_stamps(which: Any, shift_ns: int) -> Fault:
    def change(message: Any) -> Any:
        message.header.stamp = stamp_to_msg(stamp_ns_from_msg(message.header.stamp) + shift_ns)
        return message

    return edit(which, change)


def set_stamp(message: Any, stamp_ns: int) -> Any:
    message.header.stamp = stamp_to_msg(stamp_ns)
    return message


def any_camera(entry: Entry) -> bool:
    return entry.is_image or entry.is_info


def shift_everything(recording: Recording, shift_ns: int) -> Recording:
    """Shift the stamps of images, infos and transforms, not the arrivals."""

    def change(message: Any) -> Any:
        for one in message.transforms if isinstance(message, TFMessage) else [message]:
            one.header.stamp = stamp_to_msg(stamp_ns_from_msg(one.header.stamp) + shift_ns)
        return message

    return edit(lambda entry: True, change)(recording)


def arrive(recording: Recording, delay_ns: int) -> Recording:
    """Let camera messages arrive so long after their stamp."""
    return [
        replace(e, arrival_ns=stamp_ns_from_msg(e.message.header.stamp) + delay_ns)
        if any_camera(e)
        else e
        for e in recording
    ]


def numbered(which: Any, keep: Any) -> Fault:
    """Keep the messages whose number, counted per topic, passes."""

    def fault(recording: Recording) -> Recording:
        counts: dict[str, int] = {}
        kept = []
        for entry in recording:
            if which(entry):
                number = counts.get(entry.topic, 0)
                counts[entry.topic] = number + 1
                if not keep(number):
                    continue
            kept.append(entry)
        return kept

    return fault


def repeat_every_image(recording: Recording) -> Recording:
    again = [
        replace(e, arrival_ns=e.arrival_ns + MS) for e in recording if images_of("cam_back")(e)
    ]
    return recording + again


def reorder(recording: Recording) -> Recording:
    """Exchange the arrivals of every third pair of images of one camera."""
    places = [i for i, e in enumerate(recording) if images_of("cam_back")(e)]
    changed = list(recording)
    for first, second in list(zip(places[::2], places[1::2], strict=True))[::3]:
        one, two = recording[first], recording[second]
        changed[first] = replace(one, arrival_ns=two.arrival_ns)
        changed[second] = replace(two, arrival_ns=one.arrival_ns)
    return changed


def loop(recording: Recording) -> Recording:
    """Play it twice: stamps jump back."""
    length_ns = CYCLES * 100 * MS
    return recording + [replace(e, arrival_ns=e.arrival_ns + length_ns) for e in recording]


def spread_out(recording: Recording) -> Recording:
    """Let cameras fire 80 ms apart in all instead of 43."""
    shifts = every(
        shift_stamps(lambda e, c=c: any_camera(e) and e.camera == c, i * 12 * MS - 20 * MS)
        for i, c in enumerate(CAMERAS)
    )
    return arrive(shifts(recording), DELAY_NS)


# -- topics ------------------------------------------------------------------------------------


def rename(old: str, new: str) -> Fault:
    return lambda recording: [
        replace(e, topic=e.topic.replace(old, new)) if e.topic.startswith(f"/{old}/") else e
        for e in recording
    ]


def drop(which: Any) -> Fault:
    return lambda recording: [e for e in recording if not which(e)]


def to_raw(recording: Recording) -> Recording:
    return [raw(e) if e.is_image else e for e in recording]


def to_large_raw_with_losses(recording: Recording) -> Recording:
    """Raw images of 0.7 MB, of which one camera keeps every fifth only."""

    def enlarge(entry: Entry) -> Entry:
        pixels = cv2.resize(simplejpeg.decode_jpeg(bytes(entry.message.data)), (640, 360))
        data = simplejpeg.encode_jpeg(pixels)
        message = type(entry.message)(header=entry.message.header, format="jpeg")
        message.data.frombytes(data)
        return raw(replace(entry, message=message))

    kept = numbered(images_of("cam_front"), lambda n: n % 5 == 0)(recording)
    return [enlarge(e) if e.is_image and e.camera == "cam_front" else
            raw(e) if e.is_image else e for e in kept]  # fmt: skip


# -- calibration and pictures --------------------------------------------------------------------


def set_info(**values: Any) -> Fault:
    def change(info: Any) -> Any:
        for name, value in values.items():
            setattr(info, name, value)
        return info

    return edit(infos_of("cam_back"), change)


def scale_declared_size(info: Any) -> Any:
    """Say a quarter of the size and leave K as it was."""
    info.width //= 2
    info.height //= 2
    return info


def halve_pixels(message: Any) -> Any:
    return with_pixels(message, lambda image: cv2.resize(image, None, fx=0.5, fy=0.5))


def with_pixels(message: Any, change: Any) -> Any:
    pixels = np.ascontiguousarray(change(simplejpeg.decode_jpeg(bytes(message.data))))
    data = simplejpeg.encode_jpeg(pixels, quality=60 + int(message.header.stamp.nanosec // MS) % 39)
    message.data = type(message.data)("B", data)
    return message


def pictures(change: Any, *cameras: str) -> Fault:
    return edit(images_of(*cameras), lambda message: with_pixels(message, change))


def exchange_pictures(first: str, second: str) -> Fault:
    """Exchange what two cameras show; stamps, frames and calibration stay."""

    def fault(recording: Recording) -> Recording:
        ones = [e for e in recording if images_of(first)(e)]
        twos = [e for e in recording if images_of(second)(e)]
        data = {id(a): b.message.data for a, b in zip(ones, twos, strict=True)}
        data |= {id(b): a.message.data for a, b in zip(ones, twos, strict=True)}
        changed = []
        for entry in recording:
            if id(entry) in data:
                message = type(entry.message)(
                    header=entry.message.header, format="jpeg", data=data[id(entry)]
                )
                entry = replace(entry, message=message)
            changed.append(entry)
        return changed

    return fault


def show_the_same(source: str, target: str) -> Fault:
    """Let one camera show another's pictures."""

    def fault(recording: Recording) -> Recording:
        data = [e.message.data for e in recording if images_of(source)(e)]
        order = iter(data)

        def change(message: Any) -> Any:
            message.data = next(order)
            return message

        return edit(images_of(target), change)(recording)

    return fault


def freeze(recording: Recording) -> Recording:
    first = next(e for e in recording if images_of("cam_back")(e)).message.data

    def change(message: Any) -> Any:
        message.data = first
        return message

    return edit(images_of("cam_back"), change)(recording)


def cut(message: Any) -> Any:
    message.data = message.data[: len(message.data) // 2]
    return message


def wrong_step(recording: Recording) -> Recording:
    def change(message: Any) -> Any:
        message.step //= 2
        return message

    which = lambda e: e.is_image and e.camera == "cam_back"  # noqa: E731
    return edit(which, change)(to_raw(recording))


# -- transforms ----------------------------------------------------------------------------------

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


def lose_a_little_everywhere(recording: Recording) -> Recording:
    """Every camera loses two images, each another two."""
    return every(
        numbered(images_of(c), lambda n, i=i: n not in (3 * i + 1, 3 * i + 2))
        for i, c in enumerate(CAMERAS)
    )(recording)


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


def end_ns() -> int:
    return START_NS + CYCLES * 100 * MS


def best_effort() -> Any:
    from rosbags.interfaces import QosReliability

    from simdistill_ros.replay.bag_storage import stream_qos

    return stream_qos()._replace(reliability=QosReliability.BEST_EFFORT)


def volatile() -> Any:
    from simdistill_ros.replay.bag_storage import stream_qos

    return stream_qos()


def nothing(recording: Recording) -> Recording:
    return recording


def same_pose(message: TFMessage, source: str, target: str) -> TFMessage:
    poses = {t.child_frame_id: t.transform for t in message.transforms}
    for one in message.transforms:
        if one.child_frame_id == frame_of(target):
            one.transform = poses[frame_of(source)]
    return message


def set_frame(message: Any, frame: str) -> Any:
    message.header.frame_id = frame
    return message


def set_format(message: Any, text: str) -> Any:
    message.format = text
    return message


def set_k(info: Any, index: int, value: float) -> Any:
    k = list(info.k)
    k[index] = value
    info.k = k
    return info
