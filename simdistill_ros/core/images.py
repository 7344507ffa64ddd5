# SPDX-License-Identifier: Apache-2.0
"""Bytes → pixels: JPEG, PNG and raw encodings to (H, W, 3) uint8 RGB.

Everything that arrives is untrusted: sizes are read from headers and bounded before a decoder runs,
and buffers must be as long as they claim.
"""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg

from simdistill_ros.core.snapshot import ImageArray

MAX_PIXELS = 64_000_000
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


class ImageError(ValueError):
    """An image cannot be used; `cause` is its short, stable name."""

    def __init__(self, cause: str, message: str) -> None:
        """Keep the cause beside the message."""
        super().__init__(message)
        self.cause = cause


def decode_jpeg_png(data: Buffer, max_pixels: int = MAX_PIXELS) -> ImageArray:
    """Return the pixels of a JPEG or PNG, (H, W, 3) uint8 RGB.

    Raises:
        ImageError: `empty`, `undecodable` (also when the data ends early) or `too_large`.
    """
    data = memoryview(data).cast("B") if not isinstance(data, bytes) else data
    if len(data) == 0:
        raise ImageError("empty", "the message carries no data")
    start = bytes(data[:8])
    if start.startswith(JPEG_START):
        return _decode_jpeg(data, max_pixels)
    if start == PNG_START:
        return _decode_png(data, max_pixels)
    raise ImageError("undecodable", f"neither JPEG nor PNG: the data begins with {start.hex(' ')}")


def _decode_jpeg(data: Buffer, max_pixels: int) -> ImageArray:
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(data)
        _check_pixels(height, width, max_pixels)
        _check_scans(data)
        # Strict: a JPEG that ends early is an error, not a picture with a grey half.
        return np.asarray(simplejpeg.decode_jpeg(data, colorspace="RGB", strict=True))
    except ValueError as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError("undecodable", f"not a complete JPEG: {error}") from error


def _check_scans(data: Buffer) -> None:
    scans = bytes(data).count(JPEG_SCAN)
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
    if encoding not in _PLAIN and encoding not in _BAYER:
        names = ", ".join([*_PLAIN, *_BAYER])
        raise ImageError("unknown_encoding", f"encoding {encoding!r} is none of {names}")
    channels, conversion = _PLAIN.get(encoding) or (1, _BAYER[encoding])
    rows = _rows(data, height=height, width=width, step=step, channels=channels)
    if conversion is None:
        return rows
    if encoding in _BAYER and (height < 3 or width < 3):
        raise ImageError("too_small", f"a Bayer image of {width}x{height} has no colour")
    return np.asarray(cv2.cvtColor(rows, conversion))


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
