# SPDX-License-Identifier: Apache-2.0
"""Which directions around the vehicle the images of a snapshot show.

A camera's sector is the horizontal field of view of its (undistorted) image in the ego frame. What
the network makes of directions that no image shows is a guess, so callers mark or drop it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simdistill_ros.core.frames import FloatArray, wrap_angle
from simdistill_ros.core.preprocess import ego_from_rectified
from simdistill_ros.core.snapshot import View

BoolArray = npt.NDArray[np.bool_]
DIRECTIONS = 360


@dataclass(frozen=True)
class Sector:
    """What one camera sees of the ground plane, ego frame.

    Attributes:
        camera: The camera.
        stamp_ns: When its image was taken.
        origin_xy_m: (2,) where it stands.
        first_rad: Azimuth of the clockwise edge.
        span_rad: From there counter-clockwise to the other edge.
    """

    camera: str
    stamp_ns: int
    origin_xy_m: FloatArray
    first_rad: float
    span_rad: float

    def contains(self, azimuths_rad: FloatArray) -> BoolArray:
        """Tell which azimuths (M,) lie within."""
        return np.asarray(np.mod(azimuths_rad - self.first_rad, 2 * np.pi) <= self.span_rad)


def sector_of(view: View) -> Sector:
    """Return what a view sees, edges of its outermost pixels included."""
    ego_from_cam = ego_from_rectified(view)
    intrinsics = view.calibration.image_from_cam
    columns = np.array([-0.5, intrinsics[0, 2], view.calibration.width_px - 0.5])
    pixels = np.stack([columns, np.full(3, intrinsics[1, 2]), np.ones(3)])
    rays_ego = ego_from_cam[:3, :3] @ np.linalg.inv(intrinsics) @ pixels  # (3, left axis right)
    azimuths = np.arctan2(rays_ego[1], rays_ego[0])
    from_axis = wrap_angle(azimuths - azimuths[1])
    first_rad, last_rad = float(from_axis.min()), float(from_axis.max())
    return Sector(
        camera=view.camera,
        stamp_ns=view.stamp_ns,
        origin_xy_m=ego_from_cam[:2, 3],
        first_rad=float(wrap_angle(azimuths[1] + first_rad)),
        span_rad=last_rad - first_rad,
    )


def sectors_of(views: Iterable[View]) -> tuple[Sector, ...]:
    """Return the sector of each view."""
    return tuple(sector_of(view) for view in views)


def directions_rad(count: int = DIRECTIONS) -> FloatArray:
    """Return `count` evenly spaced azimuths from -pi upward, each in the middle of its bin."""
    return -np.pi + (np.arange(count) + 0.5) * 2 * np.pi / count


def newest_stamps_ns(sectors: Sequence[Sector], azimuths_rad: FloatArray) -> npt.NDArray[np.int64]:
    """Return, for far points in each direction (M,), the newest image's stamp; -1 for none."""
    stamps = np.full(len(azimuths_rad), -1, dtype=np.int64)
    for sector in sectors:
        inside = sector.contains(azimuths_rad)
        stamps[inside] = np.maximum(stamps[inside], sector.stamp_ns)
    return stamps


def is_seen(sectors: Sequence[Sector], points_xy_m: FloatArray) -> BoolArray:
    """Tell which points (M, 2), ego frame, lie in the sector of a camera, seen from where it is."""
    seen = np.zeros(len(points_xy_m), dtype=np.bool_)
    for sector in sectors:
        toward = points_xy_m - sector.origin_xy_m
        seen |= sector.contains(np.arctan2(toward[:, 1], toward[:, 0]))
    return seen
