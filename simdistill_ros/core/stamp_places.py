# SPDX-License-Identifier: Apache-2.0
"""Cameras whose stamps stand apart from the others', and by how much.

Two looks at the same question, because each is blind where the other sees. *Place*: a stamp that is
not where the firing order says makes cycles incomplete; that shows at once, but only until the
firing order is read anew with the wrong stamps in it. *Arrival*: stamp minus arrival, compared with
the other cameras' and with what was usual, still shows a clock that was moved long ago.

Times are integer nanoseconds; there is no clock here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from statistics import median_high, median_low

KEPT_PLACES = 10  # per camera: what a wait for the rest of a cycle lasts
JUDGED_PLACES = 2  # of them all have to stand apart
USUAL_SETS = 24  # two seconds at 12 Hz
FEWEST_CAMERAS = 3  # of two, nobody knows which one is wrong


class Against(Enum):
    """What a stamp was compared with, in words."""

    PLACE = "its place in the firing order"
    SET = "the middle of its set"
    ARRIVAL = "the other cameras', arrival considered"


@dataclass(frozen=True)
class Misplaced:
    """A camera's stamps stand apart.

    Attributes:
        ahead_ns: How far they are ahead; negative: behind.
        bound_ns: How far they may be.
        against: What they were compared with.
    """

    ahead_ns: int
    bound_ns: int
    against: Against

    def __str__(self) -> str:
        """Return the sentence's middle: how far from what."""
        side = "ahead of" if self.ahead_ns > 0 else "behind"
        return (
            f"{abs(self.ahead_ns) / 1e6:.1f} ms {side} {self.against.value}; "
            f"expected at most {self.bound_ns / 1e6:.1f} ms"
        )


class PlaceWatch:
    """Compares each camera's latest places in the cycle with the others'."""

    def __init__(self, names: Iterable[str]) -> None:
        """Start with none."""
        self._starts_ns: dict[str, deque[int]] = {n: deque(maxlen=KEPT_PLACES) for n in names}

    def placed(self, name: str, start_ns: int) -> None:
        """Note the start of the cycle to which a stamp would belong by the firing order."""
        self._starts_ns[name].append(start_ns)

    def forget(self) -> None:
        """Drop all: time jumped, or the firing order is another one."""
        for starts in self._starts_ns.values():
            starts.clear()

    def has_near(self, name: str, start_ns: int, reach_ns: int) -> bool:
        """Tell whether a camera has a stamp at or beside a cycle: then it is not absent."""
        return any(abs(start - start_ns) <= reach_ns for start in self._starts_ns[name])

    def misplaced(self, gate_ns: int, reach_ns: int) -> dict[str, Misplaced]:
        """Return the cameras whose latest stamps fit no cycle of the others.

        Args:
            gate_ns: How far a stamp may be from its place.
            reach_ns: Stamps further away than this say nothing of each other.
        """
        found = {}
        for name in self._starts_ns:
            ahead_ns = self._ahead_ns(name, reach_ns)
            if ahead_ns is not None and abs(ahead_ns) > gate_ns:
                found[name] = Misplaced(ahead_ns, gate_ns, Against.PLACE)
        return found

    def _ahead_ns(self, name: str, reach_ns: int) -> int | None:
        """Return the distance of the better of a camera's latest stamps, or None if unknown."""
        own = list(self._starts_ns[name])[-JUDGED_PLACES:]
        known = [self._to_others_ns(name, start, reach_ns) for start in own]
        if len(own) < JUDGED_PLACES:
            return None
        return min((ahead for ahead in known if ahead is not None), key=abs, default=None)

    def _to_others_ns(self, name: str, start_ns: int, reach_ns: int) -> int | None:
        others = [starts for other, starts in self._starts_ns.items() if other != name and starts]
        nearest = [
            min((start_ns - s for s in starts), key=lambda ahead_ns: abs(ahead_ns))
            for starts in others
        ]
        near = [ahead_ns for ahead_ns in nearest if abs(ahead_ns) <= reach_ns]
        if len(near) < FEWEST_CAMERAS - 1 or 2 * len(near) < len(self._starts_ns) - 1:
            return None
        # Of two that disagree, the one that accuses less.
        return min(median_low(near), median_high(near), key=abs)


class ArrivalWatch:
    """Compares stamp minus arrival of a set's cameras: with each other, and with what was usual.

    Cameras may well differ for ever: drivers need their time, and some send all images of a cycle
    at once. So a difference is taken for usual when it was there from the start, unless one camera
    stands out ahead of all the others: images that come late have many reasons, images that come
    before they were taken only one.
    """

    def __init__(self, names: Iterable[str], tolerance_ns: int) -> None:
        """Start with nothing usual; a shift beyond half of the tolerance counts."""
        self._recent: dict[str, deque[int]] = {n: deque(maxlen=USUAL_SETS) for n in names}
        self._bound_ns = tolerance_ns // 2
        self._outlier_ns = tolerance_ns // 4
        self._usual_ns: dict[str, int] | None = None

    def matched(self, ahead_ns: Mapping[str, int]) -> None:
        """Note stamp minus arrival of the cameras of a set."""
        if len(ahead_ns) < FEWEST_CAMERAS:
            return
        middle_ns = median_low(ahead_ns.values())
        for name, value in ahead_ns.items():
            self._recent[name].append(value - middle_ns)
        if self._usual_ns is None and all(len(r) == USUAL_SETS for r in self._recent.values()):
            self._usual_ns = self._usual(self._now_ns())

    def forget(self) -> None:
        """Start anew."""
        self.forget_recent()
        self._usual_ns = None

    def forget_recent(self) -> None:
        """Drop the latest sets: time jumped."""
        for recent in self._recent.values():
            recent.clear()

    def misplaced(self) -> dict[str, Misplaced]:
        """Return the cameras whose clock is not what it was, or was wrong from the start."""
        if self._usual_ns is None:
            return {}
        shifts = {n: value - self._usual_ns[n] for n, value in self._now_ns().items()}
        return {
            name: Misplaced(shift, self._bound_ns, Against.ARRIVAL)
            for name, shift in shifts.items()
            if abs(shift) > self._bound_ns
        }

    def _now_ns(self) -> dict[str, int]:
        return {n: median_low(r) for n, r in self._recent.items() if len(r) == USUAL_SETS}

    def _usual(self, now_ns: dict[str, int]) -> dict[str, int]:
        first = max(now_ns, key=lambda name: now_ns[name])
        others = [abs(value) for name, value in now_ns.items() if name != first]
        is_outlier = now_ns[first] > self._outlier_ns + 2 * max(others)
        return now_ns | ({first: 0} if is_outlier else {})


def misfit_of_set(stamps_ns: Mapping[str, int], tolerance_ns: int) -> dict[str, Misplaced]:
    """Return the camera without which a set that spreads too far would not, if there is one."""
    if len(stamps_ns) < FEWEST_CAMERAS:
        return {}
    middle_ns = median_low(stamps_ns.values())
    ahead_ns = {name: stamp - middle_ns for name, stamp in stamps_ns.items()}
    farthest = max(ahead_ns, key=lambda name: abs(ahead_ns[name]))
    others = [ahead for name, ahead in ahead_ns.items() if name != farthest]
    if max(others) - min(others) > tolerance_ns:
        return {}
    across_ns = -min(others) if ahead_ns[farthest] > 0 else max(others)
    return {farthest: Misplaced(ahead_ns[farthest], tolerance_ns - across_ns, Against.SET)}
