# SPDX-License-Identifier: Apache-2.0
"""CameraInfo is read from its bytes, and made into a message only when it changed."""

from __future__ import annotations

import pytest
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo

from simdistill_ros.camera_info_reader import CameraInfoReader


def info(stamp_s: int, stamp_ns: int = 7, focal_px: float = 1000.0, frame: str = "cam") -> bytes:
    message = CameraInfo(height=900, width=1600, distortion_model="plumb_bob", d=[0.0] * 5)
    message.header.stamp.sec, message.header.stamp.nanosec = stamp_s, stamp_ns
    message.header.frame_id = frame
    message.k[0] = focal_px
    return bytes(serialize_message(message))


def test_only_the_stamp_of_an_unchanged_camera_info_is_read() -> None:
    reader = CameraInfoReader()
    first, first_ns = reader.read(info(5))

    again, again_ns = reader.read(info(6, 8))

    assert again is first
    assert (first_ns, again_ns) == (5_000_000_007, 6_000_000_008)


@pytest.mark.parametrize(("focal_px", "frame"), [(1001.0, "cam"), (1000.0, "other")])
def test_a_changed_camera_info_is_a_new_message(focal_px: float, frame: str) -> None:
    reader = CameraInfoReader()
    before, _ = reader.read(info(5))

    after, stamp_ns = reader.read(info(6, focal_px=focal_px, frame=frame))

    assert after is not before
    assert (after.k[0], after.header.frame_id) == (focal_px, frame)
    assert stamp_ns == 6_000_000_007


def test_stamps_before_the_epoch_are_read_as_negative() -> None:
    reader = CameraInfoReader()
    reader.read(info(5))

    assert reader.read(info(-2, 0))[1] == -2_000_000_000


def test_big_endian_bytes_have_their_stamp_read_in_their_own_order() -> None:
    reader = CameraInfoReader()
    little = info(5)
    reader.read(little)
    reader._start = b"\x00\x00" + little[2:4]  # as if the first one had come big endian

    _, stamp_ns = reader.read(
        b"\x00\x00" + little[2:4] + b"\x00\x00\x00\x03\x00\x00\x00\x09" + little[12:]
    )

    assert stamp_ns == 3_000_000_009


def test_bytes_that_are_no_camera_info_are_refused_and_the_next_one_is_read() -> None:
    reader = CameraInfoReader()
    good = info(5)

    for short in (b"", b"\x00\x01\x00\x03", good[:-9]):
        with pytest.raises(ValueError, match=f"^{len(short)} bytes are no CameraInfo"):
            reader.read(short)

    assert reader.read(good)[1] == 5_000_000_007
