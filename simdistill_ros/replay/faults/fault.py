# SPDX-License-Identifier: Apache-2.0
"""What every fault has: a seed, the cameras it strikes, and draws that depend on the message."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

from simdistill_ros.replay.bag_storage import BagMessage
from simdistill_ros.replay.nuscenes_reader import CAMERA_CHANNELS

CAMERAS = tuple(channel.lower() for channel in CAMERA_CHANNELS)
IMAGE_TOPICS = ("image_rect", "image_rect_compressed")
NANOSECONDS = 1_000_000_000


def setting(default: Any, meaning: str, low: float | None = None, high: float | None = None) -> Any:
    """Return a dataclass field that the command line can set, with its meaning and its range."""
    return field(default=default, metadata={"meaning": meaning, "low": low, "high": high})


@dataclass(frozen=True)
class Fault(ABC):
    """One planted fault.

    Attributes:
        name: What the command line calls it.
        needs_realtime: Whether it only changes when messages come, which a step replay ignores.
        seed: Draws of equal seeds are equal.
        cameras: `all`, names joined by `+`, or how many to choose by the seed.
    """

    name: ClassVar[str]
    needs_realtime: ClassVar[bool] = False

    seed: int = setting(0, "draws of equal seeds are equal", 0)
    cameras: str = setting("all", "all, names joined by +, or how many to choose by the seed")

    @abstractmethod
    def apply(self, messages: Iterator[BagMessage]) -> Iterator[BagMessage]:
        """Return the stream with the fault in it, in order of log time."""

    @property
    def struck_cameras(self) -> tuple[str, ...]:
        """The cameras that the fault strikes.

        Raises:
            ValueError: If a camera is unknown or there are not as many.
        """
        if self.cameras == "all":
            return CAMERAS
        if self.cameras.isdigit():
            count = int(self.cameras)
            if not 1 <= count <= len(CAMERAS):
                raise ValueError(
                    f"cameras: expected 1 to {len(CAMERAS)} of them, got {self.cameras}"
                )
            return tuple(random.Random(f"{self.seed} cameras").sample(CAMERAS, count))
        names = tuple(self.cameras.split("+"))
        unknown = [name for name in names if name not in CAMERAS]
        if unknown:
            raise ValueError(
                f"cameras: expected some of {', '.join(CAMERAS)} joined by +, got {self.cameras!r}"
            )
        return names

    def strikes(self, message: BagMessage, kinds: tuple[str, ...] = IMAGE_TOPICS) -> bool:
        """Tell whether a message is of a struck camera and of one of these topics."""
        _, camera, kind = f"/{message.topic.lstrip('/')}//".split("/", 3)[:3]
        return kind.rstrip("/") in kinds and camera in self.struck_cameras

    def draw(self, message: BagMessage) -> random.Random:
        """Return the random numbers that belong to a message."""
        return random.Random(f"{self.seed} {self.name} {message.topic} {message.stamp_ns}")


def elapsed_s(messages: Iterator[BagMessage]) -> Iterator[tuple[float, BagMessage]]:
    """Yield messages with the seconds since the first."""
    start_ns: int | None = None
    for message in messages:
        start_ns = message.stamp_ns if start_ns is None else start_ns
        yield (message.stamp_ns - start_ns) / NANOSECONDS, message
