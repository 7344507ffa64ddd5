# SPDX-License-Identifier: Apache-2.0
"""Faults of topics: renamed, dropped, lossy, of another QoS."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import simplejpeg
from recording import (
    CAMERAS,
    Entry,
    Fault,
    Recording,
    every,
    images_of,
    raw,
)
from rig_stamp_faults import numbered


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


def lose_a_little_everywhere(recording: Recording) -> Recording:
    """Every camera loses two images, each another two."""
    return every(
        numbered(images_of(c), lambda n, i=i: n not in (3 * i + 1, 3 * i + 2))
        for i, c in enumerate(CAMERAS)
    )(recording)


def best_effort() -> Any:
    from rosbags.interfaces import QosReliability

    from simdistill_ros.replay.bag_storage import stream_qos

    return stream_qos()._replace(reliability=QosReliability.BEST_EFFORT)


def volatile() -> Any:
    from simdistill_ros.replay.bag_storage import stream_qos

    return stream_qos()


def nothing(recording: Recording) -> Recording:
    return recording
