# SPDX-License-Identifier: Apache-2.0
"""Where a camera sits and looks, read from its extrinsics, and what its name promises."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from simdistill_ros.core.frames import FloatArray, inverse

# Words of a camera's name -> where such a camera looks, degrees counter-clockwise from ahead.
_DIRECTIONS = {
    ("front",): 0.0,
    ("front", "left"): 52.0,
    ("left",): 90.0,
    ("back", "left"): 122.0,
    ("back",): 180.0,
    ("back", "right"): -122.0,
    ("right",): -90.0,
    ("front", "right"): -52.0,
}
_SYNONYMS = {"forward": "front", "fwd": "front", "rear": "back", "backward": "back"}
AZIMUTH_TOLERANCE_DEG = 40.0

LEVEL_DEG = 40.0  # a driving camera's axis is no steeper
UPRIGHT_DEG = 25.0
LOWEST_M, HIGHEST_M, FARTHEST_M = -0.5, 5.0, 20.0


@dataclass(frozen=True)
class Mounting:
    """Angles of an optical frame in the vehicle frame, degrees, and its place, metres.

    Attributes:
        azimuth_deg: Optical axis around the vertical, counter-clockwise from ahead.
        elevation_deg: Optical axis above the horizon.
        roll_deg: The image's turn about the optical axis; 0 is upright, 180 upside down.
        position_m: (x, y, z).
    """

    azimuth_deg: float
    elevation_deg: float
    roll_deg: float
    position_m: tuple[float, float, float]

    @property
    def is_level_and_upright(self) -> bool:
        """Whether it looks about horizontally, the right way up."""
        return abs(self.elevation_deg) <= LEVEL_DEG and abs(self.roll_deg) <= UPRIGHT_DEG

    @property
    def is_on_a_vehicle(self) -> bool:
        """Whether its place is one where a vehicle may carry it."""
        x, y, z = self.position_m
        return math.hypot(x, y) <= FARTHEST_M and LOWEST_M <= z <= HIGHEST_M


def mounting_of(ego_from_cam: FloatArray) -> Mounting:
    """Return a camera's mounting."""
    right, down, forward = ego_from_cam[:3, :3].T
    # What "right" would be for an upright camera that looks the same way.
    level_right = np.array([forward[1], -forward[0], 0.0])
    length = float(np.linalg.norm(level_right))
    roll = 0.0
    if length > 1e-6:
        level_right /= length
        roll = math.degrees(math.atan2(-float(down @ level_right), float(right @ level_right)))
    x, y, z = ego_from_cam[:3, 3].tolist()
    return Mounting(
        azimuth_deg=math.degrees(math.atan2(forward[1], forward[0])),
        elevation_deg=math.degrees(math.asin(float(np.clip(forward[2], -1.0, 1.0)))),
        roll_deg=roll,
        position_m=(x, y, z),
    )


def azimuth_of_name(name: str) -> float | None:
    """Return where a camera of this name should look, degrees, or None if it does not say."""
    parts = name.lower().replace("-", "_").split("_")
    words = {_SYNONYMS.get(part, part) for part in parts}
    ends = [word for word in ("front", "back") if word in words]
    sides = [word for word in ("left", "right") if word in words]
    return _DIRECTIONS.get((*ends, *sides))


def angle_between(first_deg: float, second_deg: float) -> float:
    """Return first minus second, -180 to 180 degrees."""
    return (first_deg - second_deg + 180.0) % 360.0 - 180.0


def fits_name(name: str, azimuth_deg: float) -> bool | None:
    """Tell whether a camera looks where its name says; None if the name does not say."""
    expected = azimuth_of_name(name)
    if expected is None:
        return None
    return abs(angle_between(azimuth_deg, expected)) <= AZIMUTH_TOLERANCE_DEG


def is_body_frame(ego_from_cam: FloatArray) -> bool:
    """Tell whether this frame has z up and x outward: a body frame in an optical one's place."""
    forward, _, up = ego_from_cam[:3, :3].T
    return bool(abs(up[2]) > math.cos(math.radians(20.0)) and abs(forward[2]) < 0.35)


def is_inverted(ego_from_cam: FloatArray) -> bool:
    """Tell whether the inverse would make a good mounting where this makes none."""
    given, turned = mounting_of(ego_from_cam), mounting_of(inverse(ego_from_cam))
    if given.is_level_and_upright and given.is_on_a_vehicle:
        return False
    return turned.is_level_and_upright and turned.is_on_a_vehicle and turned.position_m[2] > 0.2
