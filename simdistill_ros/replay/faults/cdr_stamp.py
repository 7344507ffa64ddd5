# SPDX-License-Identifier: Apache-2.0
"""The stamp at the head of a serialised message, read and written without deserialising.

CDR: four bytes of encapsulation, the second of which tells the byte order; then, in every message
that begins with a std_msgs/Header, seconds (int32) and nanoseconds (uint32).
"""

from __future__ import annotations

import struct

NANOSECONDS = 1_000_000_000
_OFFSET = 4


def _format(data: bytes) -> str:
    return "<iI" if data[1] & 1 else ">iI"


def stamp_ns_of_cdr(data: bytes) -> int:
    """Return the header's stamp of a serialised message."""
    seconds, nanoseconds = struct.unpack_from(_format(data), data, _OFFSET)
    return int(seconds) * NANOSECONDS + int(nanoseconds)


def with_stamp(data: bytes, stamp_ns: int) -> bytes:
    """Return the serialised message with another stamp."""
    changed = bytearray(data)
    struct.pack_into(_format(data), changed, _OFFSET, *divmod(stamp_ns, NANOSECONDS))
    return bytes(changed)
