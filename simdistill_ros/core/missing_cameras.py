# SPDX-License-Identifier: Apache-2.0
"""What to do with a set that lacks cameras, and which cameras are known to be away.

A camera is away when the others went on without it, so that a pause of the whole rig (a bag that is
paused) makes no camera dead. Times are integer nanoseconds; there is no clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from statistics import median_low

AWAY_AFTER_ITEMS = 3  # of another camera, since the last one of this camera
WRONG_CLOCK_AFTER_ITEMS = 3  # in a row that are stamped far from the other cameras'


class MissingPolicy(Enum):
    """What becomes of a set that lacks a camera.

    DROP: it is given up. BLANK: it goes out without the camera. HOLD: it goes out with the camera's
    last image, as long as that is not too old, and without the camera afterwards.
    """

    DROP = "drop"
    BLANK = "blank"
    HOLD = "hold"


@dataclass(frozen=True)
class MissingCameras:
    """The rule for sets that lack cameras.

    Attributes:
        policy: See `MissingPolicy`.
        min_cameras: A set needs as many images of its own cycle; zero stands for more than half.
        hold_ns: Greatest age of a held image, against the set's stamp.
    """

    policy: MissingPolicy = MissingPolicy.DROP
    min_cameras: int = 0
    hold_ns: int = 250_000_000

    def least(self, cameras: int) -> int:
        """Return how many of a rig's cameras a set needs.

        Raises:
            ValueError: If the rig has not that many, or a number is negative.
        """
        if not 0 <= self.min_cameras <= cameras:
            raise ValueError(
                f"expected min_cameras from 0 to {cameras}, the number of cameras, "
                f"got {self.min_cameras}"
            )
        if self.hold_ns < 0:
            raise ValueError(f"expected hold_ns of zero or more, got {self.hold_ns}")
        if self.policy is MissingPolicy.DROP:
            return cameras
        return self.min_cameras or cameras // 2 + 1


class _Camera:
    """When a camera was heard last, and how its clock runs."""

    def __init__(self) -> None:
        self.heard_ns: int | None = None
        self.others_since: dict[str, int] = {}
        self.ahead_ns: int | None = None  # stamp minus arrival
        self.wrong_clock = 0  # items in a row


class Presence:
    """Knows which cameras are away: silent while others send, or stamped by a wrong clock."""

    def __init__(self, names: Iterable[str], patience_ns: int) -> None:
        """Start with nobody heard; within `patience_ns` no camera is away."""
        self._cameras = {name: _Camera() for name in names}
        self._patience_ns = patience_ns
        self._started_ns: int | None = None

    def heard(self, name: str, stamp_ns: int, now_ns: int) -> None:
        """Note an item with a stamp."""
        if self._started_ns is None:
            self._started_ns = now_ns
        for other, camera in self._cameras.items():
            if other != name:
                camera.others_since[name] = camera.others_since.get(name, 0) + 1
        camera = self._cameras[name]
        camera.heard_ns, camera.ahead_ns = now_ns, stamp_ns - now_ns
        camera.others_since.clear()
        is_wrong = abs(camera.ahead_ns - self._usual_ahead_ns()) > self._patience_ns
        camera.wrong_clock = camera.wrong_clock + 1 if is_wrong else 0

    def away(self, now_ns: int) -> frozenset[str]:
        """Return the cameras that a set need not wait for."""
        return frozenset(name for name, c in self._cameras.items() if self._is_away(c, now_ns))

    def wrong_clocks(self) -> dict[str, int]:
        """Return how far ahead of the others' the clocks are that are wrong, nanoseconds."""
        return {
            name: camera.ahead_ns - self._usual_ahead_ns()
            for name, camera in self._cameras.items()
            if camera.wrong_clock >= WRONG_CLOCK_AFTER_ITEMS and camera.ahead_ns is not None
        }

    def forget_clocks(self) -> None:
        """Drop what is known of clocks: time has jumped."""
        for camera in self._cameras.values():
            camera.ahead_ns, camera.wrong_clock = None, 0

    def forget(self) -> None:
        """Start anew."""
        self._cameras = {name: _Camera() for name in self._cameras}
        self._started_ns = None

    def _usual_ahead_ns(self) -> int:
        known = [c.ahead_ns for c in self._cameras.values() if c.ahead_ns is not None]
        return median_low(known)

    def _is_away(self, camera: _Camera, now_ns: int) -> bool:
        if camera.wrong_clock >= WRONG_CLOCK_AFTER_ITEMS:
            return True
        since_ns = self._started_ns if camera.heard_ns is None else camera.heard_ns
        if since_ns is None or now_ns - since_ns < self._patience_ns:
            return False
        return max(camera.others_since.values(), default=0) >= AWAY_AFTER_ITEMS
