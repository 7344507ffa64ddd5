# SPDX-License-Identifier: Apache-2.0
"""Faults of images: compressed, raw, and their frames."""

from __future__ import annotations

import array
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import simplejpeg
from faults.fault_bench import CAMERA, OTHERS, FaultBench
from faults.planted_fault import Fault
from rclpy.serialization import serialize_message
from rig_bench import HEIGHT, START_NS, WIDTH


def picture(suffix: str, height: int = HEIGHT, width: int = WIDTH) -> bytes:
    pixels = np.full((height, width, 3), 90, np.uint8)
    progressive = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1] if suffix == ".jpg" else []
    return bytes(cv2.imencode(suffix, pixels, progressive)[1].tobytes())


def huge_jpeg() -> bytes:
    data = bytearray(simplejpeg.encode_jpeg(np.zeros((HEIGHT, WIDTH, 3), np.uint8)))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = (65_000).to_bytes(2, "big") * 2
    return bytes(data)


def scanned_jpeg() -> bytes:
    data = picture(".jpg")
    return data[:-2] + data[data.rfind(b"\xff\xda") : -2] * 100 + data[-2:]


def changed_png() -> bytes:
    data = bytearray(picture(".png"))
    data[-20] ^= 1
    return bytes(data)


def huge_png() -> bytes:
    data = bytearray(picture(".png"))
    data[16:24] = (50_000).to_bytes(4, "big") * 2
    return bytes(data)


def picture_fault(name: str, make: Callable[[Any], bytes], cause: str, *words: str) -> Fault:
    def plant(bench: FaultBench) -> None:
        def change(message: Any) -> None:
            message.data = array.array("B", make(bytes(message.data)))

        bench.cycles(change)

    return Fault(name, "message", plant, cause, words=words, node="compressed")


def bytes_fault(name: str, spoil: Callable[[bytes], bytes], *words: str) -> Fault:
    """Return a fault of the serialized bytes of one camera's images."""

    def plant(bench: FaultBench) -> None:
        bench.cycles(lambda message: None, cameras=OTHERS)
        good = bytes(serialize_message(bench.image(CAMERA, START_NS)))
        for _ in range(3):
            bench.publisher(CAMERA).publish(spoil(good))
        bench.spin_until(lambda: bench.new_count(CAMERA, "bad_message"))

    return Fault(
        name, "message", plant, "bad_message", words=words, is_passing=True,
        recovery="with the next whole message",
    )  # fmt: skip


# -- raw images --------------------------------------------------------------------------------


def image_fault(name: str, change: Callable[[Any], None], cause: str, *words: str) -> Fault:
    return Fault(name, "message", lambda bench: bench.cycles(change), cause, words=words)


def shorter_step(message: Any) -> None:
    message.step -= 1


def shorter_data(message: Any) -> None:
    message.data = message.data[:-7]


def no_size(message: Any) -> None:
    message.height = message.width = message.step = 0
    message.data = array.array("B")


def other_encoding(message: Any) -> None:
    message.encoding = "banana"


def half_height(message: Any) -> None:
    message.height //= 2
    message.data = message.data[: message.step * message.height]


def a_line(message: Any) -> None:
    message.height, message.width, message.step = 20_000, 1, 3
    message.data = array.array("B", bytes(60_000))


def unknown_frame(message: Any) -> None:
    message.header.frame_id = "nobody"


def larger(message: Any) -> None:
    message.height, message.width, message.step = 2 * HEIGHT, 2 * WIDTH, 6 * WIDTH
    message.data = array.array("B", bytes(12 * HEIGHT * WIDTH))


def swapped_channels(message: Any) -> None:
    message.encoding = "bgr8"


def long_frame(message: Any) -> None:
    message.header.frame_id = "x" * 300


MESSAGE_FAULTS: tuple[Fault, ...] = (
    bytes_fault("message that is cut short", lambda data: data[:40], "a message of 40 bytes"),
    bytes_fault("message in another representation", lambda d: b"\x00\x07" + d[2:], "XCDR2"),
    bytes_fault(
        "message that claims more data than it has", lambda d: d[:-7], "bytes for data",
    ),
    picture_fault("JPEG cut short", lambda d: d[: len(d) // 2], "undecodable"),
    picture_fault("data that is no picture", lambda d: b"not a picture", "undecodable"),
    picture_fault("no data", lambda d: b"", "empty"),
    picture_fault("JPEG whose header claims 65000 x 65000", lambda d: huge_jpeg(), "too_large"),
    picture_fault("JPEG of endless scans", lambda d: scanned_jpeg(), "too_large", "scans"),
    picture_fault("PNG with a changed byte", lambda d: changed_png(), "undecodable", "checksum"),
    picture_fault("PNG cut short", lambda d: picture(".png")[:-10], "undecodable"),
    picture_fault("PNG whose header claims 50000 x 50000", lambda d: huge_png(), "too_large"),
    picture_fault(
        "picture of another shape", lambda d: picture(".png", 40, 40), "aspect_ratio", "40x40"
    ),
    image_fault("step shorter than a row", shorter_step, "wrong_step"),
    image_fault("fewer bytes than step x height", shorter_data, "size_mismatch"),
    image_fault("size of zero", no_size, "empty"),
    image_fault("unknown encoding", other_encoding, "unknown_encoding", "banana"),
    image_fault("half of the rows", half_height, "aspect_ratio"),
    image_fault("an image one pixel wide", a_line, "too_large", "sides"),
    Fault(
        "images of another size in mid-stream", "message", lambda bench: bench.cycles(larger),
        "format_changed", words=("64x36", "128x72"), is_silent=False, is_passing=True,
        is_answered=True, recovery="at once: they are resized",
    ),
    Fault(
        "images of another encoding in mid-stream", "message",
        lambda bench: bench.cycles(swapped_channels), "format_changed", words=("rgb8", "bgr8"),
        is_silent=False, is_passing=True, is_answered=True, recovery="at once: they are converted",
    ),
    image_fault("frame_id that nobody publishes", unknown_frame, "unknown_frame", "nobody"),
    image_fault("frame_id of 300 characters", long_frame, "bad_frame", "300 characters"),
)  # fmt: skip
