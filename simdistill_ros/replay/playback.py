# SPDX-License-Identifier: Apache-2.0
"""Two ways to play a bag against the detector.

`step`: one set of keyframe images, then wait for its answer; the same result every time, however
slow the machine. `realtime`: everything at the times of its stamps; what the detector cannot keep
up with is lost, as on the vehicle.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from simdistill_ros.replay.bag_storage import BagMessage
from simdistill_ros.replay.faults.cdr_stamp import stamp_ns_of_cdr
from simdistill_ros.replay.sample_record import SampleRecord

NANOSECONDS = 1_000_000_000
CLOCK_PERIOD_S = 0.01
INTRODUCTION_S = 0.3
# Six raw images at once overflow the shared memory; what is lost is repaired after seconds only.
BULKY_BYTES = 1_000_000
BULKY_PAUSE_S = 0.02
# After the last image, answers may still be under way.
QUIET_S = 2.0


class MessageSource(Protocol):
    """A bag, or one with faults planted in it."""

    def messages(self) -> Iterator[BagMessage]:
        """Yield all messages by log time."""


@dataclass(frozen=True)
class BagClock:
    """Bag time against this machine's monotonic clock.

    Attributes:
        start_ns: Bag time at the start.
        started_ns: Monotonic time at the start.
        rate: Bag seconds a second.
    """

    start_ns: int
    started_ns: int
    rate: float

    def bag_ns(self, monotonic_ns: int) -> int:
        """Return the bag time at a monotonic time."""
        return self.start_ns + round((monotonic_ns - self.started_ns) * self.rate)


@dataclass(frozen=True)
class StepOptions:
    """How patient `step` is."""

    timeout_s: float = 20.0
    attempts: int = 3


@dataclass
class PlaybackRecord:
    """What happened while a bag was played.

    Attributes:
        published_ns: Reference stamp -> when the last image of its set was published, monotonic.
        republished: Sets that were sent again because no answer came.
        lost: Samples that never got an answer.
        clocks: The clock of each bag that was played in real time.
    """

    published_ns: dict[int, int] = field(default_factory=dict)
    republished: int = 0
    lost: list[str] = field(default_factory=list)
    clocks: list[BagClock] = field(default_factory=list)


@dataclass(frozen=True)
class StepSet:
    """One sample's part of a bag, in the order of publication."""

    sample: SampleRecord
    stamp_ns: int
    companions: list[BagMessage]
    images: list[BagMessage]


def step_sets(
    bag: MessageSource, samples: Sequence[SampleRecord], cameras: Sequence[str]
) -> Iterator[StepSet]:
    """Yield each sample's images and camera infos, with all else that was logged since the last.

    Transforms and the like go up to the sample's latest time, so they are there before the images.
    Camera messages between keyframes are left out.
    """
    messages = _Peekable(bag.messages())
    keyframe_topics = {f"/{camera}/": camera for camera in cameras}
    for sample in samples:
        last_ns = max(sample.stamp_ns, *sample.camera_stamps_ns.values())
        companions, images = [], []
        while (message := messages.take_until(last_ns)) is not None:
            camera = keyframe_topics.get(_folder(message.topic))
            if camera is None:
                companions.append(message)
            elif message.stamp_ns == sample.camera_stamps_ns[camera]:
                images.append(message)
        yield StepSet(sample, sample.reference_stamp_ns(cameras), companions, images)


def _folder(topic: str) -> str:
    return topic[: topic.rfind("/") + 1]


class _Peekable:
    """Messages by log time, handed out up to a time."""

    def __init__(self, messages: Iterator[BagMessage]) -> None:
        self._messages = messages
        self._next = next(messages, None)

    def take_until(self, stamp_ns: int) -> BagMessage | None:
        message = self._next
        if message is None or message.stamp_ns > stamp_ns:
            return None
        self._next = next(self._messages, None)
        return message


def play_step(
    link: Any,
    sets: Iterator[StepSet],
    options: StepOptions,
    *,
    check_alive: Callable[[], None],
    record: PlaybackRecord,
    on_done: Callable[[StepSet], object] = lambda step: None,
) -> None:
    """Play sets one at a time, each when the one before is answered or given up.

    Args:
        link: The detector's link (`DetectorLink`).
        sets: What to play.
        options: Patience.
        check_alive: Raises when waiting has become pointless.
        record: Gets times and losses.
        on_done: Called after each set.
    """
    for number, step in enumerate(sets):
        for message in step.companions:
            link.publish(message)
        if number == 0:
            _introduce_cameras(link, step)
        link.publish_clock(step.stamp_ns)
        for attempt in range(options.attempts):
            record.republished += int(attempt > 0)
            for message in step.images:
                link.publish(message)
                record.published_ns[step.stamp_ns] = time.monotonic_ns()
                if len(message.data) > BULKY_BYTES:
                    link.spin(lambda: False, BULKY_PAUSE_S)
            if _wait_for(link, step.stamp_ns, options.timeout_s, check_alive):
                break
        else:
            record.lost.append(step.sample.token)
        on_done(step)


def _introduce_cameras(link: Any, step: StepSet) -> None:
    """Publish the first calibrations ahead, for they may be overtaken by the first images."""
    for message in step.images:
        if message.topic.endswith("/camera_info"):
            link.publish(message)
    link.spin(lambda: False, INTRODUCTION_S)


def _wait_for(link: Any, stamp_ns: int, timeout_s: float, check_alive: Callable[[], None]) -> bool:
    def is_answered() -> bool:
        check_alive()
        return stamp_ns in link.answers.answers

    return bool(link.spin(is_answered, timeout_s))


def play_realtime(
    link: Any,
    bag: MessageSource,
    *,
    rate: float,
    until_ns: int,
    check_alive: Callable[[], None],
    record: PlaybackRecord,
    on_message: Callable[[BagMessage], None],
) -> None:
    """Play a bag by its log times, `rate` times as fast, up to a log time."""
    pace: _Pace | None = None
    for message in bag.messages():
        if message.stamp_ns > until_ns:
            break
        if pace is None:
            clock = BagClock(message.stamp_ns, time.monotonic_ns(), rate)
            record.clocks.append(clock)
            pace = _Pace(link, clock)
        pace.wait_for(message.stamp_ns)
        check_alive()
        link.publish(message)
        if "/image_rect" in message.topic:
            # By its own stamp, as an answer's; of a repeated image the first counts.
            record.published_ns.setdefault(stamp_ns_of_cdr(message.data), time.monotonic_ns())
        on_message(message)


class _Pace:
    """Bag time against wall time; keeps `/clock` going, which never runs ahead of the bag."""

    def __init__(self, link: Any, clock: BagClock) -> None:
        self._link = link
        self._clock = clock
        self._ticked_s = -float("inf")

    def wait_for(self, stamp_ns: int) -> None:
        clock = self._clock
        due_ns = clock.started_ns + (stamp_ns - clock.start_ns) / clock.rate
        due_s = due_ns / NANOSECONDS
        self._tick(stamp_ns)
        while (left_s := due_s - time.monotonic()) > 0:
            self._link.spin(lambda: False, min(left_s, CLOCK_PERIOD_S))
            self._tick(stamp_ns)

    def _tick(self, limit_ns: int) -> None:
        now_s = time.monotonic()
        if now_s - self._ticked_s >= CLOCK_PERIOD_S:
            played_ns = self._clock.bag_ns(time.monotonic_ns())
            self._link.publish_clock(min(played_ns, limit_ns))
            self._ticked_s = now_s


def drain(link: Any, check_alive: Callable[[], None], timeout_s: float) -> None:
    """Wait until no answer has come for two seconds, or for at most `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        check_alive()
        count = len(link.answers.answers)
        if not link.spin(lambda before=count: len(link.answers.answers) > before, QUIET_S):
            return
