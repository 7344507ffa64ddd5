# SPDX-License-Identifier: Apache-2.0
"""Faults of stamps and clocks."""

from __future__ import annotations

import time
from typing import Any

from faults.fault_bench import CAMERA, MS, FaultBench
from faults.planted_fault import ERROR, WARN, Fault
from rig_bench import OFFSETS_NS, START_NS

from simdistill_ros.conversions import stamp_ns_from_msg, stamp_to_msg


def zero_stamp(bench: FaultBench) -> None:
    bench.cycles(lambda message: setattr(message.header, "stamp", stamp_to_msg(0)))


def negative_stamp(bench: FaultBench) -> None:
    bench.cycles(lambda message: setattr(message.header, "stamp", stamp_to_msg(-5_000_000_000)))


def jump_back(bench: FaultBench) -> None:
    for cycle in range(3):
        bench.publish_cycle(at_ns=START_NS - 30_000 * MS + cycle * 83 * MS)
        bench.spin_until(lambda: False, 0.083)


def future_stamp(bench: FaultBench) -> None:
    stamps_ns = iter(range(time.time_ns() + 9_000 * MS, 2**62, 83 * MS))
    bench.cycles(lambda message: setattr(message.header, "stamp", stamp_to_msg(next(stamps_ns))))


def other_decade(bench: FaultBench) -> None:
    def change(message: Any) -> None:
        stamp_ns = stamp_ns_from_msg(message.header.stamp) + 10_000 * MS
        message.header.stamp = stamp_to_msg(stamp_ns)

    bench.cycles(change, count=8)


def no_clock(bench: FaultBench) -> None:
    bench.spin_until(lambda: bench.statuses_of("output", "no_clock"))


def start_clock(bench: FaultBench) -> None:
    from rosgraph_msgs.msg import Clock

    publisher = bench.rig.create_publisher(Clock, "/clock", 10)
    bench.spin_until(lambda: publisher.get_subscription_count() > 0)
    publisher.publish(Clock(clock=stamp_to_msg(START_NS)))


def fast_clock(bench: FaultBench) -> None:
    for _ in range(12):  # until the firing order is beyond doubt
        bench.detect_one()

    def change(message: Any) -> None:
        stamp_ns = stamp_ns_from_msg(message.header.stamp) + 35 * MS
        message.header.stamp = stamp_to_msg(stamp_ns)

    bench.cycles(change, count=12)


def second_stream(bench: FaultBench) -> None:
    intruder = bench.second_publisher()
    bench.spin_until(lambda: intruder.get_subscription_count() > 0)
    deadline_s = time.monotonic() + 10.0
    while not _is_error(bench, "duplicate_stamp") and time.monotonic() < deadline_s:
        stamp_ns = bench.publish_cycle() - max(OFFSETS_NS.values()) + OFFSETS_NS[CAMERA]
        bench.spin_until(lambda: False, 0.03)  # the set is used, which ends a fault before it
        intruder.publish(bench.image(CAMERA, stamp_ns + 3 * MS))
        bench.spin_until(lambda: False, 0.053)
    bench.rig.destroy_publisher(intruder)


def _is_error(bench: FaultBench, cause: str) -> bool:
    return any(status.level == ERROR for status in bench.statuses_of(CAMERA, cause))


CLOCK_FAULTS: tuple[Fault, ...] = (
    Fault("stamp of zero", "clock", zero_stamp, "zero_stamp", words=("driver must stamp",)),
    Fault("stamp before 1970", "clock", negative_stamp, "zero_stamp"),
    Fault(
        "all stamps jump back half a minute", "clock", jump_back, "time_jump",
        subject="sync", level=WARN, is_silent=False, is_passing=True,
        recovery="at once: matching starts anew",
    ),
    Fault(
        "stamp in the future", "clock", future_stamp, "future_stamp", words=("s ahead of",),
        is_passing=True, recovery="with the next good image",
    ),
    Fault(
        "clock of a camera ten seconds fast", "clock", other_decade, "out_of_tolerance",
        words=("ms ahead of the other cameras'",), is_passing=True,
        recovery="when the clock is right again",
    ),
    Fault(
        "simulated time without a clock", "clock", no_clock, "no_clock", subject="output",
        words=("/clock",), node="simulated", heal=start_clock, recovery="with the first /clock",
    ),
    Fault(
        "clock of a camera 35 ms fast", "clock", fast_clock, "out_of_tolerance",
        words=("35.0 ms ahead of its place", "at most 15.0 ms"), is_silent=False,
        recovery="when the clock is right again",
    ),
    Fault(
        "two images of a camera in each cycle", "clock", second_stream, "duplicate_stamp",
        words=("second publisher",), is_silent=False, recovery="the rig's own go on being used",
    ),
)  # fmt: skip
