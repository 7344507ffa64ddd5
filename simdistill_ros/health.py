# SPDX-License-Identifier: Apache-2.0
"""What went wrong, with which camera, how often and when last.

Every fault has a short stable `cause` and a sentence for people. Faults are counted always, logged
at most once a period for each camera and cause, and shown in `/diagnostics` until good input comes
again. No ROS here: clock and logger are passed in.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from simdistill_ros.latency import Rate


class InputFault(Exception):
    """One camera's input cannot be used; `cause` is the short name, the text says what to do."""

    def __init__(self, subject: str, cause: str, message: str) -> None:
        """Keep subject and cause beside the message."""
        super().__init__(message)
        self.subject = subject
        self.cause = cause


@dataclass
class SubjectHealth:
    """The record of one camera, or of `sync`, `inference` or `model`.

    Attributes:
        counts: Number of faults by cause.
        received: Number of messages or items.
        good: Number that were used.
        last_received_ns: Clock at the last message, or None.
        last_good_ns: Clock at the last good use, or None.
        last_fault_ns: Clock at the last fault, or None.
        last_cause: Cause of the last fault.
        last_message: Sentence of the last fault.
        rate_hz: Messages a second, lately.
    """

    counts: Counter[str] = field(default_factory=Counter)
    received: int = 0
    good: int = 0
    last_received_ns: int | None = None
    last_good_ns: int | None = None
    last_fault_ns: int | None = None
    last_cause: str = ""
    last_message: str = ""
    rate_hz: float = 0.0

    @property
    def is_faulty(self) -> bool:
        """Whether the last thing that happened was a fault."""
        if self.last_fault_ns is None:
            return False
        return self.last_good_ns is None or self.last_good_ns < self.last_fault_ns


class Health:
    """Thread-safe record of faults, with throttled logging."""

    def __init__(
        self, clock_ns: Callable[[], int], warn: Callable[[str], None], log_period_ns: int
    ) -> None:
        """Start with nothing known.

        Args:
            clock_ns: Monotonic clock.
            warn: Logger's warning function.
            log_period_ns: Shortest time between two logs of one subject and cause.
        """
        self._clock_ns = clock_ns
        self._warn = warn
        self._log_period_ns = log_period_ns
        self._lock = threading.Lock()
        self._subjects: dict[str, SubjectHealth] = {}
        self._rates: dict[str, Rate] = {}
        self._logged_ns: dict[tuple[str, str], int] = {}

    def received(self, subject: str) -> None:
        """Record that something arrived."""
        with self._lock:
            record = self._record(subject)
            record.received += 1
            record.last_received_ns = self._clock_ns()
            self._rates.setdefault(subject, Rate()).add(record.last_received_ns)

    def good(self, subject: str) -> None:
        """Record that something was used; ends the subject's faulty state."""
        with self._lock:
            record = self._record(subject)
            record.good += 1
            record.last_good_ns = self._clock_ns()

    def fault(self, subject: str, cause: str, message: str, count: int = 1) -> None:
        """Count a fault and log it unless the same was logged a moment ago."""
        now_ns = self._clock_ns()
        with self._lock:
            record = self._record(subject)
            record.counts[cause] += count
            record.last_fault_ns = now_ns
            record.last_cause, record.last_message = cause, message
            last_ns = self._logged_ns.get((subject, cause))
            if last_ns is not None and now_ns - last_ns < self._log_period_ns:
                return
            self._logged_ns[subject, cause] = now_ns
            total = record.counts[cause]
        self._warn(f"{subject}: {cause}: {message} ({total} so far)")

    def fault_from(self, fault: InputFault) -> None:
        """Record a fault that was raised."""
        self.fault(fault.subject, fault.cause, str(fault))

    def snapshot(self) -> dict[str, SubjectHealth]:
        """Return a copy of all records."""
        now_ns = self._clock_ns()
        with self._lock:
            for name, rate in self._rates.items():
                self._subjects[name].rate_hz = rate.hz(now_ns)
            return {
                name: SubjectHealth(**{**vars(record), "counts": Counter(record.counts)})
                for name, record in self._subjects.items()
            }

    def _record(self, subject: str) -> SubjectHealth:
        return self._subjects.setdefault(subject, SubjectHealth())
