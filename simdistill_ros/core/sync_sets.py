# SPDX-License-Identifier: Apache-2.0
"""What a synchroniser handles: streams of items, the cycles they join, and the sets that go out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from simdistill_ros.core.sync_counters import CameraCounters

T = TypeVar("T")


@dataclass(frozen=True)
class SyncedSet(Generic[T]):
    """One item per camera, all of one cycle but for those that are held.

    Attributes:
        stamp_ns: Reference time: the newest item's, or the anchor camera's where one is set.
        stamps_ns: Stamp of each camera's item.
        items: The items by camera.
        spread_ns: Time between the oldest and the newest item of the cycle.
        missing: Cameras that have no item here.
        held: Cameras whose item is of an earlier cycle.
    """

    stamp_ns: int
    stamps_ns: dict[str, int]
    items: dict[str, T]
    spread_ns: int
    missing: tuple[str, ...] = ()
    held: tuple[str, ...] = ()


@dataclass(frozen=True)
class Item(Generic[T]):
    """What one camera sent: its stamp, when it came, and the payload.

    Stamp and arrival are nanoseconds, of different clocks.
    """

    camera: str
    stamp_ns: int
    arrival_ns: int
    payload: T


class Stream:
    """What is remembered of one camera.

    Attributes:
        counters: What became of its items.
        matched_ns: Stamp of its last item that was handed out.
        arrival_ns: When its last item came, stamped or not.
    """

    def __init__(self) -> None:
        """Start with nothing received."""
        self.counters = CameraCounters()
        self.matched_ns: int | None = None
        self.arrival_ns: int | None = None


class Cycle(Generic[T]):
    """Items whose stamps, minus their camera's offset, coincide."""

    def __init__(self, arrival_ns: int) -> None:
        """Start empty, with the arrival of its first item."""
        self.members: dict[str, Item[T]] = {}
        self.first_arrival_ns = arrival_ns
        self.start_ns = 0
        self._start_sum_ns = 0

    def join(self, item: Item[T], start_ns: int) -> None:
        """Take an item; by it, the cycle starts at `start_ns`."""
        self.members[item.camera] = item
        self.first_arrival_ns = min(self.first_arrival_ns, item.arrival_ns)
        self._start_sum_ns += start_ns
        self.start_ns = self._start_sum_ns // len(self.members)

    def stamps_ns(self, names: Iterable[str]) -> dict[str, int]:
        """Return the stamps of its items, in the order of `names`."""
        return {name: self.members[name].stamp_ns for name in names if name in self.members}


def reach_ns(stamps_ns: Mapping[str, int], anchor: str | None) -> int:
    """Return what the tolerance limits: the spread, or the distance to the anchor."""
    newest, oldest = max(stamps_ns.values()), min(stamps_ns.values())
    if anchor is None:
        return newest - oldest
    return max(newest - stamps_ns[anchor], stamps_ns[anchor] - oldest)


class LastItems(Generic[T]):
    """The newest items of each camera, which may stand in where a cycle lacks one."""

    def __init__(self, names: Iterable[str]) -> None:
        """Start with none."""
        self._recent: dict[str, deque[Item[T]]] = {name: deque(maxlen=2) for name in names}

    def keep(self, item: Item[T]) -> None:
        """Keep an item in place of the camera's last but one."""
        self._recent[item.camera].append(item)

    def forget(self) -> None:
        """Drop all."""
        for recent in self._recent.values():
            recent.clear()

    def before(self, name: str, stamp_ns: int, oldest_ns: int) -> Item[T] | None:
        """Return a camera's newest item up to a stamp, unless older than another."""
        past = [i for i in self._recent[name] if oldest_ns <= i.stamp_ns <= stamp_ns]
        return max(past, key=lambda item: item.stamp_ns, default=None)


def set_of(
    cycle: Cycle[T],
    names: Iterable[str],
    anchor: str | None,
    held: Callable[[str, int], Item[T] | None],
) -> SyncedSet[T]:
    """Return a cycle's items and, for cameras that it lacks, those that are held.

    Args:
        cycle: The cycle; with an anchor, it has an item of it.
        names: The cameras, in the order of the set.
        anchor: Camera whose stamp is the set's; None: the newest.
        held: Given a camera and the set's stamp, returns the item that stands in, or None.
    """
    names = tuple(names)
    own_ns = cycle.stamps_ns(names)
    stamp_ns = max(own_ns.values()) if anchor is None else own_ns[anchor]
    stand_ins = {name: held(name, stamp_ns) for name in names if name not in own_ns}
    items = cycle.members | {name: item for name, item in stand_ins.items() if item is not None}
    return SyncedSet(
        stamp_ns=stamp_ns,
        stamps_ns={name: items[name].stamp_ns for name in names if name in items},
        items={name: items[name].payload for name in names if name in items},
        spread_ns=max(own_ns.values()) - min(own_ns.values()),
        missing=tuple(name for name in names if name not in items),
        held=tuple(name for name in names if name in items and name not in own_ns),
    )
