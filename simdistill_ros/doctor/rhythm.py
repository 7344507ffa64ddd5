# SPDX-License-Identifier: Apache-2.0
"""Rates, gaps and sets, measured from stamps and arrivals; sets by the node's own synchroniser."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from statistics import median, pstdev

from simdistill_ros.core.sync import Synchronizer
from simdistill_ros.core.sync_sets import SyncedSet
from simdistill_ros.doctor.observations import NANOSECONDS, CameraSeen, Plan, Rig, Stream

MS = 1_000_000
STEP_NS = 5 * MS  # suggested tolerances are round


@dataclass(frozen=True)
class Rhythm:
    """How regularly a topic's messages were taken and came.

    Attributes:
        rate_hz: Messages a second.
        period_ns: Median time between two stamps.
        jitter_ns: Standard deviation of that time.
        latency_ns: Median time from stamp to arrival.
    """

    rate_hz: float
    period_ns: int
    jitter_ns: int
    latency_ns: int


def rhythm_of(stream: Stream) -> Rhythm | None:
    """Return a topic's rhythm, or None with fewer than three stamped messages."""
    stamps = sorted({stamp for stamp in stream.stamps_ns if stamp > 0})
    if len(stamps) < 3:
        return None
    gaps = [later - stamp for stamp, later in pairwise(stamps)]
    ages = [a - s for a, s in zip(stream.arrivals_ns, stream.stamps_ns, strict=True) if s > 0]
    return Rhythm(
        rate_hz=(len(stamps) - 1) * NANOSECONDS / (stamps[-1] - stamps[0]),
        period_ns=round(median(gaps)),
        jitter_ns=round(pstdev(gaps)),
        latency_ns=round(median(ages)),
    )


def common_period_ns(cameras: tuple[CameraSeen, ...]) -> int | None:
    """Return the middle of the cameras' periods."""
    periods = [rhythm.period_ns for c in cameras if (rhythm := rhythm_of(c.images))]
    return round(median(periods)) if periods else None


@dataclass(frozen=True)
class SetsSeen:
    """The sets that the cameras' stamps make.

    Attributes:
        cycles: Different stamps of the busiest camera.
        sets: Complete sets within the node's tolerance.
        out_of_tolerance: Complete ones that spread too far for it.
        spreads_ns: Spread of every complete set, whatever the tolerance.
        offsets_ns: Each camera's place in the firing order, the first at zero.
        jitter_ns: How far stamps stray from that order.
        suggested_ns: A tolerance that fits; None where nothing does.
    """

    cycles: int
    sets: int
    out_of_tolerance: int
    spreads_ns: tuple[int, ...]
    offsets_ns: Mapping[str, int]
    jitter_ns: int
    suggested_ns: int | None


def sets_of(rig: Rig) -> SetsSeen | None:
    """Return the sets, or None unless two or more cameras sent stamped images."""
    cameras = tuple(c for c in rig.cameras if rhythm_of(c.images))
    period_ns = common_period_ns(cameras)
    if len(cameras) < 2 or period_ns is None:
        return None
    plan = rig.plan
    narrow, _ = _synchronise(cameras, plan, plan.tolerance_ns, plan.timeout_ns)
    wide_ns = max(4 * period_ns // 5, 1)
    wide, synchroniser = _synchronise(cameras, plan, wide_ns, max(plan.timeout_ns, 4 * period_ns))
    phases = synchroniser.phases
    first = min(phases.offsets_ns.values()) if phases else 0
    spreads = tuple(one.spread_ns for one in wide)
    jitter_ns = phases.jitter_ns if phases else 0
    return SetsSeen(
        cycles=max(len(set(camera.images.stamps_ns)) for camera in cameras),
        sets=len(narrow),
        out_of_tolerance=sum(spread > plan.tolerance_ns for spread in spreads),
        spreads_ns=spreads,
        offsets_ns={n: o - first for n, o in phases.offsets_ns.items()} if phases else {},
        jitter_ns=jitter_ns,
        suggested_ns=_suggest(spreads, jitter_ns, period_ns),
    )


def _synchronise(
    cameras: tuple[CameraSeen, ...], plan: Plan, tolerance_ns: int, timeout_ns: int
) -> tuple[list[SyncedSet[None]], Synchronizer[None]]:
    synchroniser: Synchronizer[None] = Synchronizer(
        [camera.name for camera in cameras],
        tolerance_ns=max(tolerance_ns, 1),
        timeout_ns=max(timeout_ns, 1),
        queue_size=plan.queue_size,
    )
    arrivals = sorted(
        (arrival, stamp, camera.name)
        for camera in cameras
        for arrival, stamp in zip(camera.images.arrivals_ns, camera.images.stamps_ns, strict=True)
    )
    sets: list[SyncedSet[None]] = []
    for arrival_ns, stamp_ns, name in arrivals:
        sets += synchroniser.add(name, stamp_ns, None, arrival_ns)
    return sets, synchroniser


def _suggest(spreads_ns: tuple[int, ...], jitter_ns: int, period_ns: int) -> int | None:
    """Return the widest spread with some room, rounded up, if it is less than a period."""
    if not spreads_ns:
        return None
    # One set in fifty may be an outlier that no tolerance should be made for.
    widest = sorted(spreads_ns)[math.ceil(0.98 * len(spreads_ns)) - 1]
    wanted = widest + max(3 * jitter_ns, STEP_NS)
    rounded = math.ceil(wanted / STEP_NS) * STEP_NS
    return rounded if rounded < period_ns else None
