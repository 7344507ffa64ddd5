# SPDX-License-Identifier: Apache-2.0
"""The vehicle's way through a scene: stamped poses, interpolated in between."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simdistill_ros.core.frames import (
    FloatArray,
    quaternion_from_rotation,
    rigid,
    rotation_from_quaternion,
)


@dataclass(frozen=True)
class PoseTrack:
    """Poses of the vehicle over time.

    Attributes:
        stamps_ns: (T,) ascending, no two equal.
        global_from_ego: (T, 4, 4), one pose a stamp.
    """

    stamps_ns: npt.NDArray[np.int64]
    global_from_ego: FloatArray

    def at(self, stamp_ns: int) -> FloatArray:
        """Return (4, 4) global_from_ego: exact at a stamp, linear and spherical in between.

        Raises:
            ValueError: If the stamp lies outside the track.
        """
        if not len(self.stamps_ns) or not self.stamps_ns[0] <= stamp_ns <= self.stamps_ns[-1]:
            span = f"{self.stamps_ns[0]}..{self.stamps_ns[-1]}" if len(self.stamps_ns) else "empty"
            raise ValueError(f"expected a stamp within the pose track ({span}), got {stamp_ns}")
        after = int(np.searchsorted(self.stamps_ns, stamp_ns))
        if self.stamps_ns[after] == stamp_ns:
            return np.asarray(self.global_from_ego[after])
        before = after - 1
        gap_ns = int(self.stamps_ns[after] - self.stamps_ns[before])
        fraction = (stamp_ns - int(self.stamps_ns[before])) / gap_ns
        return _between(self.global_from_ego[before], self.global_from_ego[after], fraction)


def pose_track(poses: Iterable[tuple[int, FloatArray]]) -> PoseTrack:
    """Return the track of (stamp_ns, global_from_ego) pairs, in any order; of equals the first."""
    by_stamp: dict[int, FloatArray] = {}
    for stamp_ns, global_from_ego in poses:
        by_stamp.setdefault(stamp_ns, global_from_ego)
    stamps = sorted(by_stamp)
    return PoseTrack(
        stamps_ns=np.array(stamps, dtype=np.int64),
        global_from_ego=np.array([by_stamp[stamp] for stamp in stamps]).reshape(-1, 4, 4),
    )


def _between(first: FloatArray, second: FloatArray, fraction: float) -> FloatArray:
    q0 = quaternion_from_rotation(first[:3, :3])
    q1 = quaternion_from_rotation(second[:3, :3])
    cos = float(q0 @ q1)
    if cos < 0.0:
        q1, cos = -q1, -cos
    angle = float(np.arccos(min(cos, 1.0)))
    if angle < 1e-6:
        q = (1.0 - fraction) * q0 + fraction * q1
    else:
        q = (np.sin((1.0 - fraction) * angle) * q0 + np.sin(fraction * angle) * q1) / np.sin(angle)
    translation = (1.0 - fraction) * first[:3, 3] + fraction * second[:3, 3]
    return rigid(rotation_from_quaternion(q), translation)
