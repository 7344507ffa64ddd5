# SPDX-License-Identifier: Apache-2.0
"""Faults of the picture: bytes lost on the way, blur, darkness."""

from __future__ import annotations

import random
from abc import abstractmethod
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import simplejpeg
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CompressedImage, Image

from simdistill_ros.conversions import image_from_msg
from simdistill_ros.core.snapshot import ImageArray
from simdistill_ros.replay.bag_storage import BagMessage
from simdistill_ros.replay.faults.fault import Fault, setting

JPEG_QUALITY = 95


@dataclass(frozen=True)
class ContentFault(Fault):
    """Changes a share of the images."""

    probability: float = setting(1.0, "share of images struck", 0, 1)

    def apply(self, messages: Iterator[BagMessage]) -> Iterator[BagMessage]:
        """Change images."""
        for message in messages:
            if not self.strikes(message):
                yield message
                continue
            draw = self.draw(message)
            is_struck = draw.random() < self.probability
            yield replace(message, data=self._changed(message, draw)) if is_struck else message

    def _changed(self, message: BagMessage, draw: random.Random) -> bytes:
        kind = CompressedImage if message.topic.endswith("_compressed") else Image
        image = deserialize_message(message.data, kind)
        self.change(image, draw)
        return bytes(serialize_message(image))

    @abstractmethod
    def change(self, message: Any, draw: random.Random) -> None:
        """Change one message in place."""


@dataclass(frozen=True)
class Corrupt(ContentFault):
    """Images whose data ends early, as after a broken transfer: nothing can decode them."""

    name = "corrupt"

    probability: float = setting(0.1, "share of images struck", 0, 1)

    def change(self, message: Any, draw: random.Random) -> None:
        """Cut the data off."""
        kept = int(len(message.data) * draw.uniform(0.1, 0.9))
        message.data = message.data[:kept]


@dataclass(frozen=True)
class Blur(ContentFault):
    """Images out of focus."""

    name = "blur"

    sigma_px: float = setting(4.0, "width of the blur, pixels", 0.1, 100)

    def change(self, message: Any, draw: random.Random) -> None:
        """Blur the picture."""
        pixels = image_from_msg(message)
        _put_pixels(message, cv2.GaussianBlur(pixels, (0, 0), self.sigma_px))


@dataclass(frozen=True)
class Darkness(ContentFault):
    """Images taken with too little light: dark, and noisy."""

    name = "darkness"

    brightness: float = setting(0.15, "share of the light that is left", 0, 1)
    noise: float = setting(4.0, "standard deviation of the noise, grey values", 0, 100)

    def change(self, message: Any, draw: random.Random) -> None:
        """Darken the picture."""
        pixels = image_from_msg(message)
        generator = np.random.default_rng(draw.getrandbits(64))
        noise = generator.normal(0.0, self.noise, pixels.shape).astype(np.float32)
        dark = pixels.astype(np.float32) * np.float32(self.brightness) + noise
        _put_pixels(message, np.clip(dark, 0, 255).astype(np.uint8))


def _put_pixels(message: Any, pixels: ImageArray) -> None:
    """Put (H, W, 3) RGB pixels of the same size into a message."""
    data = array("B")
    if isinstance(message, CompressedImage):
        data.frombytes(simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=JPEG_QUALITY))
        message.format = "jpeg"
    else:
        data.frombytes(np.ascontiguousarray(pixels).tobytes())
        message.encoding, message.step = "rgb8", 3 * message.width
    message.data = data
