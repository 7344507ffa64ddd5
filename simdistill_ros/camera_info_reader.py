# SPDX-License-Identifier: Apache-2.0
"""CameraInfo from its serialized bytes, made into a message only when more than its stamp changed.

A camera sends the same calibration with every image. Making a message of it costs as much as
receiving the image's, so what is taken of most is the stamp.
"""

from __future__ import annotations

import struct

from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo

from simdistill_ros.conversions import stamp_ns_from_msg

# CDR: two bytes that name the representation (odd: little endian), two of options, then the
# message, of which a header's stamp comes first.
REPRESENTATION_BYTES = 4
STAMP_END = REPRESENTATION_BYTES + 8
# Of one with empty strings and no distortion. Shorter ones never reach the middleware's own reader,
# which a message that is nothing but a representation with certain options ends the process of.
SMALLEST_BYTES = 300


class CameraInfoReader:
    """Reads the CameraInfo of one camera."""

    def __init__(self) -> None:
        """Start with none."""
        self._start = b""
        self._end = b""
        self._info: CameraInfo | None = None

    def read(self, data: bytes) -> tuple[CameraInfo, int]:
        """Return a CameraInfo and the stamp of this one.

        Args:
            data: The serialized message.

        Returns:
            The message, the same object as before where nothing but the stamp changed (it has the
            stamp of the first of its kind then), and the stamp, ns.

        Raises:
            ValueError: If the bytes are no CameraInfo.
        """
        is_same = data[STAMP_END:] == self._end and data[:REPRESENTATION_BYTES] == self._start
        if self._info is not None and is_same:
            return self._info, _stamp_ns(data)
        if len(data) < SMALLEST_BYTES:
            raise ValueError(
                f"{len(data)} bytes are no CameraInfo: it has at least {SMALLEST_BYTES}"
            )
        try:
            info = deserialize_message(data, CameraInfo)
        except Exception as error:  # each middleware has exceptions of its own
            raise ValueError(f"{len(data)} bytes are no CameraInfo: {error}") from error
        stamp_ns = stamp_ns_from_msg(info.header.stamp)
        if _stamp_ns(data) == stamp_ns:
            self._start, self._end = data[:REPRESENTATION_BYTES], data[STAMP_END:]
            self._info = info
        return info, stamp_ns


def _stamp_ns(data: bytes) -> int:
    order = "<" if data[1] & 1 else ">"
    seconds, nanoseconds = struct.unpack_from(f"{order}iI", data, REPRESENTATION_BYTES)
    return int(seconds) * 1_000_000_000 + int(nanoseconds)
