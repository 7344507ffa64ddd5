# SPDX-License-Identifier: Apache-2.0
"""What holds whatever arrives: any cameras, any stamps, any order, any pauses."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from simdistill_ros.core.sync import Synchronizer

MS = 1_000_000
CAMERAS = ("a", "b", "c")
QUEUE_SIZE = 4

stamps_ms = st.one_of(
    st.integers(-1, 3),
    st.integers(1_000, 1_400),
    st.integers(1_000, 9_000),
    st.integers(10**9, 10**9 + 300),
)
events = st.lists(st.tuples(st.sampled_from(CAMERAS), stamps_ms, st.integers(0, 120)), max_size=120)
rigs = st.fixed_dictionaries(
    {
        "gaps_ms": st.lists(st.sampled_from([50, 100, 150]), min_size=2, max_size=40),
        "offsets_ms": st.permutations([0, 11, 24]),
        "lost": st.sets(st.tuples(st.sampled_from(CAMERAS), st.integers(0, 40)), max_size=12),
        "latency_ms": st.lists(st.integers(0, 40), min_size=3, max_size=3),
    }
)


def make(tolerance_ms: int = 60, anchor: str | None = None) -> Synchronizer[int]:
    return Synchronizer(
        CAMERAS,
        tolerance_ns=tolerance_ms * MS,
        timeout_ns=200 * MS,
        queue_size=QUEUE_SIZE,
        anchor=anchor,
    )


def feed(sync, events, check_each=lambda: None):
    """Run events through; the payload is the number of the event."""
    sets, now_ns = [], 0
    for number, (camera, stamp_ms, wait_ms) in enumerate(events):
        now_ns += wait_ms * MS
        sets += sync.add(camera, stamp_ms * MS, number, now_ns)
        check_each()
    return sets


@settings(max_examples=150, deadline=None)
@given(events)
def test_every_item_is_matched_dropped_for_a_reason_or_queued(events):
    sync = make()

    def check():
        for name, counters in sync.counters.cameras.items():
            assert counters.received == counters.matched + counters.dropped + sync.queued(name)

    sets = feed(sync, events, check)
    assert sum(c.received for c in sync.counters.cameras.values()) == len(events)
    assert all(c.matched == len(sets) == sync.counters.sets for c in sync.counters.cameras.values())


@settings(max_examples=150, deadline=None)
@given(events)
def test_no_camera_keeps_more_than_the_queue_size(events):
    sync = make()

    def check():
        assert all(sync.queued(name) <= QUEUE_SIZE for name in CAMERAS)

    feed(sync, events, check)


@settings(max_examples=150, deadline=None)
@given(events, st.sampled_from([None, "b"]))
def test_every_set_keeps_the_tolerance_and_tells_the_truth(events, anchor):
    for synced in feed(make(anchor=anchor), events):
        stamps = synced.stamps_ns
        assert tuple(stamps) == tuple(synced.items) == CAMERAS
        assert synced.spread_ns == max(stamps.values()) - min(stamps.values())
        reference_ns = max(stamps.values()) if anchor is None else stamps[anchor]
        assert synced.stamp_ns == reference_ns
        if anchor is None:
            assert synced.spread_ns <= 60 * MS
        else:
            assert max(abs(stamp - reference_ns) for stamp in stamps.values()) <= 60 * MS
        for camera, number in synced.items.items():
            assert events[number][:2] == (camera, stamps[camera] // MS)


@settings(max_examples=150, deadline=None)
@given(events)
def test_no_item_is_handed_out_twice(events):
    numbers = [n for synced in feed(make(), events) for n in synced.items.values()]
    assert len(numbers) == len(set(numbers))


@settings(max_examples=150, deadline=None)
@given(events)
def test_between_two_jumps_of_time_every_camera_moves_forward(events):
    sync, last, jumps, now_ns = make(), None, 0, 0
    for number, (camera, stamp_ms, wait_ms) in enumerate(events):
        now_ns += wait_ms * MS
        for synced in sync.add(camera, stamp_ms * MS, number, now_ns):
            if last is not None and sync.counters.time_jumps == jumps:
                assert all(synced.stamps_ns[name] > last.stamps_ns[name] for name in CAMERAS)
            last, jumps = synced, sync.counters.time_jumps


@settings(max_examples=100, deadline=None)
@given(events)
def test_a_steady_rig_is_matched_again_whatever_came_before(events):
    sync = make()
    feed(sync, events)
    now_ns = 10**12
    matched = []
    for cycle in range(40):
        for camera, offset_ms in zip(CAMERAS, (0, 11, 24), strict=True):
            stamp_ns = (10**7 + cycle * 100 + offset_ms) * MS
            for synced in sync.add(camera, stamp_ns, cycle, now_ns + cycle * 100 * MS):
                matched.append(synced)
    assert matched[-1].items == {"a": 39, "b": 39, "c": 39}


@settings(max_examples=150, deadline=None)
@given(rigs)
def test_a_rig_with_losses_latency_and_uneven_gaps_never_has_its_cycles_mixed(rig):
    start_ms, messages = 1_000_000, []
    # A regular start, so that the firing order is known when the troubles begin.
    for cycle, gap_ms in enumerate([100, 100, 50, 100, 100, 50, *rig["gaps_ms"]]):
        for index, camera in enumerate(CAMERAS):
            stamp_ms = start_ms + rig["offsets_ms"][index]
            if cycle < 6 or (camera, cycle - 6) not in rig["lost"]:
                messages.append((stamp_ms + rig["latency_ms"][index], camera, stamp_ms, cycle))
        start_ms += gap_ms
    sync = make()
    for arrival_ms, camera, stamp_ms, cycle in sorted(messages):
        for synced in sync.add(camera, stamp_ms * MS, cycle, arrival_ms * MS):
            assert len(set(synced.items.values())) == 1
