# SPDX-License-Identifier: Apache-2.0
"""When to read the firing order from the stamps: at first, now and then, and after losses.

How it is read is the business of `firing_phases.py`, what is done with it that of
`cycle_matcher.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Set

from simdistill_ros.core.firing_phases import FiringPhases, PhaseEstimator

CHECK_EVERY_SETS = 32  # how often the firing order is read anew while all goes well
CHECK_AFTER_LOSSES = 2  # cycles without a match that make it doubtful
SETS_BEFORE_FIRST_CHECK = 2  # of a firing order that is new


class FiringOrder:
    """Collects stamps and reads the firing order from them when that is worth its time."""

    def __init__(self, names: Iterable[str], tolerance_ns: int, anchor: str | None) -> None:
        """Start without stamps."""
        self._names = tuple(names)
        self._estimator = PhaseEstimator(self._names, tolerance_ns, anchor)
        self._losses = 0
        self._sets_until_check = SETS_BEFORE_FIRST_CHECK
        self._adds_since_check = 0

    def seen(self, camera: str, stamp_ns: int) -> bool:
        """Tell whether this very stamp was noted lately."""
        return self._estimator.seen(camera, stamp_ns)

    def observe(self, camera: str, stamp_ns: int) -> None:
        """Note a stamp."""
        self._estimator.observe(camera, stamp_ns)

    def ignore(self, cameras: frozenset[str]) -> None:
        """Read the order without these cameras, because they are away."""
        self._estimator.ignore(cameras)

    def forget(self) -> None:
        """Drop all stamps."""
        self._estimator.forget()

    def jumped(self) -> None:
        """Drop all stamps: time has jumped, and what was lost before says nothing any more."""
        self._losses = 0
        self._estimator.forget()

    def adopted(self) -> None:
        """Note that another order is in use."""
        self._losses = 0
        self._sets_until_check = SETS_BEFORE_FIRST_CHECK

    def lost(self) -> None:
        """Note a cycle that yielded no set."""
        self._losses += 1

    def went_out(self, *, is_loss: bool) -> None:
        """Note a set that went out; a loss if it lacks a camera that was waited for."""
        self._losses = self._losses + 1 if is_loss else max(self._losses - 1, 0)
        self._sets_until_check -= 1

    def learn(self) -> FiringPhases | None:
        """Return the first order, or None while the stamps leave a doubt."""
        self._adds_since_check += 1
        is_rare = self._estimator.is_well_fed and not self._estimator.is_busy
        if is_rare and self._adds_since_check < len(self._names):
            return None
        self._adds_since_check = 0
        return self._estimator.estimate()

    def check(self, phases: FiringPhases, present: Set[str]) -> FiringPhases | None:
        """Return the order read anew, where that is due and the stamps leave no doubt.

        Args:
            phases: The order in use.
            present: Cameras that should have a place in it.
        """
        self._adds_since_check += 1
        is_due = self._sets_until_check <= 0 or self._losses >= CHECK_AFTER_LOSSES
        is_due |= not phases.offsets_ns.keys() >= present
        is_early = self._adds_since_check < len(self._names) and not self._estimator.is_busy
        if not is_due or is_early or not self._estimator.all_alive:
            return None
        self._adds_since_check = 0
        found = self._estimator.estimate(phases)
        if not self._estimator.is_busy:
            self._sets_until_check = CHECK_EVERY_SETS
            self._losses = 0
        return found
