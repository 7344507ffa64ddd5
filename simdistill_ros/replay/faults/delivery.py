# SPDX-License-Identifier: Apache-2.0
"""Faults of delivery: messages that do not come, come late, twice, in another order or misdated."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, replace

from simdistill_ros.replay.bag_storage import BagMessage
from simdistill_ros.replay.faults.cdr_stamp import stamp_ns_of_cdr, with_stamp
from simdistill_ros.replay.faults.fault import IMAGE_TOPICS, Fault, elapsed_s, setting

MS = 1_000_000
FOREVER_S = 1e9


@dataclass(frozen=True)
class CameraCrash(Fault):
    """Cameras that send nothing for a while, neither images nor CameraInfo."""

    name = "camera_crash"

    cameras: str = setting("1", "all, names joined by +, or how many to choose by the seed")
    from_s: float = setting(0.0, "begins this long after the first message, s", 0)
    until_s: float = setting(FOREVER_S, "ends this long after the first message, s", 0)

    def apply(self, messages: Iterator[BagMessage]) -> Iterator[BagMessage]:
        """Leave out what the cameras would have sent."""
        for time_s, message in elapsed_s(messages):
            is_down = self.from_s <= time_s < self.until_s
            if not (is_down and self.strikes(message, (*IMAGE_TOPICS, "camera_info"))):
                yield message


@dataclass(frozen=True)
class FrameLoss(Fault):
    """Single images that never arrive."""

    name = "frame_loss"

    probability: float = setting(0.1, "share of images lost", 0, 1)

    def apply(self, messages: Iterator[BagMessage]) -> Iterator[BagMessage]:
        """Leave out images."""
        for message in messages:
            if not (self.strikes(message) and self.draw(message).random() < self.probability):
                yield message


@dataclass(frozen=True)
class Jitter(Fault):
    """Images that arrive later than they should, each by another time; stamps stay right."""

    name = "jitter"
    needs_realtime = True

    max_ms: float = setting(40.0, "delays are uniform between 0 and this, ms", 0, 10_000)

    def apply(self, messages: Iterator[BagMessage]) -> Iterator[BagMessage]:
        """Delay images."""
        waiting: list[tuple[int, int, BagMessage]] = []
        for number, message in enumerate(messages):
            late = message
            if self.strikes(message):
                delay_ns = round(self.draw(message).uniform(0, self.max_ms) * MS)
                late = replace(message, stamp_ns=message.stamp_ns + delay_ns)
            heapq.heappush(waiting, (late.stamp_ns, number, late))
            while waiting and waiting[0][0] <= message.stamp_ns:
                yield heapq.heappop(waiting)[2]
        while waiting:
            yield heapq.heappop(waiting)[2]


@dataclass(frozen=True)
class ClockOffset(Fault):
    """Cameras whose clock is wrong: all their stamps are off by the same time."""

    name = "clock_offset"

    cameras: str = setting("1", "all, names joined by +, or how many to choose by the seed")
    offset_ms: float = setting(20.0, "added to the stamps, ms", -1e6, 1e6)

    def apply(self, messages: Iterator[BagMessage]) -> Iterator[BagMessage]:
        """Change stamps."""
        offset_ns = round(self.offset_ms * MS)
        for message in messages:
            if self.strikes(message, (*IMAGE_TOPICS, "camera_info")):
                stamp_ns = stamp_ns_of_cdr(message.data) + offset_ns
                yield replace(message, data=with_stamp(message.data, stamp_ns))
            else:
                yield message


@dataclass(frozen=True)
class Reorder(Fault):
    """Images that arrive right after the next image of their camera."""

    name = "reorder"
    needs_realtime = True

    probability: float = setting(0.1, "share of images that change places", 0, 1)

    def apply(self, messages: Iterator[BagMessage]) -> Iterator[BagMessage]:
        """Hold images back until the next of their topic has passed."""
        held: dict[str, BagMessage] = {}
        for message in messages:
            late = held.pop(message.topic, None)
            if late is not None:
                yield message
                yield replace(late, stamp_ns=message.stamp_ns)
            elif self.strikes(message) and self.draw(message).random() < self.probability:
                held[message.topic] = message
            else:
                yield message


@dataclass(frozen=True)
class Duplicate(Fault):
    """Images that arrive twice."""

    name = "duplicate"
    needs_realtime = True

    probability: float = setting(0.1, "share of images sent twice", 0, 1)

    def apply(self, messages: Iterator[BagMessage]) -> Iterator[BagMessage]:
        """Repeat images."""
        for message in messages:
            yield message
            if self.strikes(message) and self.draw(message).random() < self.probability:
                yield message
