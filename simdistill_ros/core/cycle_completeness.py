# SPDX-License-Identifier: Apache-2.0
"""Whether a cycle that lacks cameras may go out, and what stands in for them.

A cycle need not wait for cameras that are away, that came back but did not fit into a set yet, or
that have no place in the firing order. The rule for missing cameras (`missing_cameras.py`) says how
many of the others it needs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Generic, TypeVar

from simdistill_ros.core.missing_cameras import MissingCameras, MissingPolicy, Presence
from simdistill_ros.core.sync_sets import Item, LastItems
from simdistill_ros.core.sync_settings import SyncSettings

T = TypeVar("T")


class Completeness(Generic[T]):
    """Knows the rule, which cameras are not waited for, and the last items of each."""

    def __init__(self, settings: SyncSettings, rule: MissingCameras) -> None:
        """Start with nobody heard.

        Raises:
            ValueError: If the rule does not fit the number of cameras.
        """
        self._everyone = frozenset(settings.names)
        self._anchor = settings.anchor
        self.set_rule(rule)
        self._presence = Presence(settings.names, settings.timeout_ns)
        self._last: LastItems[T] = LastItems(settings.names)
        self._unproven: set[str] = set()  # came back, but not into a set yet
        self.away: frozenset[str] = frozenset()

    def set_rule(self, rule: MissingCameras) -> None:
        """Change what becomes of cycles that lack cameras.

        Raises:
            ValueError: If the rule does not fit the number of cameras.
        """
        self._least = rule.least(len(self._everyone))
        self._rule = rule

    def heard(self, item: Item[T]) -> None:
        """Note an item that has a stamp and may join a cycle."""
        self._presence.heard(item.camera, item.stamp_ns, item.arrival_ns)
        if self._rule.policy is MissingPolicy.HOLD:
            self._last.keep(item)

    def update_away(self, now_ns: int) -> bool:
        """Note which cameras are away; those that came back must prove that they fit.

        Returns:
            Whether that changed.
        """
        if self._rule.policy is MissingPolicy.DROP:
            away: frozenset[str] = frozenset()
        else:
            away = self._presence.away(now_ns)
            self._unproven |= self.away - away
        is_changed = away != self.away
        self.away = away
        return is_changed

    def present(self) -> frozenset[str]:
        """Return the cameras that are not away."""
        return self._everyone - self.away

    def fit(self, cameras: Iterable[str]) -> None:
        """Note cameras whose items were found to be of one cycle."""
        self._unproven.difference_update(cameras)

    def is_enough(self, present: Collection[str]) -> bool:
        """Tell whether the rule lets a cycle with these cameras go out as it is."""
        return (self._anchor is None or self._anchor in present) and self.has_least(present)

    def has_least(self, present: Collection[str]) -> bool:
        """Tell whether these are as many cameras as the rule asks for."""
        return len(present) >= self._least

    def not_awaited(self, placed: Iterable[str]) -> frozenset[str]:
        """Return the cameras that are not worth waiting for.

        Args:
            placed: The cameras that have a place in the firing order.
        """
        return self._everyone.difference(placed) | self.away | self._unproven

    def held(self, name: str, stamp_ns: int) -> Item[T] | None:
        """Return a camera's newest item before a set's stamp, if it may still be used."""
        if self._rule.policy is not MissingPolicy.HOLD:
            return None
        return self._last.before(name, stamp_ns, stamp_ns - self._rule.hold_ns)

    def wrong_clocks(self) -> dict[str, int]:
        """Return how far ahead of the others' the clocks are that are wrong, nanoseconds."""
        return self._presence.wrong_clocks()

    def forget_time(self) -> None:
        """Drop what rests on one course of time: it jumped."""
        self._presence.forget_clocks()
        self._last.forget()

    def forget(self) -> None:
        """Start anew."""
        self._presence.forget()
        self._last.forget()
        self._unproven.clear()
