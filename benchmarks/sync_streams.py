# SPDX-License-Identifier: Apache-2.0
"""Streams of stamps like those of a nuScenes rig, with everything that goes wrong on vehicles.

Used by the synchroniser's benchmark and by its tests. An arrival carries the number of its cycle,
which a synchroniser never sees, so that a set which mixes two cycles can be told.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

MS = 1_000_000
START_NS = 1_535_657_125 * 1000 * MS
OFFSETS_MS = {
    "cam_front_left": 0.0,
    "cam_front": 7.6,
    "cam_front_right": 15.5,
    "cam_back_right": 23.0,
    "cam_back": 32.7,
    "cam_back_left": 42.6,
}
CAMERAS = tuple(OFFSETS_MS)
PERIOD_MS = 1000 / 12


@dataclass(frozen=True)
class Arrival:
    """One message reaching the synchroniser; `cycle` counts on through all passes of a loop."""

    camera: str
    stamp_ns: int
    arrival_ns: int
    cycle: int


@dataclass(frozen=True)
class Scenario:
    """How a stream is made; times in milliseconds, drops as a share.

    Attributes:
        grid: "uniform" is 12 Hz; "nus" puts 12 cycles a second on a 20 Hz grid: gaps of 50 and
            100 ms.
        info: Adds a twelve-topic variant: one more stream per camera with equal stamps.
        drop: Share lost, by camera; "all" stands for every camera.
        dead_from, dead_until: Cycles between which the last camera sends nothing.
        passes: How often the stream is played; each pass has the stamps of the first.
        first_skipped: Messages lost at the very start, so that the stream starts inside a cycle.
        clock_offset: Added to the stamps of the third camera.
    """

    name: str
    grid: str = "uniform"
    info: bool = False
    cycles: int = 360
    stamp_jitter: float = 1.0
    latency_jitter: float = 0.0
    drop: tuple[tuple[str, float], ...] = ()
    dead_from: int | None = None
    dead_until: int | None = None
    passes: int = 1
    first_skipped: int = 0
    clock_offset: float = 0.0

    @property
    def names(self) -> tuple[str, ...]:
        """The streams."""
        return CAMERAS + tuple(f"{camera}/info" for camera in CAMERAS) if self.info else CAMERAS


def cycle_starts_ms(scenario: Scenario) -> list[float]:
    """Return when each cycle of a pass starts."""
    if scenario.grid == "uniform":
        return [cycle * PERIOD_MS for cycle in range(scenario.cycles)]
    return [cycle * 20 // 12 * 50.0 for cycle in range(scenario.cycles)]


def arrivals(scenario: Scenario, seed: int = 0) -> list[Arrival]:
    """Return the messages of a scenario in their order of arrival."""
    rng = random.Random(seed)
    drop = dict(scenario.drop)
    messages = []
    pass_ms = cycle_starts_ms(scenario)[-1] + PERIOD_MS
    for number in range(scenario.passes):
        for cycle, start_ms in enumerate(cycle_starts_ms(scenario)):
            for camera, offset_ms in OFFSETS_MS.items():
                taken_ms = start_ms + offset_ms + rng.uniform(-1, 1) * scenario.stamp_jitter
                stamped_ms = taken_ms + scenario.clock_offset * (camera == CAMERAS[2])
                for name in (camera, f"{camera}/info") if scenario.info else (camera,):
                    latency_ms = rng.uniform(0, scenario.latency_jitter)
                    lost = rng.random() < drop.get(name, drop.get("all", 0.0))
                    if not lost and not _is_dead(scenario, name, cycle, number):
                        messages.append(
                            Arrival(
                                name,
                                START_NS + round(stamped_ms * MS),
                                round((number * pass_ms + taken_ms + latency_ms + 5) * MS),
                                number * scenario.cycles + cycle,
                            )
                        )
    messages.sort(key=lambda message: message.arrival_ns)
    return messages[scenario.first_skipped :]


def _is_dead(scenario: Scenario, name: str, cycle: int, number: int) -> bool:
    if number > 0 or scenario.dead_from is None or not name.startswith(CAMERAS[-1]):
        return False
    return scenario.dead_from <= cycle < (scenario.dead_until or scenario.cycles)


def complete_cycles(messages: Iterable[Arrival], names: Sequence[str]) -> set[int]:
    """Return the cycles of which every stream delivered its message."""
    counts = Counter(message.cycle for message in messages)
    return {cycle for cycle, count in counts.items() if count == len(names)}


ALL_DROP = (("all", 0.05),)
ONE_DROPS = ((CAMERAS[3], 0.1),)
BASE_CASES = (
    Scenario("uniform"),
    Scenario("stamp jitter 3 ms", stamp_jitter=3.0),
    Scenario("latency jitter 40 ms", latency_jitter=40.0),
    Scenario("uneven gaps", grid="nus"),
    Scenario("uneven gaps, latency jitter 40 ms", grid="nus", latency_jitter=40.0),
    Scenario("one camera drops 10 %", drop=ONE_DROPS),
    Scenario("one camera drops 10 %, uneven gaps", grid="nus", drop=ONE_DROPS),
    Scenario("all drop 5 %, uneven gaps", grid="nus", drop=ALL_DROP),
    Scenario("a camera dies", dead_from=120),
    Scenario("a camera dies and returns, uneven gaps", grid="nus", dead_from=120, dead_until=240),
    Scenario("loop", passes=2),
    Scenario("loop, uneven gaps", grid="nus", passes=2),
    Scenario("loop after a camera dropped 10 %", drop=ONE_DROPS, passes=2),
    Scenario("loop after a camera had died", dead_from=120, passes=2),
    Scenario("loop after a death, uneven gaps", grid="nus", dead_from=120, passes=2),
    Scenario("starts inside a cycle, uneven gaps", grid="nus", first_skipped=3),
    Scenario("a clock 5 ms off, uneven gaps", grid="nus", clock_offset=5.0),
)


def cases() -> list[Scenario]:
    """Return all cases: the base cases with six and with twelve topics."""
    return [
        replace(case, name=f"{case.name}, {12 if info else 6} topics", info=info)
        for case in BASE_CASES
        for info in (False, True)
    ]
