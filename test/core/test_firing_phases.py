# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from simdistill_ros.core.firing_phases import FiringPhases, PhaseEstimator, phases_of_one_set

MS = 1_000_000
OFFSETS_MS = {"a": 0.0, "b": 20.0, "c": 42.6}


def fed(starts_ms, offsets_ms=OFFSETS_MS, tolerance_ms=60):
    estimator = PhaseEstimator(offsets_ms, tolerance_ms * MS)
    for start_ms in starts_ms:
        for camera, offset_ms in offsets_ms.items():
            estimator.observe(camera, int((1000 + start_ms + offset_ms) * MS))
    return estimator


def estimate(estimator, current=None):
    phases = estimator.estimate(current)
    while estimator.is_busy:
        phases = estimator.estimate(current)
    return phases


def lags_ms(phases: FiringPhases) -> dict[str, float]:
    return {n: (o - phases.offsets_ns["a"]) / MS for n, o in phases.offsets_ns.items()}


def test_two_cycles_suffice_where_only_one_grouping_is_within_the_tolerance():
    assert estimate(fed([0])) is None
    phases = estimate(fed([0, 83]))
    assert lags_ms(phases) == OFFSETS_MS
    assert phases.spread_ns == 42.6 * MS


def test_uneven_gaps_show_which_pairs_belong_together_though_others_are_closer():
    phases = estimate(fed([0, 50, 150, 250, 300]))
    assert lags_ms(phases) == OFFSETS_MS


def test_two_cycles_of_uneven_gaps_leave_a_doubt():
    assert estimate(fed([0, 50])) is None


def test_of_differences_that_always_repeat_the_tightest_are_taken():
    offsets_ms = {"a": 0.0, "b": 20.0, "c": 70.0}
    phases = estimate(fed([k * 80 for k in range(20)], offsets_ms))
    assert lags_ms(phases) == {"a": 0.0, "b": 20.0, "c": -10.0}


def test_phases_in_use_are_kept_where_others_are_only_a_little_tighter():
    starts_ms = [k * 50 for k in range(20)]
    current = phases_of_one_set({"a": 0, "b": 20 * MS, "c": int(27.5 * MS)}, 60 * MS)
    offsets_ms = {"a": 0.0, "b": 20.0, "c": 27.5}
    assert lags_ms(estimate(fed(starts_ms, offsets_ms), current)) == offsets_ms


def test_phases_in_use_give_way_to_much_tighter_ones():
    wrong = phases_of_one_set({"a": 83 * MS, "b": 20 * MS, "c": int(42.6 * MS)}, 100 * MS)
    phases = estimate(fed([k * 83 for k in range(20)], tolerance_ms=100), wrong)
    assert lags_ms(phases) == OFFSETS_MS


def test_phases_in_use_are_not_given_up_for_a_short_history():
    current = phases_of_one_set({n: int(o * MS) for n, o in OFFSETS_MS.items()}, 60 * MS)
    other = {"a": 0.0, "b": 20.0, "c": -15.0}
    assert estimate(fed([0, 100, 200], other), current) is None
    assert lags_ms(estimate(fed([0, 100, 200, 300], other), current)) == other


def test_a_camera_without_a_partner_in_time_leaves_the_phases_open():
    estimator = PhaseEstimator(["a", "b"], 60 * MS)
    for k in range(24):
        estimator.observe("a", (1000 + 100 * k) * MS)
        estimator.observe("b", (900_000 + 100 * k) * MS)
    assert estimate(estimator) is None


def test_a_long_history_is_compared_in_steps_of_the_same_result():
    offsets_ms = {f"camera_{i}": 3.0 * i for i in range(12)}
    estimator = fed([k * 83 for k in range(24)], offsets_ms)
    assert estimator.estimate() is None
    assert estimator.is_busy
    phases = estimate(estimator)
    assert not estimator.is_busy
    first = phases.offsets_ns["camera_0"]
    assert {n: (o - first) / MS for n, o in phases.offsets_ns.items()} == offsets_ms


@pytest.mark.parametrize("gap_ms", [50, 83, 100])
def test_the_gate_does_not_reach_half_way_to_the_next_cycle(gap_ms):
    phases = estimate(fed([k * gap_ms for k in range(12)], tolerance_ms=500))
    assert phases.gate_ns < gap_ms * MS / 2


def test_following_a_set_moves_the_phases_towards_it_and_keeps_their_mean():
    phases = phases_of_one_set({"a": 0, "b": 20 * MS}, 60 * MS)
    moved = phases.followed({"a": 100 * MS, "b": 128 * MS}, 60 * MS)
    assert lags_ms(moved) == {"a": 0.0, "b": 21.0}
    assert sum(moved.offsets_ns.values()) == sum(phases.offsets_ns.values())


def test_a_camera_that_fell_silent_is_not_alive():
    estimator = fed([0, 100, 200])
    assert estimator.all_alive
    for k in range(3, 8):
        estimator.observe("a", (1000 + 100 * k) * MS)
    assert not estimator.all_alive
