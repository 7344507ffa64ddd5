# SPDX-License-Identifier: Apache-2.0
"""The cameras and the limits of a synchroniser, checked."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SyncSettings:
    """What a synchroniser is set up with; `Synchronizer` says what each value means.

    Raises:
        ValueError: If a camera is named twice, none is named, the anchor is not one of them, or a
            number is out of range.
    """

    names: tuple[str, ...]
    tolerance_ns: int
    timeout_ns: int
    queue_size: int
    anchor: str | None
    jump_ns: int

    def __post_init__(self) -> None:
        """Check the values."""
        if not self.names or len(set(self.names)) != len(self.names):
            raise ValueError(f"expected one or more cameras, each named once, got {self.names}")
        if self.anchor is not None and self.anchor not in self.names:
            raise ValueError(f"expected an anchor among {self.names}, got {self.anchor!r}")
        for label in ("tolerance_ns", "timeout_ns", "queue_size", "jump_ns"):
            number = getattr(self, label)
            if number <= 0:
                raise ValueError(f"expected {label} above zero, got {number}")
