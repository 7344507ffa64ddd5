# SPDX-License-Identifier: Apache-2.0
"""Percentiles and rates over a bounded past."""

import pytest

from simdistill_ros.latency import LatencyWindow, Rate

MS = 1_000_000


def test_percentiles_are_those_of_the_newest_snapshots_only() -> None:
    window = LatencyWindow(size=100)
    for _ in range(50):
        window.add({"total": 1000 * MS})
    for milliseconds in range(101):
        window.add({"total": milliseconds * MS})

    percentiles = window.percentiles_ms()["total"]

    assert percentiles == pytest.approx({"p50": 50.5, "p95": 95.05, "p99": 99.01})


def test_every_stage_has_percentiles_of_its_own() -> None:
    window = LatencyWindow()
    window.add({"decode": 3 * MS, "publish": 1 * MS})

    assert window.percentiles_ms()["decode"]["p99"] == 3.0
    assert window.percentiles_ms()["publish"]["p50"] == 1.0


def test_a_steady_stream_has_its_rate_and_one_that_stopped_loses_it() -> None:
    rate = Rate()
    for number in range(200):
        rate.add(number * 100 * MS)

    assert rate.hz(19_900 * MS) == pytest.approx(10.0)
    assert rate.hz(19_950 * MS) == pytest.approx(10.0)  # the next is not due yet
    assert rate.hz(30_000 * MS) < 4.0


def test_a_single_event_has_no_rate() -> None:
    rate = Rate()
    rate.add(5)

    assert rate.hz(10) == 0.0
