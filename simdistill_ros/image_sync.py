# SPDX-License-Identifier: Apache-2.0
"""Choose the synchroniser and translate its sets and losses into the node's words.

`native` is `core/sync.py`. `message_filters` hands the matching to ROS's
ApproximateTimeSynchronizer, for those who want its behaviour; it knows no timeout and no anchor.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any, Protocol

from simdistill_ros.conversions import header_to_msg
from simdistill_ros.core.missing_cameras import MissingCameras, MissingPolicy
from simdistill_ros.core.stamp_places import Misplaced
from simdistill_ros.core.sync import Synchronizer
from simdistill_ros.core.sync_counters import SyncCounters
from simdistill_ros.core.sync_sets import SyncedSet
from simdistill_ros.health import Health
from simdistill_ros.parameters import ParameterError, SyncParameters
from simdistill_ros.snapshot_builder import MessageSet, Received


class ImageSync(Protocol):
    """What the node needs of a synchroniser."""

    def add(self, camera: str, received: Received, now_ns: int) -> list[MessageSet]:
        """Take an image; return the sets that it completes."""

    def poll(self, now_ns: int) -> list[MessageSet]:
        """Give up what waited too long; return sets that time alone completes."""

    def set_missing_cameras(self, rule: MissingCameras) -> None:
        """Change what becomes of sets that lack cameras."""

    def reset(self) -> None:
        """Forget everything queued."""

    def values(self) -> dict[str, object]:
        """Return counters for diagnostics."""

    def clock_warnings(self) -> dict[str, str]:
        """Return a sentence for each camera that is matched although its clock is wrong."""


def make_sync(parameters: SyncParameters, cameras: tuple[str, ...], health: Health) -> ImageSync:
    """Return the synchroniser that the parameters choose.

    Raises:
        ParameterError: If the policy is `message_filters` and that package is not installed, or a
            value is out of range.
    """
    if parameters.policy == "message_filters":
        return MessageFiltersSync(parameters, cameras)
    return NativeSync(parameters, cameras, health)


class NativeSync:
    """`core.sync.Synchronizer`, its losses reported as faults that name cameras. Thread-safe."""

    def __init__(
        self, parameters: SyncParameters, cameras: tuple[str, ...], health: Health
    ) -> None:
        """Set up empty streams."""
        self._lock = threading.Lock()
        self._health = health
        try:
            self._sync: Synchronizer[Received] = Synchronizer(
                cameras,
                tolerance_ns=parameters.tolerance_ns,
                timeout_ns=parameters.timeout_ns,
                queue_size=parameters.queue_size,
                anchor=parameters.anchor or None,
                missing_cameras=parameters.missing,
            )
        except ValueError as error:
            raise ParameterError(f"sync: {error}") from error
        self._tolerance_ns = parameters.tolerance_ns
        self._missing = parameters.missing
        self._before = _Totals.of(self._sync.counters)

    def add(self, camera: str, received: Received, now_ns: int) -> list[MessageSet]:
        """Take an image; return the sets that it completes."""
        with self._lock:
            return self._noted(self._sync.add(camera, received.stamp_ns, received, now_ns), now_ns)

    def poll(self, now_ns: int) -> list[MessageSet]:
        """Give up what waited too long; return sets that time alone completes."""
        with self._lock:
            return self._noted(self._sync.poll(now_ns), now_ns)

    def set_missing_cameras(self, rule: MissingCameras) -> None:
        """Change what becomes of sets that lack cameras."""
        with self._lock:
            if rule != self._missing:
                self._sync.set_missing_cameras(rule)
                self._missing = rule

    def reset(self) -> None:
        """Forget everything queued."""
        with self._lock:
            self._sync.reset()

    def values(self) -> dict[str, object]:
        """Return counters for diagnostics."""
        with self._lock:
            return self._values()

    def _values(self) -> dict[str, object]:
        counters, spread_ns = self._sync.counters, self._sync.last_spread_ns
        values: dict[str, object] = {
            "policy": "native",
            "missing_policy": self._missing.policy.value,
            "cameras_away": ", ".join(sorted(self._sync.away)) or "none",
            "sets": counters.sets,
            "partial_sets": counters.partial_sets,
            "incomplete_sets": counters.incomplete_sets,
            "out_of_tolerance_sets": counters.out_of_tolerance_sets,
            "time_jumps": counters.time_jumps,
            "last_spread_ms": "none" if spread_ns is None else f"{spread_ns / 1e6:.1f}",
            "firing_order": "learning" if self._sync.phases is None else "known",
        }
        for name, camera in counters.cameras.items():
            drops = ", ".join(f"{reason} {n}" for reason, n in camera.drops.items() if n)
            values[name] = f"received {camera.received}, matched {camera.matched}" + (
                f", dropped: {drops}" if drops else ""
            )
        return values

    def clock_warnings(self) -> dict[str, str]:
        """Return a sentence for each camera that is matched although its clock is wrong."""
        with self._lock:
            return {name: _sentence(one) for name, one in self._sync.misplaced_clocks().items()}

    def _noted(self, sets: list[SyncedSet[Received]], now_ns: int) -> list[MessageSet]:
        """Report what these sets lack and what was lost since the last call."""
        for one in sets:
            for camera in one.missing:
                self._report_absence(camera, "a set goes on without it", now_ns)
            for camera in one.held:
                age_ms = (one.stamp_ns - one.stamps_ns[camera]) / 1e6
                text = f"its last image, {age_ms:.0f} ms old, stands in"
                self._health.fault(camera, "held_in_set", text)
        self._report(now_ns)
        return [_message_set(one, now_ns) for one in sets]

    def _report(self, now_ns: int) -> None:
        """Turn what the counters gained since the last call into faults and good news."""
        counters, before = self._sync.counters, self._before
        after = _Totals.of(counters)
        if after == before:
            return
        self._before = after
        if after.lost != before.lost:
            self._report_lost(after, before, now_ns)
        if after.wide > before.wide:
            report = self._sync.missing(now_ns)
            spread_ns = report.out_of_tolerance_ns or 0
            for name, misplaced in report.misplaced.items():
                self._health.fault(name, "out_of_tolerance", _sentence(misplaced))
            self._health.fault(
                "sync",
                "out_of_tolerance",
                f"a complete set spread {spread_ns / 1e6:.1f} ms; sync.tolerance_s allows "
                f"{self._tolerance_ns / 1e6:.1f} ms",
                after.wide - before.wide,
            )
        if after.jumps > before.jumps:
            self._health.fault(
                "sync", "time_jump", "stamps jumped back (a bag that loops?); matching starts anew"
            )
        for name, number in after.duplicates.items():
            if number > before.duplicates[name]:
                self._health.fault(
                    name,
                    "duplicate_stamp",
                    "two images of one cycle; is there a second publisher on the topic?",
                    number - before.duplicates[name],
                )
        if after.sets > before.sets:
            self._health.good("sync")

    def _report_lost(self, after: _Totals, before: _Totals, now_ns: int) -> None:
        """Blame a loss on the cameras that were not there, or whose stamps stand apart."""
        absent = {name: after.absences[name] - before.absences[name] for name in after.absences}
        misplaced = self._sync.missing(now_ns).misplaced
        culprits = [name for name, times in absent.items() if times or name in misplaced]
        for camera in culprits:
            self._report_absence(
                camera, "a set was given up without its image", now_ns, max(absent[camera], 1)
            )
        number = after.incomplete - before.incomplete
        if number:
            names = ", ".join(culprits) or "one of the cameras"
            text = f"a set was given up without {names}"
            self._health.fault("sync", "incomplete_set", text, number)

    def _report_absence(self, camera: str, text: str, now_ns: int, count: int = 1) -> None:
        """Say that a camera's image is missing in a set; of stray stamps, say that instead."""
        report = self._sync.missing(now_ns)
        if camera in report.misplaced:
            sentence = _sentence(report.misplaced[camera])
            self._health.fault(camera, "out_of_tolerance", sentence, count)
        else:
            ago = _ago(report.silent_ns[camera])
            self._health.fault(camera, "missing_in_set", f"{text}; {ago}", count)


@dataclass(frozen=True)
class _Totals:
    """The counters that faults are made from, at one moment."""

    sets: int
    incomplete: int
    wide: int
    jumps: int
    duplicates: dict[str, int]
    absences: dict[str, int]
    lost: dict[str, int]

    @classmethod
    def of(cls, counters: SyncCounters) -> _Totals:
        cameras = counters.cameras.items()
        return cls(
            sets=counters.sets,
            incomplete=counters.incomplete_sets,
            wide=counters.out_of_tolerance_sets,
            jumps=counters.time_jumps,
            duplicates={name: camera.duplicate for name, camera in cameras},
            absences={name: counters.absences[name] for name in counters.cameras},
            lost={name: c.unmatched + c.timeout + c.overflow for name, c in cameras},
        )


class MessageFiltersSync:
    """message_filters.ApproximateTimeSynchronizer behind the same interface."""

    def __init__(self, parameters: SyncParameters, cameras: tuple[str, ...]) -> None:
        """Set up one filter a camera.

        Raises:
            ParameterError: If message_filters is not installed or an anchor is asked for.
        """
        try:
            import message_filters
        except ImportError as error:
            raise ParameterError(
                "sync.policy: message_filters is not installed; install the package "
                "ros-$ROS_DISTRO-message-filters or set sync.policy to native"
            ) from error
        if parameters.missing.policy is not MissingPolicy.DROP:
            raise ParameterError(
                "sync.missing.policy: message_filters only drops; use sync.policy native"
            )
        if parameters.anchor:
            raise ParameterError(
                "sync.anchor: message_filters has no anchor; use sync.policy native"
            )
        self._cameras = cameras
        self._filters = {camera: message_filters.SimpleFilter() for camera in cameras}
        self._complete: list[tuple[_Stamped, ...]] = []
        self._sets = 0
        self._sync = message_filters.ApproximateTimeSynchronizer(
            list(self._filters.values()), parameters.queue_size, parameters.tolerance_ns / 1e9
        )
        # The callback must not raise: message_filters would stay locked for ever.
        self._sync.registerCallback(lambda *messages: self._complete.append(messages))

    def add(self, camera: str, received: Received, now_ns: int) -> list[MessageSet]:
        """Take an image; return the sets that it completes."""
        header = header_to_msg(received.frame, received.stamp_ns)
        self._filters[camera].signalMessage(_Stamped(header, received))
        complete, self._complete = self._complete, []
        self._sets += len(complete)
        return [self._message_set(messages, now_ns) for messages in complete]

    def poll(self, now_ns: int) -> list[MessageSet]:
        """Do nothing: message_filters waits for ever."""
        return []

    def set_missing_cameras(self, rule: MissingCameras) -> None:
        """Do nothing: message_filters knows whole sets only."""

    def reset(self) -> None:
        """Forget everything queued."""
        for queue in self._sync.queues:
            queue.clear()

    def values(self) -> dict[str, object]:
        """Return counters for diagnostics."""
        return {"policy": "message_filters", "sets": self._sets}

    def clock_warnings(self) -> dict[str, str]:
        """Return nothing: message_filters compares stamps with no firing order and no arrival."""
        return {}

    def _message_set(self, messages: tuple[_Stamped, ...], now_ns: int) -> MessageSet:
        received = [message.received for message in messages]
        newest_ns = max(one.stamp_ns for one in received)
        return MessageSet(newest_ns, dict(zip(self._cameras, received, strict=True)), now_ns)


@dataclass(frozen=True)
class _Stamped:
    """What message_filters is given in place of a message: it looks at the stamp only."""

    header: Any
    received: Received


def _message_set(synced: SyncedSet[Received], now_ns: int) -> MessageSet:
    return MessageSet(synced.stamp_ns, synced.items, now_ns, synced.missing, synced.held)


def _sentence(misplaced: Misplaced) -> str:
    return f"its stamps are {misplaced}; is its clock right?"


def _ago(silent_ns: int | None) -> str:
    return "it never sent one" if silent_ns is None else f"last one {silent_ns / 1e6:.0f} ms ago"
