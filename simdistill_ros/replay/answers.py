# SPDX-License-Identifier: Apache-2.0
"""What the node answered: boxes and velocities paired, looked up by stamp. No ROS, no clock."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from simdistill_ros.core.boxes import Detections
from simdistill_ros.core.frames import FloatArray


@dataclass(frozen=True)
class Answer:
    """The node's complete answer to one snapshot.

    Attributes:
        detections: Boxes with their velocities.
        received_ns: When the second of its two messages came, on the collector's clock.
    """

    detections: Detections
    received_ns: int


@dataclass
class AnswerBook:
    """Pairs `~/detections` with `~/velocities` by exact stamp and keeps the latest pair of each.

    Attributes:
        answers: Stamp -> answer.
        refused: Reasons for which a pair was not taken.
    """

    answers: dict[int, Answer] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    _boxes: dict[int, Detections] = field(default_factory=dict)
    _velocities: dict[int, FloatArray] = field(default_factory=dict)

    def add_detections(self, detections: Detections, received_ns: int) -> None:
        """Take a message of boxes."""
        self._boxes[detections.stamp_ns] = detections
        self._pair(detections.stamp_ns, received_ns)

    def add_velocities(self, stamp_ns: int, velocities_mps: FloatArray, received_ns: int) -> None:
        """Take the (M, 2) velocities that belong to the boxes of the same stamp, in their order."""
        self._velocities[stamp_ns] = velocities_mps
        self._pair(stamp_ns, received_ns)

    def _pair(self, stamp_ns: int, received_ns: int) -> None:
        if stamp_ns not in self._boxes or stamp_ns not in self._velocities:
            return
        boxes, velocities = self._boxes.pop(stamp_ns), self._velocities.pop(stamp_ns)
        if len(boxes) != len(velocities):
            self.refused.append(f"{stamp_ns}: {len(boxes)} boxes, {len(velocities)} velocities")
            return
        complete = replace(boxes, velocities_mps=np.asarray(velocities, dtype=np.float64))
        self.answers[stamp_ns] = Answer(complete, received_ns)

    def newest(self, stamp_ns: int, max_age_ns: int) -> Answer | None:
        """Return the answer to a stamp, or to the newest earlier one that is not too old."""
        stamps = [s for s in self.answers if stamp_ns - max_age_ns <= s <= stamp_ns]
        return self.answers[max(stamps)] if stamps else None

    @property
    def unpaired(self) -> int:
        """Messages still without their companion."""
        return len(self._boxes) + len(self._velocities)
