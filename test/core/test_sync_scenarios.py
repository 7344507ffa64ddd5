# SPDX-License-Identifier: Apache-2.0
"""Streams on which approximate-time matching is known to lose or mix sets."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from pathlib import Path

import pytest

from benchmarks.sync_streams import (
    CAMERAS,
    MS,
    Arrival,
    Scenario,
    arrivals,
    cases,
    complete_cycles,
)
from simdistill_ros.core.sync import Synchronizer

TOLERANCES_MS = (50, 100)


class Played:
    """A stream run through a synchroniser: which cycle, and which mixture, came out when."""

    def __init__(self, messages: list[Arrival], sync: Synchronizer[int]) -> None:
        self.sync = sync
        self.mixed = 0
        self.matched: list[int] = []
        self.delay_cycles: list[int] = []  # newest cycle seen minus cycle handed out
        for message in messages:
            for synced in sync.add(
                message.camera, message.stamp_ns, message.cycle, message.arrival_ns
            ):
                cycles = set(synced.items.values())
                self.mixed += len(cycles) > 1
                self.matched.append(min(cycles))
                self.delay_cycles.append(message.cycle - min(cycles))
            assert all(sync.queued(name) <= 10 for name in sync.names)
        self.complete = complete_cycles(messages, sync.names)


def play(scenario: Scenario, tolerance_ms: int = 60, seed: int = 0) -> Played:
    sync: Synchronizer[int] = Synchronizer(
        scenario.names, tolerance_ns=tolerance_ms * MS, timeout_ns=300 * MS
    )
    return Played(arrivals(scenario, seed), sync)


@pytest.mark.parametrize("tolerance_ms", TOLERANCES_MS)
@pytest.mark.parametrize("scenario", cases(), ids=lambda scenario: scenario.name)
def test_every_complete_cycle_is_matched_and_none_is_mixed(scenario, tolerance_ms):
    played = play(scenario, tolerance_ms)
    assert played.mixed == 0
    assert played.matched == sorted(played.complete)
    for name, counters in played.sync.counters.cameras.items():
        queued = played.sync.queued(name)
        assert counters.received == counters.matched + counters.dropped + queued


@pytest.mark.parametrize("grid", ["uniform", "nus"])
def test_after_the_first_cycles_no_set_waits_for_a_later_cycle(grid):
    played = play(Scenario("steady", grid=grid))
    assert played.delay_cycles[5:] == [0] * 355


@pytest.mark.parametrize("grid", ["uniform", "nus"])
@pytest.mark.parametrize("dead_from", [None, 120])
def test_the_first_cycle_after_a_loop_is_matched_at_once(grid, dead_from):
    played = play(Scenario("loop", grid=grid, dead_from=dead_from, passes=2))
    first = played.matched.index(360)
    assert played.delay_cycles[first] == 0


@pytest.mark.parametrize("grid", ["uniform", "nus"])
def test_the_first_cycle_of_a_returning_camera_is_matched_at_once(grid):
    played = play(Scenario("returns", grid=grid, dead_from=120, dead_until=240))
    first = played.matched.index(240)
    assert played.delay_cycles[first] == 0


@pytest.mark.parametrize("grid", ["uniform", "nus"])
@pytest.mark.parametrize("first_skipped", range(12))
def test_a_stream_may_start_anywhere_in_a_cycle(grid, first_skipped):
    played = play(Scenario("cut", grid=grid, cycles=20, first_skipped=first_skipped))
    assert played.mixed == 0
    assert played.matched == sorted(played.complete)


@pytest.mark.parametrize("seed", range(20))
def test_random_troubles_lose_and_mix_nothing(seed):
    rng = random.Random(seed)
    scenario = Scenario(
        "random",
        grid=rng.choice(["uniform", "nus"]),
        cycles=80,
        stamp_jitter=rng.choice([0.0, 1.0, 3.0]),
        latency_jitter=rng.choice([0.0, 20.0, 40.0]),
        drop=rng.choice([(), (("all", 0.05),), ((rng.choice(CAMERAS), 0.1),)]),
        dead_from=rng.choice([None, 25]),
        dead_until=rng.choice([None, 40]),
        passes=rng.choice([1, 2, 3]),
        first_skipped=rng.randrange(40),
        clock_offset=rng.choice([0.0, 5.0, 10.0]),
    )
    played = play(scenario, rng.choice(TOLERANCES_MS), seed)
    assert played.mixed == 0
    assert played.matched == sorted(played.complete)


def test_free_running_cameras_are_followed_as_they_drift():
    rates_hz = {"a": 30.0, "b": 29.9, "c": 30.1}
    messages = sorted(
        (round((phase + k * 1e9 / rates_hz[camera]) + 1e12), camera)
        for camera, phase in (("a", 0), ("b", 9e6), ("c", 21e6))
        for k in range(1000)
    )
    sync: Synchronizer[None] = Synchronizer(rates_hz, tolerance_ns=50 * MS, timeout_ns=300 * MS)
    sets = [s for stamp, camera in messages for s in sync.add(camera, stamp, None, stamp)]
    assert len(sets) > 980
    assert sum(s.spread_ns for s in sets) / len(sets) < 20 * MS


def test_a_camera_at_half_the_rate_sets_the_rate_of_the_sets():
    messages = [(k * 50 * MS + 10**12, "fast", k) for k in range(100)]
    messages += [(k * 50 * MS + 12 * MS + 10**12, "slow", k) for k in range(0, 100, 2)]
    sync: Synchronizer[int] = Synchronizer(
        ["fast", "slow"], tolerance_ns=30 * MS, timeout_ns=300 * MS
    )
    sets = [s for stamp, camera, k in sorted(messages) for s in sync.add(camera, stamp, k, stamp)]
    assert [s.items["fast"] for s in sets] == list(range(0, 100, 2))
    assert all(s.items["fast"] == s.items["slow"] for s in sets)


def keyframe_stamps(dataroot: Path) -> dict[int, dict[str, int]]:
    """Return the stamps of each real keyframe's cameras, by number in order of time."""
    tables = {
        name: json.loads((dataroot / "v1.0-mini" / f"{name}.json").read_text())
        for name in ("sensor", "calibrated_sensor", "sample_data")
    }
    channel = {row["token"]: row["channel"] for row in tables["sensor"]}
    camera = {row["token"]: channel[row["sensor_token"]] for row in tables["calibrated_sensor"]}
    stamps: dict[str, dict[str, int]] = defaultdict(dict)
    for row in tables["sample_data"]:
        name = camera[row["calibrated_sensor_token"]]
        if name.startswith("CAM_") and row["is_key_frame"]:
            stamps[row["sample_token"]][name] = row["timestamp"] * 1000
    return dict(enumerate(sorted(stamps.values(), key=lambda cameras: min(cameras.values()))))


def test_every_real_keyframe_is_matched_with_the_default_tolerance(dataroot):
    keyframes = keyframe_stamps(dataroot)
    names = sorted(keyframes[0])
    sync: Synchronizer[int] = Synchronizer(
        names, tolerance_ns=60 * MS, timeout_ns=500 * MS, queue_size=4
    )
    matched, now_ns = [], 0
    for number, stamps in keyframes.items():
        for name in sorted(names, key=stamps.__getitem__):
            now_ns += 8 * MS
            matched += sync.add(name, stamps[name], number, now_ns)
        now_ns += 250 * MS
        matched += sync.poll(now_ns)
        assert len(matched) == number + 1
    assert [set(synced.items.values()) for synced in matched] == [{n} for n in keyframes]
    assert len(matched) == 81
    assert max(synced.spread_ns for synced in matched) < 43 * MS
