# SPDX-License-Identifier: Apache-2.0
"""Faults of pictures and of CameraInfo."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import simplejpeg
from recording import (
    MS,
    Fault,
    Recording,
    edit,
    images_of,
    infos_of,
)
from rig_topic_faults import to_raw


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
