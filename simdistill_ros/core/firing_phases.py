# SPDX-License-Identifier: Apache-2.0
"""When in a cycle each camera fires, learned from nothing but stamps.

Cameras of one rig fire one after the other: spread over 43 ms in nuScenes, with the next cycle 50
ms after the last. There the six images that are closest in time are often *not* of one cycle, so
closeness alone mixes cycles. What tells a cycle's members apart is that their differences repeat:
the difference between two cameras of one cycle is the same in every cycle, while any other pairing
is right only as often as the gap between cycles happens to repeat. Of the differences that repeat
always (a strictly periodic rig has several), those with the smallest spread are taken.

Once each camera's offset is known, subtracting it makes the stamps of a cycle coincide, and
matching is a comparison with a gate. `cycle_matcher.py` does that; nothing here holds a message.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median_low

HISTORY = 24  # stamps kept per camera: two seconds at 12 Hz
STRONG = 0.8  # a difference repeats about as often as the best one
CLOSE = 0.6  # a difference that bad luck alone may have made rarer than the best one
WEAK = 0.4  # a difference that so short a history cannot rule out yet
PLAIN_REPEATS = 2  # enough where nothing else is within the tolerance
SURE_REPEATS = 4  # enough to decide between rivals
CLOSE_REPEATS = 8  # enough to decide a close call
STAMPS_PER_STEP = 40  # bounds the time of one call


@dataclass(frozen=True)
class FiringPhases:
    """Each camera's place in the cycle.

    Attributes:
        offsets_ns: Per camera, stamp minus start of the cycle, up to one common constant.
        jitter_ns: Mean deviation of stamps from their offsets.
        min_gap_ns: Shortest time between two cycles that was seen; None before two were.
        gate_ns: How far a stamp may be from its cycle and still belong to it.
    """

    offsets_ns: Mapping[str, int]
    jitter_ns: int
    min_gap_ns: int | None
    gate_ns: int

    @property
    def spread_ns(self) -> int:
        """Time between the first and the last camera of a cycle."""
        return max(self.offsets_ns.values()) - min(self.offsets_ns.values())

    def agrees_with(self, other: FiringPhases) -> bool:
        """Tell whether both put the same cameras' stamps into the same cycles."""
        return self.offsets_ns.keys() == other.offsets_ns.keys() and all(
            2 * abs(offset - other.offsets_ns[name]) <= min(self.gate_ns, other.gate_ns)
            for name, offset in self.offsets_ns.items()
        )

    def followed(self, stamps_ns: Mapping[str, int], tolerance_ns: int) -> FiringPhases:
        """Return phases moved a little towards those of one matched set: drift is tracked."""
        starts = {name: stamp - self.offsets_ns[name] for name, stamp in stamps_ns.items()}
        centre = sum(starts.values()) // len(starts)
        moved = {
            name: offset + (starts.get(name, centre) - centre) // 8
            for name, offset in self.offsets_ns.items()
        }
        deviation = sum(abs(start - centre) for start in starts.values()) // len(starts)
        jitter = self.jitter_ns + (deviation - self.jitter_ns) // 16
        return replace(
            self,
            offsets_ns=moved,
            jitter_ns=jitter,
            gate_ns=_gate(tolerance_ns, jitter, self.min_gap_ns),
        )


@dataclass(frozen=True)
class _Difference:
    """A difference to the reference camera that repeats."""

    camera: str
    lag_ns: int
    repeats: int
    share: float
    jitter_ns: int


_Cover = dict[str, _Difference]  # one for each camera


def phases_of_one_set(stamps_ns: Mapping[str, int], tolerance_ns: int) -> FiringPhases:
    """Return provisional phases, taken from a single set that is known to be one cycle."""
    start = min(stamps_ns.values())
    offsets = {name: stamp - start for name, stamp in stamps_ns.items()}
    return FiringPhases(offsets, 0, None, _gate(tolerance_ns, 0, None))


class PhaseEstimator:
    """Keeps the latest stamps of each camera and reads the phases from them."""

    def __init__(self, names: Iterable[str], tolerance_ns: int, reference: str | None = None):
        """Start empty; `reference` is the anchor: the tolerance limits the distance to it."""
        self._recent: dict[str, deque[int]] = {name: deque(maxlen=HISTORY) for name in names}
        self._tolerance_ns = tolerance_ns
        self._reference = reference
        self._ignored: frozenset[str] = frozenset()
        self._comparison: _Comparison | None = None

    @property
    def is_busy(self) -> bool:
        """Tell whether a comparison has begun and goes on at the next `estimate`."""
        return self._comparison is not None

    def observe(self, camera: str, stamp_ns: int) -> None:
        """Note a stamp."""
        self._recent[camera].append(stamp_ns)

    def seen(self, camera: str, stamp_ns: int) -> bool:
        """Tell whether this very stamp was noted lately."""
        return stamp_ns in self._recent[camera]

    def ignore(self, cameras: frozenset[str]) -> None:
        """Read the phases without these cameras, because they are away."""
        if cameras != self._ignored:
            self._ignored, self._comparison = cameras, None

    def forget(self) -> None:
        """Drop all stamps: time has jumped."""
        self._comparison = None
        for recent in self._recent.values():
            recent.clear()

    @property
    def is_well_fed(self) -> bool:
        """Tell whether each camera sent enough for any rhythm to show."""
        return min(map(len, self._counted.values()), default=0) >= CLOSE_REPEATS

    @property
    def all_alive(self) -> bool:
        """Tell whether no camera has fallen silent for as long as three of its own gaps."""
        counted = self._counted.values()
        newest = max((max(recent, default=0) for recent in counted), default=0)
        return all(
            len(recent) >= 2 and newest - recent[-1] <= 3 * max(recent[-1] - recent[-2], 1)
            for recent in counted
        )

    @property
    def _counted(self) -> dict[str, deque[int]]:
        return {name: r for name, r in self._recent.items() if name not in self._ignored}

    def estimate(self, current: FiringPhases | None = None) -> FiringPhases | None:
        """Return the phases that explain the latest stamps, or None while they leave a doubt.

        A long history is compared in steps, one a call, so that no call takes long: while `is_busy`
        the answer is None, and the next call goes on.

        Args:
            current: Phases in use. They are refined and kept unless they stopped repeating or
                others are clearly tighter, so that equally good groupings do not alternate.
        """
        if self._comparison is None:
            stamps = {name: sorted(recent) for name, recent in self._counted.items()}
            if not stamps or any(len(times) < 2 for times in stamps.values()):
                return None
            reference = self._reference if self._reference in stamps else None
            self._comparison = _Comparison(stamps, self._tolerance_ns, reference)
        if not self._comparison.go_on():
            return None
        comparison, self._comparison = self._comparison, None
        away: dict[str, int] = {}
        if current is not None:
            current, away = _split(current, comparison.names)
        chosen = _choose(comparison, current)
        if chosen is None:
            return None
        jitter_ns = max(difference.jitter_ns for difference in chosen.values())
        offsets = {name: chosen[name].lag_ns for name in self._recent if name in chosen}
        if current is not None:
            offsets = away | _in_step_with(current.offsets_ns, offsets)
        gate_ns = _gate(self._tolerance_ns, jitter_ns, comparison.min_gap_ns)
        return FiringPhases(offsets, jitter_ns, comparison.min_gap_ns, gate_ns)


class _Comparison:
    """All differences between a reference camera and the others, found a few cameras at a time."""

    def __init__(
        self, stamps_ns: Mapping[str, list[int]], tolerance_ns: int, reference: str | None
    ) -> None:
        self._stamps_ns = stamps_ns
        self.tolerance_ns = tolerance_ns
        self._has_anchor = reference is not None
        self.reference = reference or max(stamps_ns, key=lambda name: len(stamps_ns[name]))
        self.min_gap_ns = median_low([_short_gap(times) for times in stamps_ns.values()])
        repeats = len(stamps_ns[self.reference])
        self.found = [_Difference(self.reference, 0, repeats, 1.0, 0)]
        self._to_do = [name for name in stamps_ns if name != self.reference]

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self._stamps_ns)

    @property
    def cameras(self) -> int:
        return len(self._stamps_ns)

    def best_shares(self) -> dict[str, float]:
        best: dict[str, float] = {}
        for difference in self.found:
            best[difference.camera] = max(best.get(difference.camera, 0.0), difference.share)
        return best

    def is_allowed(self, cover: _Cover) -> bool:
        """Tell whether such sets keep the tolerance: in spread, or to the anchor."""
        reach_ns = (
            max(abs(d.lag_ns) for d in cover.values()) if self._has_anchor else _spread(cover)
        )
        return reach_ns <= self.tolerance_ns

    def go_on(self) -> bool:
        """Compare some more cameras; return True once all are done."""
        compared = 0
        while self._to_do and compared < STAMPS_PER_STEP:
            name = self._to_do.pop()
            compared += len(self._stamps_ns[name])
            self.found += self._differences(name)
        return not self._to_do

    def _differences(self, camera: str) -> list[_Difference]:
        """Return the differences to a camera that nothing rules out."""
        reference, times = self._stamps_ns[self.reference], self._stamps_ns[camera]
        window_ns = 2 * self.tolerance_ns
        differences = [
            stamp - start
            for start in reference
            for stamp in times[
                bisect_left(times, start - window_ns) : bisect_right(times, start + window_ns)
            ]
        ]
        differences.sort()
        width_ns = max(self.min_gap_ns // 4, 1)
        found = []
        for cluster in _clusters(differences, width_ns):
            lag_ns = cluster[len(cluster) // 2]
            first = bisect_left(cluster, lag_ns - width_ns)
            near = cluster[first : bisect_right(cluster, lag_ns + width_ns)]
            below = bisect_left(near, lag_ns)
            jitter_ns = (
                sum(near[below:]) - sum(near[:below]) - lag_ns * (len(near) - 2 * below)
            ) // len(near)
            possible = min(
                _count(reference, times[0] - lag_ns - width_ns, times[-1] - lag_ns + width_ns),
                _count(times, reference[0] + lag_ns - width_ns, reference[-1] + lag_ns + width_ns),
            )
            share = len(near) / max(possible, len(near))
            found.append(_Difference(camera, lag_ns, len(near), share, jitter_ns))
        best = max((difference.share for difference in found), default=0.0)
        return [difference for difference in found if difference.share >= WEAK * best]


def _choose(comparison: _Comparison, current: FiringPhases | None) -> _Cover | None:
    """Return one difference per camera, or None where there is no sure choice."""
    found, cameras = comparison.found, comparison.cameras
    best_share = comparison.best_shares()
    strong = [d for d in found if d.share >= STRONG * best_share[d.camera]]
    best = min(_tightest_covers(strong, cameras), key=_spread, default=None)
    if best is None:
        return None
    repeats = min(difference.repeats for difference in best.values())
    if current is not None:
        within_ns = max(comparison.min_gap_ns // 4, current.gate_ns)
        still = [d for d in found if d.share >= CLOSE * best_share[d.camera]]
        kept = _nearest_to(current, comparison.reference, still, within_ns)
        if kept is None:
            return best if repeats >= SURE_REPEATS else None
        is_tighter = _spread(best) < 0.85 * _spread(kept)
        return best if is_tighter and repeats >= CLOSE_REPEATS else kept
    rivals = [
        cover
        for cover in _tightest_covers(found, cameras)
        if comparison.is_allowed(cover) and cover != best
    ]
    if not rivals and comparison.is_allowed(best):
        enough = PLAIN_REPEATS
    elif any(
        _spread(rival) < 1.25 * _spread(best)
        and all(d.share >= CLOSE * best_share[name] for name, d in rival.items())
        for rival in rivals
    ):
        enough = CLOSE_REPEATS
    else:
        enough = SURE_REPEATS
    return best if repeats >= enough else None


def _gate(tolerance_ns: int, jitter_ns: int, min_gap_ns: int | None) -> int:
    """Return a gate wide enough for the jitter and too narrow to reach the next cycle."""
    wanted = max(tolerance_ns // 4, 6 * jitter_ns)
    return wanted if min_gap_ns is None else min(wanted, 2 * min_gap_ns // 5)


def _short_gap(times: list[int]) -> int:
    """Return a gap among the shortest, yet not one that only jitter made short."""
    gaps = sorted(later - stamp for stamp, later in pairwise(times))
    return gaps[len(gaps) // 6]


def _count(times: list[int], first: int, last: int) -> int:
    return bisect_right(times, last) - bisect_left(times, first)


def _clusters(ordered: list[int], link_ns: int) -> list[list[int]]:
    """Split sorted numbers where two neighbours are more than `link_ns` apart."""
    clusters: list[list[int]] = []
    for number in ordered:
        if clusters and number - clusters[-1][-1] <= link_ns:
            clusters[-1].append(number)
        else:
            clusters.append([number])
    return clusters


def _spread(cover: _Cover) -> int:
    lags = [difference.lag_ns for difference in cover.values()]
    return max(lags) - min(lags)


def _tightest_covers(found: list[_Difference], cameras: int) -> list[_Cover]:
    """Return every choice of one difference per camera that ends at one and is tightest so."""
    covers = []
    latest: dict[str, _Difference] = {}
    for difference in sorted(found, key=lambda difference: difference.lag_ns):
        latest[difference.camera] = difference
        if len(latest) == cameras:
            covers.append(latest.copy())
    return covers


def _nearest_to(
    current: FiringPhases, reference: str, found: list[_Difference], within_ns: int
) -> _Cover | None:
    """Return the differences that continue the current phases, or None if one has vanished."""
    base = current.offsets_ns[reference]
    kept = {}
    for camera, offset in current.offsets_ns.items():
        near = [d for d in found if d.camera == camera]
        nearest = min(near, key=lambda d: abs(d.lag_ns - offset + base), default=None)
        if nearest is None or abs(nearest.lag_ns - offset + base) > within_ns:
            return None
        kept[camera] = nearest
    return kept


def _split(
    current: FiringPhases, names: frozenset[str]
) -> tuple[FiringPhases | None, dict[str, int]]:
    """Return the phases of these cameras, or None where one has no place yet, and the others'."""
    others = {name: o for name, o in current.offsets_ns.items() if name not in names}
    if not names <= current.offsets_ns.keys():
        return None, {}
    return replace(current, offsets_ns={n: current.offsets_ns[n] for n in names}), others


def _in_step_with(current: Mapping[str, int], offsets: Mapping[str, int]) -> dict[str, int]:
    """Shift offsets by a common constant, so that on average they equal the current ones."""
    shift = sum(current[name] - offset for name, offset in offsets.items()) // len(offsets)
    return {name: offset + shift for name, offset in offsets.items()}
