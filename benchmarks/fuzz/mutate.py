# SPDX-License-Identifier: Apache-2.0
"""Values that programs trip over, and bytes that went wrong."""

from __future__ import annotations

import math
from random import Random

NUMBERS = (
    0.0, -0.0, 1.0, -1.0, 0.5, 1e-12, 1e-300, 5e-324, 1e6, 1e12, 1e154, 1e300, 1.8e308,
    math.nan, math.inf, -math.inf, -1e300,
)  # fmt: skip
COUNTS = (0, 1, 2, 3, 7, 8, 255, 256, 4095, 65_535, 65_536, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
TEXTS = (
    "", "/", "base_link", "x" * 300, "x" * 100_000, "\n[ERROR] all is lost", "\x00", "é\u202e",
    "plumb_bob", "equidistant", "rational_polynomial", "fisheye", "%s%n{}", "../../etc/passwd",
)  # fmt: skip


def number(draw: Random, near: float = 1.0) -> float:
    """Return a number that is extreme, or one near a good one."""
    if draw.random() < 0.6:
        return draw.choice(NUMBERS)
    return near * draw.uniform(-3.0, 3.0)


def count(draw: Random, near: int = 10, most: int = 2**32 - 1) -> int:
    """Return a count between 0 and `most` that is extreme, or one near a good one."""
    value = draw.choice(COUNTS) if draw.random() < 0.5 else near + draw.randint(-3, 3)
    return min(max(value, 0), most)


def text(draw: Random) -> str:
    """Return a text that is empty, long, unprintable or well known."""
    return draw.choice(TEXTS)


def broken_bytes(data: bytes, draw: Random) -> bytes:
    """Return bytes that were flipped, cut, repeated, overwritten or inserted in a few places."""
    changed = bytearray(data)
    for _ in range(draw.choice((1, 1, 1, 2, 4, 16))):
        if not changed:
            break
        at = draw.randrange(len(changed))
        length = draw.choice((1, 1, 2, 4, 8, 64))
        kind = draw.randrange(6)
        if kind == 0:
            changed[at] ^= 1 << draw.randrange(8)
        elif kind == 1:
            changed[at : at + length] = draw.randbytes(len(changed[at : at + length]))
        elif kind == 2:
            del changed[at : at + length]
        elif kind == 3:
            changed[at:at] = changed[at : at + length] * draw.choice((1, 2, 50))
        elif kind == 4:
            extreme = draw.choice((0, 1, 0x7F, 0x80, 0xFF))
            changed[at : at + length] = bytes([extreme]) * len(changed[at : at + length])
        else:
            del changed[at:]
    return bytes(changed)
