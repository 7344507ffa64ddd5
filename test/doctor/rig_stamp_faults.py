# SPDX-License-Identifier: Apache-2.0
"""Faults of stamps, arrivals and order, each as a pure function over messages."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

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
    images_of,
)
from tf2_msgs.msg import TFMessage

from simdistill_ros.conversions import stamp_ns_from_msg, stamp_to_msg


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


def end_ns() -> int:
    return START_NS + CYCLES * 100 * MS
