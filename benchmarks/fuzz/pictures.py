# SPDX-License-Identifier: Apache-2.0
"""Cases of images: fields of raw ones, bytes of compressed ones."""

from __future__ import annotations

import array
from random import Random
from typing import Any

import numpy as np

from benchmarks.fuzz.findings import require
from benchmarks.fuzz.mutate import broken_bytes, count, text
from benchmarks.fuzz.seeds import ENCODINGS, compressed_image, picture_files, raw_image
from simdistill_ros.conversions import encoded_from_msg
from simdistill_ros.core.images import (
    MAX_PIXELS,
    MAX_SIDE,
    PNG_START,
    ImageError,
    Scratch,
    decode_image,
)
from simdistill_ros.serialized import ImageMessage

END_OF_PNG = b"IEND\xaeB`\x82"
END_OF_JPEG = b"\xff\xd9"


def mutate_raw(message: Any, draw: Random) -> None:
    """Change a few fields of a raw image."""
    for _ in range(draw.choice((1, 1, 2, 3))):
        kind = draw.randrange(6)
        if kind == 0:
            message.encoding = text(draw) if draw.random() < 0.5 else draw.choice(list(ENCODINGS))
        elif kind == 1:
            message.height = count(draw, message.height)
        elif kind == 2:
            message.width = count(draw, message.width)
        elif kind == 3:
            message.step = count(draw, message.step)
        elif kind == 4:
            length = max(0, len(message.data) + draw.choice((-1000, -7, -1, 1, 5, 48)))
            message.data = array.array("B", bytes(length))
        else:
            message.is_bigendian = draw.choice((0, 1, 255))


def may_be_used(message: Any) -> bool:
    """Tell, independently of the code under test, whether a raw image can be used."""
    channels, height, width = ENCODINGS.get(message.encoding), message.height, message.width
    if channels is None or not 0 < height * width <= MAX_PIXELS:
        return False
    if max(height, width) > MAX_SIDE:
        return False
    if message.step < width * channels or len(message.data) != message.step * height:
        return False
    return not message.encoding.startswith("bayer") or min(height, width) >= 3


def raw_case(draw: Random) -> str:
    """Accept exactly the images whose bytes are what the fields say."""
    message = raw_image(draw)
    mutate_raw(message, draw)
    return check_raw(message)


def _pixels(message: Any) -> Any:
    return decode_image(encoded_from_msg(message), Scratch()).pixels


def check_raw(message: Any) -> str:
    """Run one raw image."""
    fields = message.encoded if isinstance(message, ImageMessage) else message
    try:
        pixels = _pixels(message)
    except ImageError as error:
        require(not may_be_used(fields), f"refused a good image: {error}")
        return error.cause
    require(may_be_used(fields), "accepted an image whose fields contradict its data")
    _require_pixels(pixels, (fields.height, fields.width, 3))
    return "used"


def compressed_case(draw: Random) -> str:
    """Refuse what is not whole; of what is used, the size is the header's and bounded."""
    original = draw.choice(picture_files())
    data = broken_bytes(original, draw)
    outcome = check_compressed(compressed_image(data))
    if outcome == "used" and data != original:
        is_png = original.startswith(PNG_START)
        end = END_OF_PNG if is_png else END_OF_JPEG
        require(end in data, "accepted a picture without an end")
        # Every byte of a PNG up to its end is under a checksum.
        require(not is_png or data.startswith(original), "accepted a PNG with changed bytes")
    return outcome


def check_compressed(message: Any) -> str:
    """Run one compressed image."""
    try:
        pixels = _pixels(message)
    except ImageError as error:
        return error.cause
    require(0 < pixels.shape[0] * pixels.shape[1] <= MAX_PIXELS, "accepted a picture too large")
    _require_pixels(pixels, (*pixels.shape[:2], 3))
    return "used"


def _require_pixels(pixels: Any, shape: tuple[int, ...]) -> None:
    require(
        pixels.shape == shape and pixels.dtype == np.uint8,
        f"expected uint8 {shape}, got {pixels.dtype} {pixels.shape}",
    )
