# SPDX-License-Identifier: Apache-2.0
"""An endless hostile day of six cameras at 12 Hz, in blocks that each have their own faults."""

from __future__ import annotations

import functools
from array import array
from collections.abc import Iterator

import cv2
import simplejpeg
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage

from benchmarks.bench_detector import HEIGHT, WIDTH, K, jpeg_image
from benchmarks.load_rig import OFFSETS_MS, PERIOD_MS
from simdistill_ros.conversions import header_to_msg, info_to_msg
from simdistill_ros.core.camera import CameraCalibration, scale_matrix
from simdistill_ros.core.images import decode_jpeg_png
from simdistill_ros.replay.bag_storage import BagMessage
from simdistill_ros.replay.faults.cdr_stamp import with_stamp
from simdistill_ros.replay.faults.fault import Fault
from simdistill_ros.replay.faults.parse import parse_fault

MS = 1_000_000
BLOCK_S = 20
# At rate one: a share of the images each, and a camera away for a twentieth of the time.
SHARES = {"frame_loss": 0.01, "reorder": 0.01, "duplicate": 0.01, "corrupt": 0.01}
JITTER_MS = 15.0
CRASH_S = 1.0


def faults_of_block(rate: float, seed: int) -> list[Fault]:
    """Return the faults of one block at a multiple of the ordinary rates."""
    shares = {name: min(0.5, share * rate) for name, share in SHARES.items()}
    texts = [f"{name}:seed={seed},probability={share}" for name, share in shares.items()]
    until_s = BLOCK_S / 2 + CRASH_S * rate
    texts.append(f"camera_crash:seed={seed},from_s={BLOCK_S / 2},until_s={until_s}")
    if seed % 3 == 2:  # a clock that is off for one block
        texts.append(f"clock_offset:seed={seed},offset_ms={10 * rate}")
    texts.append(f"jitter:seed={seed},max_ms={JITTER_MS * rate}")
    return [parse_fault(text) for text in texts]


def hostile_stream(
    start_ns: int, seconds: float, rate: float, seed: int, image_hw: tuple[int, int]
) -> Iterator[BagMessage]:
    """Yield the messages of `seconds` from a start time on, in order of delivery.

    Args:
        start_ns: Time of the first message.
        seconds: Length.
        rate: Multiple of the ordinary rates of faults.
        seed: Of all draws.
        image_hw: Height and width of the pictures.
    """
    blocks = max(1, round(seconds / BLOCK_S)) if seconds >= BLOCK_S else 1
    block_s = min(seconds, BLOCK_S)
    for block in range(blocks):
        stream = _good_stream(start_ns + round(block * block_s * 1e9), block_s, image_hw)
        for fault in faults_of_block(rate, seed * 100_000 + block):
            stream = fault.apply(stream)
        yield from stream


def _good_stream(start_ns: int, seconds: float, image_hw: tuple[int, int]) -> Iterator[BagMessage]:
    for cycle in range(int(seconds * 1000 / PERIOD_MS)):
        for camera, offset_ms in OFFSETS_MS.items():
            stamp_ns = start_ns + round((cycle * PERIOD_MS + offset_ms) * MS)
            for topic, data in _messages(camera, image_hw).items():
                yield BagMessage(topic, stamp_ns, with_stamp(data, stamp_ns))


@functools.cache
def _messages(camera: str, image_hw: tuple[int, int]) -> dict[str, bytes]:
    """Return a camera's CameraInfo and image, serialised, by topic."""
    height, width = image_hw
    scaling = scale_matrix(width / WIDTH, height / HEIGHT)
    info = info_to_msg(CameraCalibration(width, height, scaling @ K), camera, 1)
    header = header_to_msg(camera, 1)
    image = CompressedImage(header=header, format="jpeg")
    pixels = decode_jpeg_png(jpeg_image(list(OFFSETS_MS).index(camera)))
    resized = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    image.data = array("B", simplejpeg.encode_jpeg(resized, quality=85))
    return {
        f"/{camera}/camera_info": bytes(serialize_message(info)),
        f"/{camera}/image_rect_compressed": bytes(serialize_message(image)),
    }
