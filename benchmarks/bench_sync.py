# SPDX-License-Identifier: Apache-2.0
"""Compare the synchroniser with `message_filters.ApproximateTimeSynchronizer`, where installed.

Each case of `sync_streams.py` is played to both: how many complete cycles it has, how many sets
come out, how many of them mix two cycles, and the CPU time per message. The mean is of the first
run. The worst single message is the worst of the fastest of five runs each, so that a pause of the
machine or of the garbage collector is not taken for the synchroniser's. Prints rows of a Markdown
table and, as the last line, JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.sync_streams import MS, Arrival, Scenario, arrivals, cases, complete_cycles
from simdistill_ros.core.sync import Synchronizer

TOLERANCE_MS = 60
QUEUE_SIZE = 10
Feed = Callable[[Arrival], list[dict[str, int]]]  # a message in, the cycles of its sets out


@dataclass(frozen=True)
class Result:
    """One synchroniser on one case."""

    case: str
    synchroniser: str
    complete_cycles: int
    matched: int
    sets: int
    mixed: int
    mean_ms: float
    worst_ms: float


def our_feed(names: tuple[str, ...]) -> Feed:
    """Return a fresh synchroniser of ours."""
    sync: Synchronizer[int] = Synchronizer(
        names, tolerance_ns=TOLERANCE_MS * MS, timeout_ns=300 * MS, queue_size=QUEUE_SIZE
    )

    def feed(message: Arrival) -> list[dict[str, int]]:
        sets = sync.add(message.camera, message.stamp_ns, message.cycle, message.arrival_ns)
        return [synced.items for synced in sets]

    return feed


def message_filters_feed(names: tuple[str, ...]) -> Feed:
    """Return a fresh ApproximateTimeSynchronizer; raises ImportError where there is none."""
    import message_filters
    from std_msgs.msg import Header

    class Stamped:
        def __init__(self, message: Arrival) -> None:
            self.header = Header()
            self.header.stamp.sec, self.header.stamp.nanosec = divmod(message.stamp_ns, 10**9)
            self.cycle = message.cycle

    out: list[dict[str, int]] = []
    inputs = {name: message_filters.SimpleFilter() for name in names}
    sync = message_filters.ApproximateTimeSynchronizer(
        list(inputs.values()), QUEUE_SIZE, TOLERANCE_MS / 1000
    )
    sync.registerCallback(
        lambda *messages: out.append(
            {name: message.cycle for name, message in zip(names, messages, strict=True)}
        )
    )

    def feed(message: Arrival) -> list[dict[str, int]]:
        out.clear()
        inputs[message.camera].signalMessage(Stamped(message))
        return list(out)

    return feed


def play(scenario: Scenario, label: str, make_feed: Callable[[tuple[str, ...]], Feed]) -> Result:
    """Run a case five times and return what came out and what it cost."""
    messages = arrivals(scenario)
    runs_ns: list[list[int]] = []
    for _ in range(5):
        feed, sets, costs_ns = make_feed(scenario.names), [], []
        for message in messages:
            started_ns = time.thread_time_ns()
            found = feed(message)
            costs_ns.append(time.thread_time_ns() - started_ns)
            sets += found
        runs_ns.append(costs_ns)
    pure = {next(iter(s.values())) for s in sets if len(set(s.values())) == 1}
    complete = complete_cycles(messages, scenario.names)
    return Result(
        case=scenario.name,
        synchroniser=label,
        complete_cycles=len(complete),
        matched=len(complete & pure),
        sets=len(sets),
        mixed=sum(len(set(s.values())) > 1 for s in sets),
        mean_ms=round(sum(runs_ns[0]) / len(messages) / MS, 4),
        worst_ms=round(max(map(min, zip(*runs_ns, strict=True))) / MS, 3),
    )


def bench_sync(only: str = "") -> list[dict[str, Any]]:
    """Play the cases whose name contains `only`; return and print one row for each run."""
    competitors: list[tuple[str, Callable[[tuple[str, ...]], Feed]]] = [("ours", our_feed)]
    try:
        message_filters_feed(("a", "b"))
        competitors.append(("message_filters", message_filters_feed))
    except ImportError as error:
        print(f"message_filters is not installed here ({error}): only ours is measured.")
    rows: list[dict[str, Any]] = []
    for scenario in cases():
        for label, make_feed in competitors if only in scenario.name else ():
            rows.append(asdict(play(scenario, label, make_feed)))
            print("| " + " | ".join(str(value) for value in rows[-1].values()) + " |", flush=True)
    return rows


def main() -> None:
    """Run the cases and print the rows, then JSON."""
    parser = argparse.ArgumentParser(description="Compare synchronisers on troubled streams.")
    parser.add_argument("--only", default="", help="run the cases whose name contains this")
    print(json.dumps({"sync": bench_sync(parser.parse_args().only)}))


if __name__ == "__main__":
    main()
