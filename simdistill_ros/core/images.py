# SPDX-License-Identifier: Apache-2.0
"""Bytes → pixels: JPEG, PNG and raw encodings to (H, W, 3) uint8 RGB.

Everything that arrives is untrusted: sizes are read from headers and bounded before a decoder runs,
and buffers must be as long as they claim.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg

from simdistill_ros.core.snapshot import ImageArray

MAX_PIXELS = 64_000_000
# Of a side: what is resized to the network's width must not become a tower.
MAX_SIDE = 16_384
# A progressive JPEG is decoded once a scan, and a scan may be a few bytes: a bomb of time. Cameras
# and encoders use at most about ten.
MAX_SCANS = 20
JPEG_SCAN = b"\xff\xda"
JPEG_START = b"\xff\xd8"
PNG_START = b"\x89PNG\r\n\x1a\n"
Buffer = bytes | bytearray | memoryview

# Encoding -> channels per pixel and what OpenCV calls the way to RGB; None where it is RGB.
_PLAIN: dict[str, tuple[int, int | None]] = {
    "rgb8": (3, None),
    "bgr8": (3, cv2.COLOR_BGR2RGB),
    "rgba8": (4, cv2.COLOR_RGBA2RGB),
    "bgra8": (4, cv2.COLOR_BGRA2RGB),
    "mono8": (1, cv2.COLOR_GRAY2RGB),
}
# OpenCV names a pattern by the second row's second and third pixel.
_BAYER: dict[str, int] = {
    "bayer_rggb8": cv2.COLOR_BayerBG2RGB,
    "bayer_bggr8": cv2.COLOR_BayerRG2RGB,
    "bayer_gbrg8": cv2.COLOR_BayerGR2RGB,
    "bayer_grbg8": cv2.COLOR_BayerGB2RGB,
}
KNOWN_ENCODINGS = (*_PLAIN, *_BAYER)


class ImageError(ValueError):
    """An image cannot be used; `cause` is its short, stable name."""

    def __init__(self, cause: str, message: str) -> None:
        """Keep the cause beside the message."""
        super().__init__(message)
        self.cause = cause


@dataclass(frozen=True)
class EncodedImage:
    """An image as it arrived; nothing is decoded or copied yet.

    Attributes:
        data: The bytes, as the message holds them.
        encoding: A ROS encoding of `data`'s rows; "" when it is a JPEG or PNG file, which says its
            own size.
        height: Rows.
        width: Pixels a row.
        step: Bytes a row.
        is_bigendian: Byte order of wide channels.
    """

    data: Buffer
    encoding: str = ""
    height: int = 0
    width: int = 0
    step: int = 0
    is_bigendian: bool = False


@dataclass(frozen=True)
class DecodedImage:
    """Pixels, and what was left undone to have them cheaply.

    Attributes:
        pixels: (h, w, 3) uint8; may be a view of the message or of a scratch buffer.
        is_bgr: The channels are blue, green, red.
        full_hw: Height and width of the image that was sent.
        denominator: The pixels are this many times as wide and high as those of the full image.
    """

    pixels: ImageArray
    is_bgr: bool
    full_hw: tuple[int, int]
    denominator: int = 1


class Scratch:
    """Memory for full-size pixels, reused from image to image; one for each thread."""

    def __init__(self) -> None:
        """Start without memory."""
        self._memory = np.empty(0, np.uint8)

    def pixels(self, height: int, width: int) -> ImageArray:
        """Return (height, width, 3) uint8; what an earlier call returned is overwritten."""
        size = height * width * 3
        if self._memory.size < size:
            self._memory = np.empty(size, np.uint8)
        return self._memory[:size].reshape(height, width, 3)


def _full_size(image_hw: tuple[int, int]) -> int:
    return 1


def decode_image(
    image: EncodedImage,
    scratch: Scratch,
    denominator_of: Callable[[tuple[int, int]], int] = _full_size,
) -> DecodedImage:
    """Return the pixels of an image without a copy that can be avoided.

    Args:
        image: What arrived.
        scratch: Where pixels go that are not simply there; the result may be a view of it.
        denominator_of: By how much a JPEG of a height and width may be shrunk: 1, 2, 4 or 8.

    Raises:
        ImageError: As `decode_jpeg_png` and `rgb_from_encoding`.
    """
    if not image.encoding:
        data = _checked_file(image.data)
        if bytes(data[:2]) == JPEG_START:
            return _decode_jpeg(data, MAX_PIXELS, scratch, denominator_of)
        pixels = decode_jpeg_png(data)
        return DecodedImage(pixels, is_bgr=False, full_hw=(pixels.shape[0], pixels.shape[1]))
    rows = rows_of_encoding(image)
    full_hw = (image.height, image.width)
    if image.encoding in ("rgb8", "bgr8"):
        return DecodedImage(rows, is_bgr=image.encoding == "bgr8", full_hw=full_hw)
    pixels = scratch.pixels(*full_hw)
    return DecodedImage(_rgb_of_rows(rows, image.encoding, pixels), is_bgr=False, full_hw=full_hw)


def decode_jpeg_png(data: Buffer, max_pixels: int = MAX_PIXELS) -> ImageArray:
    """Return the pixels of a JPEG or PNG, (H, W, 3) uint8 RGB, in memory of their own.

    Raises:
        ImageError: `empty`, `undecodable` (also when the data ends early) or `too_large`.
    """
    data = _checked_file(data)
    start = bytes(data[:8])
    if start.startswith(JPEG_START):
        return _decode_jpeg(data, max_pixels, Scratch(), _full_size).pixels
    if start == PNG_START:
        return _decode_png(data, max_pixels)
    raise ImageError("undecodable", f"neither JPEG nor PNG: the data begins with {start.hex(' ')}")


def _checked_file(data: Buffer) -> Buffer:
    data = memoryview(data).cast("B") if not isinstance(data, bytes) else data
    if len(data) == 0:
        raise ImageError("empty", "the message carries no data")
    return data


def _decode_jpeg(
    data: Buffer,
    max_pixels: int,
    scratch: Scratch,
    denominator_of: Callable[[tuple[int, int]], int],
) -> DecodedImage:
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(data)
        _check_pixels(height, width, max_pixels)
        _check_scans(data)
        denominator = denominator_of((height, width))
        small_hw = (-(-height // denominator), -(-width // denominator))
        # Strict: a JPEG that ends early is an error, not a picture with a grey half.
        pixels = simplejpeg.decode_jpeg(
            data,
            colorspace="RGB",
            min_height=small_hw[0],
            min_width=small_hw[1],
            buffer=scratch.pixels(*small_hw),
            strict=True,
        )
    except ValueError as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError("undecodable", f"not a complete JPEG: {error}") from error
    return DecodedImage(np.asarray(pixels), False, (height, width), denominator)


def _check_scans(data: Buffer) -> None:
    content = np.frombuffer(data, np.uint8)  # bytes.count takes seven times as long
    is_scan = (content[:-1] == JPEG_SCAN[0]) & (content[1:] == JPEG_SCAN[1])
    scans = int(np.count_nonzero(is_scan))
    if scans > MAX_SCANS:
        raise ImageError("too_large", f"a JPEG of {scans} scans; expected at most {MAX_SCANS}")


def _decode_png(data: Buffer, max_pixels: int) -> ImageArray:
    if len(data) < 33 or bytes(data[12:16]) != b"IHDR":
        raise ImageError("undecodable", "not a complete PNG: there is no whole header")
    width, height = struct.unpack(">II", bytes(data[16:24]))
    _check_pixels(height, width, max_pixels)
    _check_png_chunks(memoryview(data))
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if image is None or image.shape[:2] != (height, width):
        raise ImageError("undecodable", "not a valid PNG")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))


def _check_png_chunks(data: memoryview) -> None:
    """Check that every chunk is whole: the decoder would return what it has, or complain itself."""
    at, kind = len(PNG_START), b""
    while kind != b"IEND":
        if at + 12 > len(data):
            raise ImageError("undecodable", "not a complete PNG: the data ends early")
        (length,) = struct.unpack_from(">I", data, at)
        end = at + 8 + length
        if end + 4 > len(data):
            raise ImageError("undecodable", "not a complete PNG: the data ends early")
        kind = bytes(data[at + 4 : at + 8])
        if struct.unpack_from(">I", data, end) != (zlib.crc32(data[at + 4 : end]),):
            raise ImageError("undecodable", "not an intact PNG: a checksum is wrong")
        at = end + 4


def _check_pixels(height: int, width: int, max_pixels: int) -> None:
    if height <= 0 or width <= 0:
        raise ImageError("empty", f"the image has size {width}x{height}")
    if max(height, width) > MAX_SIDE:
        raise ImageError("too_large", f"{width}x{height}: expected sides of at most {MAX_SIDE}")
    if height * width > max_pixels:
        raise ImageError("too_large", f"{width}x{height} is more than {max_pixels} pixels")


def rgb_from_encoding(
    data: Buffer, *, encoding: str, height: int, width: int, step: int, is_bigendian: bool
) -> ImageArray:
    """Return the pixels of a raw image, (H, W, 3) uint8 RGB.

    Args:
        data: Rows of `step` bytes each; what lies beyond a row's pixels is padding.
        encoding: A ROS encoding of 8-bit channels: rgb8, bgr8, rgba8, bgra8, mono8 or bayer_*8.
        height: Rows.
        width: Pixels a row.
        step: Bytes a row.
        is_bigendian: Has no meaning for 8-bit channels and is accepted either way.

    Returns:
        The pixels; for rgb8 a view of `data`, rows apart by `step`, else new memory.

    Raises:
        ImageError: `empty`, `wrong_step`, `size_mismatch`, `too_large`, `too_small` or
            `unknown_encoding`.
    """
    rows = rows_of_encoding(EncodedImage(data, encoding, height, width, step, is_bigendian))
    if encoding == "rgb8":
        return rows
    return _rgb_of_rows(rows, encoding, np.empty((height, width, 3), np.uint8))


def rows_of_encoding(image: EncodedImage) -> npt.NDArray[np.uint8]:
    """Return a (H, W, channels) view of a raw image's bytes, without the padding.

    Raises:
        ImageError: As `rgb_from_encoding`.
    """
    encoding, height, width = image.encoding, image.height, image.width
    if encoding not in _PLAIN and encoding not in _BAYER:
        names = ", ".join(KNOWN_ENCODINGS)
        raise ImageError("unknown_encoding", f"encoding {encoding!r} is none of {names}")
    channels, _ = _PLAIN.get(encoding) or (1, _BAYER[encoding])
    rows = _rows(image.data, height=height, width=width, step=image.step, channels=channels)
    if encoding in _BAYER and (height < 3 or width < 3):
        raise ImageError("too_small", f"a Bayer image of {width}x{height} has no colour")
    return rows


def _rgb_of_rows(
    rows: npt.NDArray[np.uint8], encoding: str, target: npt.NDArray[np.uint8]
) -> ImageArray:
    _, conversion = _PLAIN.get(encoding) or (1, _BAYER[encoding])
    assert conversion is not None
    return np.asarray(cv2.cvtColor(rows, conversion, dst=target))


def _rows(
    data: Buffer, *, height: int, width: int, step: int, channels: int
) -> npt.NDArray[np.uint8]:
    """Return a (H, W, channels) view of the buffer without the padding."""
    _check_pixels(height, width, MAX_PIXELS)
    if step < width * channels:
        raise ImageError(
            "wrong_step",
            f"step {step} is less than width x channels = {width} x {channels}",
        )
    buffer = np.frombuffer(data, np.uint8)
    if len(buffer) != step * height:
        raise ImageError(
            "size_mismatch",
            f"the data has {len(buffer)} bytes, expected step x height = {step} x {height}",
        )
    return buffer.reshape(height, step)[:, : width * channels].reshape(height, width, channels)
