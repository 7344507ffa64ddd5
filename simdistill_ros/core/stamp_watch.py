# SPDX-License-Identifier: Apache-2.0
"""All that a synchroniser knows of cameras whose stamps stand apart: one finding for each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from simdistill_ros.core.firing_phases import FiringPhases
from simdistill_ros.core.stamp_places import (
    Against,
    ArrivalWatch,
    Misplaced,
    PlaceWatch,
    misfit_of_set,
)


class StampWatch:
    """Follows every stamp from its place to its set."""

    def __init__(self, names: Iterable[str], tolerance_ns: int, patience_ns: int) -> None:
        """Start with nothing known.

        Args:
            names: The cameras.
            tolerance_ns: Largest spread of a set.
            patience_ns: A clock that differs by more cannot be matched at all.
        """
        names = tuple(names)
        self._tolerance_ns = tolerance_ns
        self._patience_ns = patience_ns
        self._places = PlaceWatch(names)
        self._arrivals = ArrivalWatch(names, tolerance_ns)
        self._misfit: dict[str, Misplaced] = {}

    def placed(self, name: str, start_ns: int) -> None:
        """Note the start of the cycle to which a stamp would belong by the firing order."""
        self._places.placed(name, start_ns)

    def matched(self, ahead_ns: Mapping[str, int]) -> None:
        """Note that a set went out: stamp minus arrival of its own cameras."""
        self._misfit = {}
        self._arrivals.matched(ahead_ns)

    def too_wide(self, stamps_ns: Mapping[str, int]) -> None:
        """Note a whole set that spread too far."""
        self._misfit = misfit_of_set(stamps_ns, self._tolerance_ns)

    def forget_places(self) -> None:
        """Forget places: the firing order is another one."""
        self._places.forget()

    def forget_time(self) -> None:
        """Forget what rests on one course of time: it jumped."""
        self._places.forget()
        self._arrivals.forget_recent()

    def forget(self) -> None:
        """Start anew."""
        self._misfit = {}
        self._places.forget()
        self._arrivals.forget()

    def has_near(self, name: str, start_ns: int, phases: FiringPhases | None) -> bool:
        """Tell whether a camera has a stamp at or beside a cycle: then it is not absent."""
        return self._places.has_near(name, start_ns, self._reach_ns(phases))

    def shifted(self) -> dict[str, Misplaced]:
        """Return the cameras whose clocks differ, by arrival, although they are matched."""
        return self._arrivals.misplaced()

    def misplaced(
        self, phases: FiringPhases | None, wrong_clocks_ns: Mapping[str, int]
    ) -> dict[str, Misplaced]:
        """Return the cameras whose stamps stand apart; the surest finding for each.

        Args:
            phases: The firing order, or None while it is learned.
            wrong_clocks_ns: Cameras whose clocks are far off, and by how much.
        """
        found = {**self._arrivals.misplaced(), **self._misfit}
        if phases is not None:
            found |= self._places.misplaced(phases.gate_ns, self._reach_ns(phases))
        for name, ahead_ns in wrong_clocks_ns.items():
            found[name] = Misplaced(ahead_ns, self._patience_ns, Against.ARRIVAL)
        return found

    def _reach_ns(self, phases: FiringPhases | None) -> int:
        """Stamps that are closer to a cycle than to the next one can be of it."""
        gap_ns = None if phases is None else phases.min_gap_ns
        return self._tolerance_ns if gap_ns is None else 3 * gap_ns // 4
