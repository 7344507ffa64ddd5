# SPDX-License-Identifier: Apache-2.0
"""The actors of a scene, and the rule that no two of them ever overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from simdistill_ros.scenes.mesh import ObjectModel
from simdistill_ros.scenes.motion import Track
from simdistill_ros.scenes.shapes import FloatArray
from simdistill_ros.scenes.terrain import Terrain

_CHECK_PERIOD_S = 0.25
_CLEARANCE_M = 0.12
MOVING_MPS = 0.3


@dataclass(frozen=True)
class Actor:
    """An annotated object with its motion.

    Attributes:
        model: Geometry and class.
        track: Pose of the box centre over time.
        raised_m: Height of what it stands on above the terrain (a sidewalk).
        parked: True for vehicles that nobody is about to drive.
    """

    model: ObjectModel
    track: Track
    raised_m: float = 0.0
    parked: bool = False

    @property
    def is_fixed(self) -> bool:
        """Tell whether the actor never moves."""
        return len(self.track.times_s) == 1

    def ground_points(self, time_s: float) -> FloatArray:
        """Return (5, 2) global positions under the actor: middle and four contact points."""
        x, y, yaw = self.track.pose(time_s)
        length, width, _ = self.model.size_lwh_m
        local = np.array([[0, 0], [1, 1], [1, -1], [-1, 1], [-1, -1]]) * [
            0.32 * length,
            0.4 * width,
        ]
        c, s = np.cos(yaw), np.sin(yaw)
        return np.asarray(local @ np.array([[c, s], [-s, c]]) + [x, y])

    def centre(self, time_s: float, terrain: Terrain) -> tuple[float, float, float, float]:
        """Return (x, y, z, yaw) of the box centre in the global frame."""
        x, y, yaw = self.track.pose(time_s)
        ground = float(terrain.height(self.ground_points(time_s)).mean())
        return x, y, ground + self.raised_m + self.model.size_lwh_m[2] / 2, yaw

    def attribute(self, time_s: float) -> str:
        """Return the nuScenes attribute name, empty for cones and barriers."""
        name, moving = self.model.class_name, self.track.speed(time_s) > MOVING_MPS
        if name in ("traffic_cone", "barrier"):
            return ""
        if name in ("bicycle", "motorcycle"):
            return "cycle.with_rider" if self.model.with_rider else "cycle.without_rider"
        if name == "pedestrian":
            if self.model.posture == "sitting":
                return "pedestrian.sitting_lying_down"
            return "pedestrian.moving" if moving else "pedestrian.standing"
        if moving:
            return "vehicle.moving"
        return "vehicle.parked" if self.parked else "vehicle.stopped"


def footprint_circles(
    size_lw_m: tuple[float, float], track: Track, times_s: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Cover a moving rectangle with circles.

    Args:
        size_lw_m: Length along the heading and width, metres.
        track: Motion of its middle.
        times_s: (T,) times.

    Returns:
        Centres (T, n, 2) in metres and radii (n,).
    """
    length, width = size_lw_m
    long_side, short_side = max(length, width), min(length, width)
    count = max(1, int(np.ceil(long_side / max(short_side, 0.2))))
    offsets = ((np.arange(count) + 0.5) / count - 0.5) * long_side
    radius = float(np.hypot(long_side / count, short_side) / 2)
    x = np.interp(times_s, track.times_s, track.xy[:, 0])
    y = np.interp(times_s, track.times_s, track.xy[:, 1])
    yaw = np.interp(times_s, track.times_s, track.yaw_rad) + (0.0 if length >= width else np.pi / 2)
    centres = np.stack(
        [
            x[:, None] + np.cos(yaw)[:, None] * offsets,
            y[:, None] + np.sin(yaw)[:, None] * offsets,
        ],
        axis=-1,
    )
    return centres, np.full(count, radius)


class Stage:
    """Accepts actors that stay clear of the ego vehicle, of obstacles and of each other."""

    def __init__(self, duration_s: float) -> None:
        """Start empty; overlaps are checked over the whole duration."""
        self._times_s = np.arange(0.0, duration_s + _CHECK_PERIOD_S, _CHECK_PERIOD_S)
        count = len(self._times_s)
        self._centres = np.zeros((count, 0, 2))
        self._radii = np.zeros(0)
        self.actors: list[Actor] = []

    def reserve(self, size_lw_m: tuple[float, float], track: Track) -> None:
        """Keep the space of something that is not an actor, such as the ego vehicle."""
        self._append(*footprint_circles(size_lw_m, track, self._times_s))

    def reserve_circles(self, xy: FloatArray, radii_m: FloatArray) -> None:
        """Keep fixed circles clear: positions (M, 2) and radii (M,), metres."""
        centres = np.broadcast_to(xy, (len(self._times_s), *xy.shape))
        self._append(centres, radii_m)

    def add(self, group: Sequence[Actor]) -> bool:
        """Add actors that belong together, or none of them if one has no room."""
        covers = [
            footprint_circles(actor.model.size_lwh_m[:2], actor.track, self._times_s)
            for actor in group
        ]
        if any(self._collides(centres, radii) for centres, radii in covers):
            return False
        for actor, (centres, radii) in zip(group, covers, strict=True):
            self._append(centres, radii)
            self.actors.append(actor)
        return True

    def _append(self, centres: FloatArray, radii: FloatArray) -> None:
        self._centres = np.concatenate([self._centres, centres], axis=1)
        self._radii = np.concatenate([self._radii, radii])

    def _collides(self, centres: FloatArray, radii: FloatArray) -> bool:
        for index in range(centres.shape[1]):
            offset = self._centres - centres[:, index : index + 1]
            reach = self._radii + radii[index] + _CLEARANCE_M
            if bool((np.einsum("tnc,tnc->tn", offset, offset) < reach**2).any()):
                return True
        return False
