# SPDX-License-Identifier: Apache-2.0
"""Detections as the serialized bytes of a Detection3DArray, ready to be published.

A message of thirty boxes is six hundred Python objects: making and serialising them took longer
than the boxes' decoding, at the very end of the way. `conversions.detections_to_msg` makes the same
message for whoever wants it as such.
"""

from __future__ import annotations

import struct

import numpy as np

from simdistill_ros.core.boxes import Detections
from simdistill_ros.core.frames import FloatArray

NANOSECONDS = 1_000_000_000
LITTLE_ENDIAN = b"\x00\x01\x00\x00"
COVARIANCE = 36  # numbers, all zero: not known
NO_ID = struct.pack("<Ix", 1)
ONE_RESULT = struct.pack("<I", 1)


def detections_to_cdr(detections: Detections) -> bytes:
    """Return the bytes of the message that `detections_to_msg` makes."""
    seconds, nanoseconds = divmod(detections.stamp_ns, NANOSECONDS)
    header = struct.pack("<iI", seconds, nanoseconds) + _text(detections.frame)
    # Up to the numbers, boxes of a class are alike.
    starts = [_padded(header, 4) + ONE_RESULT + _text(name) for name in detections.class_names]
    rows = _numbers(detections)
    message = bytearray(_padded(header, 4) + struct.pack("<I", len(detections)))
    for label, row in zip(detections.labels.tolist(), rows, strict=True):
        _pad(message, 4)
        message += starts[label]
        _pad(message, 8)
        message += row.tobytes()
        message += NO_ID
    return LITTLE_ENDIAN + bytes(message)


def _numbers(detections: Detections) -> FloatArray:
    """Return the numbers of each box in the order of the message, (M, 54).

    Score, pose and covariance of the hypothesis, pose and size of the box. A pose is a position and
    a quaternion x, y, z, w.
    """
    half_rad = detections.yaws_rad / 2
    zeros = np.zeros((len(detections), 2))
    turn = np.column_stack([zeros, np.sin(half_rad), np.cos(half_rad)])
    pose = np.hstack([detections.centers_m, turn])
    covariance = np.zeros((len(detections), COVARIANCE))
    scores = detections.scores[:, None]
    columns = [scores, pose, covariance, pose, detections.sizes_lwh_m]
    return np.hstack(columns).astype("<f8", copy=False)


def _text(content: str) -> bytes:
    encoded = content.encode() + b"\0"
    return struct.pack("<I", len(encoded)) + encoded


def _padded(data: bytes, multiple: int) -> bytes:
    return data + bytes(-len(data) % multiple)


def _pad(data: bytearray, multiple: int) -> None:
    data += bytes(-len(data) % multiple)
