# SPDX-License-Identifier: Apache-2.0
"""Takes the fields of a serialized message (CDR) one by one, and believes none of its lengths.

The middleware's own reader is C++ that some bytes end the process of. Here every length is compared
with what is there.

CDR: two bytes that name the representation, two of options, then the fields in order. Numbers of
four or eight bytes begin at multiples of their size after those first four bytes; a text is its
length with the closing zero, its bytes and the zero; a sequence is its length and its elements.
"""

from __future__ import annotations

import struct
from typing import Any

REPRESENTATION_BYTES = 4
NANOSECONDS = 1_000_000_000
# Representation -> byte order. ROS 2 sends no other.
BYTE_ORDERS = {b"\x00\x00": ">", b"\x00\x01": "<"}
OTHER_REPRESENTATIONS = {
    2: "a parameter list", 3: "a parameter list",
    6: "XCDR2", 7: "XCDR2", 8: "XCDR2", 9: "XCDR2", 10: "XCDR2", 11: "XCDR2",
}  # fmt: skip
MAX_TEXT = 65_536  # bytes of a frame's or an encoding's name; those who use them allow far less


class SerializedError(ValueError):
    """Bytes that are no message of the expected type."""


class CdrReader:
    """Takes the fields of one serialized message in order."""

    def __init__(self, data: bytes, kind: str) -> None:
        """Begin with the first field.

        Args:
            data: The bytes of the message.
            kind: What it should be, for errors.

        Raises:
            SerializedError: If it begins like no plain CDR; so do the other methods if the bytes
                are not what they are asked for.
        """
        self._kind = kind
        self._order = self._byte_order(data[:2])
        self._data = memoryview(data)
        self._at = REPRESENTATION_BYTES
        self._need(0, "a representation")

    def _byte_order(self, representation: bytes) -> str:
        order = BYTE_ORDERS.get(bytes(representation))
        if order is None:
            name = OTHER_REPRESENTATIONS.get(int.from_bytes(representation, "big"), "unknown")
            raise SerializedError(
                f"{self._kind}: expected plain CDR (00 00 or 00 01), got the representation "
                f"{representation.hex(' ') or 'of no bytes'} ({name})"
            )
        return order

    def _need(self, count: int, what: str) -> None:
        if self._at + count > len(self._data):
            raise SerializedError(
                f"{self._kind}: expected {count} bytes for {what} from byte {self._at} on, got a "
                f"message of {len(self._data)} bytes"
            )

    def numbers(self, form: str, what: str) -> tuple[int, ...]:
        """Return numbers of four bytes each; `form` is struct's, without the byte order."""
        return self._values(form, 4, what)

    def doubles(self, count: int, what: str) -> tuple[float, ...]:
        """Return numbers of eight bytes each."""
        return self._values("d" * count, 8, what)

    def _values(self, form: str, size: int, what: str) -> tuple[Any, ...]:
        self._at += -(self._at - REPRESENTATION_BYTES) % size
        self._need(size * len(form), what)
        values = struct.unpack_from(self._order + form, self._data, self._at)
        self._at += size * len(form)
        return values

    def flag(self, what: str) -> bool:
        """Return a number of one byte as a flag."""
        self._need(1, what)
        value = self._data[self._at]
        self._at += 1
        return value != 0

    def text(self, what: str) -> str:
        """Return a text; bytes that are no UTF-8 are replaced, as rclpy does."""
        (length,) = self.numbers("I", f"the length of {what}")
        if length > MAX_TEXT:
            raise SerializedError(
                f"{self._kind}: expected at most {MAX_TEXT} bytes of {what}, got {length}"
            )
        self._need(length, what)
        content = bytes(self._data[self._at : self._at + length])
        self._at += length
        if content and content[-1] != 0:
            raise SerializedError(f"{self._kind}: expected a zero at the end of {what}")
        return content[:-1].decode("utf-8", "replace")

    def content(self, what: str) -> memoryview:
        """Return a sequence of bytes, not copied."""
        (length,) = self.numbers("I", f"the length of {what}")
        self._need(length, what)
        start, self._at = self._at, self._at + length
        return self._data[start : self._at]

    def header(self) -> tuple[int, str]:
        """Return stamp, ns, and frame of a std_msgs/Header."""
        seconds, nanoseconds = self.numbers("iI", "header.stamp")
        return seconds * NANOSECONDS + nanoseconds, self.text("header.frame_id")
