# SPDX-License-Identifier: Apache-2.0
"""Notices that time has jumped backward, as when a bag starts again, from stamps alone."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum


class StampKind(Enum):
    """What a stamp says about time."""

    CURRENT = "current"
    JUMP = "jump"  # the first of a new time: time went backward
    STRAGGLER = "straggler"  # of the time before the jump, arrived after it


class JumpDetector:
    """Judges the stamps of N streams.

    A jump shows in one stream first. Until another stream's stamps have jumped too, those of its
    items that belong to the old time are stragglers; after `grace_ns` they are taken for what they
    are: the stamps of a camera whose clock did not jump.
    """

    def __init__(self, names: Iterable[str], jump_ns: int, grace_ns: int) -> None:
        """Start without any stamp; a step back by more than `jump_ns` in one stream is a jump."""
        self._jump_ns = jump_ns
        self._grace_ns = grace_ns
        self._newest_ns: dict[str, int | None] = dict.fromkeys(names)
        self._behind: set[str] = set()  # streams that have not jumped yet
        self._jumped_at_ns = self._before_ns = self._after_ns = 0

    def forget(self) -> None:
        """Start anew."""
        self._newest_ns = dict.fromkeys(self._newest_ns)
        self._behind.clear()

    def judge(self, name: str, stamp_ns: int, now_ns: int) -> StampKind:
        """Return what this stamp, arriving now, says about time."""
        if name in self._behind:
            is_old = abs(stamp_ns - self._before_ns) < abs(stamp_ns - self._after_ns)
            if is_old and now_ns - self._jumped_at_ns < self._grace_ns:
                return StampKind.STRAGGLER
            self._behind.discard(name)
            self._newest_ns[name] = None
        newest_ns = self._newest_ns[name]
        if newest_ns is not None and stamp_ns < newest_ns - self._jump_ns:
            self._jump(name, stamp_ns, now_ns)
            return StampKind.JUMP
        self._newest_ns[name] = stamp_ns if newest_ns is None else max(stamp_ns, newest_ns)
        return StampKind.CURRENT

    def _jump(self, name: str, stamp_ns: int, now_ns: int) -> None:
        self._jumped_at_ns, self._after_ns = now_ns, stamp_ns
        self._before_ns = max(newest for newest in self._newest_ns.values() if newest is not None)
        self._behind = set(self._newest_ns) - {name}
        self._newest_ns[name] = stamp_ns
