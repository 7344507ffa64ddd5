# SPDX-License-Identifier: Apache-2.0
"""What part of the surroundings do the cameras see, and which of them see the same part."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from simdistill_ros.core.camera import CameraCalibration
from simdistill_ros.core.frames import FloatArray
from simdistill_ros.doctor.findings import Check, Finding, Kind, Severity, found
from simdistill_ros.doctor.observations import Rig

GAP_DEG = 5

_NO_VIEW_FROM = (
    "topic_missing", "no_messages", "info_topic_missing", "info_no_messages", "uncalibrated",
    "info_unusable", "info_rotation", "aspect_differs", "image_undecodable", "tf_none",
    "base_frame_missing", "camera_frame_missing", "frame_id_empty", "tf_not_connected",
    "tf_two_parents", "tf_loop", "tf_late", "tf_invalid", "qos_incompatible", "stamp_zero",
    "extrinsics_inverted", "frame_not_optical", "camera_steep", "camera_rolled",
    "azimuth_unexpected", "extrinsics_shared", "principal_point_off",
    "intrinsics_not_scaled", "field_of_view_odd",
    "topic_type", "tf_stale", "stamp_epoch", "clock_offset", "cameras_swapped",
)  # fmt: skip
COVERAGE_GAP = Kind(
    "coverage_gap",
    Severity.WARNING,
    "Some directions around the vehicle are seen by no camera; nothing is detected there.",
    "Right where the rig is so; else check extrinsics, focal lengths and missing cameras.",
    explained_by=_NO_VIEW_FROM,
)


def seen_azimuths(calibration: CameraCalibration, ego_from_cam: FloatArray) -> FloatArray:
    """Return the directions that a camera sees at its middle row, degrees from ahead, (65,)."""
    columns = np.linspace(0.0, calibration.width_px - 1.0, 65)
    middle = np.full_like(columns, calibration.height_px / 2)
    pixels = np.stack([columns, middle, np.ones_like(columns)])
    rays = ego_from_cam[:3, :3] @ np.linalg.inv(calibration.image_from_cam) @ pixels
    return np.asarray(np.degrees(np.arctan2(rays[1], rays[0])))


def sector_of(calibration: CameraCalibration, ego_from_cam: FloatArray) -> tuple[float, float]:
    """Return the right and left end of what a camera sees, degrees; the left end is larger."""
    azimuths = np.degrees(np.unwrap(np.radians(seen_azimuths(calibration, ego_from_cam))))
    return float(azimuths.min()), float(azimuths.max())


def sectors(rig: Rig) -> dict[str, tuple[float, float]]:
    """Return the sector of every camera that has one."""
    return {
        c.name: sector_of(c.calibration, c.ego_from_cam)
        for c in rig.cameras
        if c.calibration is not None and c.ego_from_cam is not None
    }


def blind_sectors(rig: Rig) -> list[tuple[int, int]]:
    """Return the directions that nobody sees, as (from, to) in whole degrees, 0 to 360 and on."""
    counts = np.zeros(360, int)
    for low, high in sectors(rig).values():
        counts[np.arange(round(low), round(high) + 1) % 360] += 1
    if counts.all():
        return []
    # Begin where something is seen, so that no gap is cut in two.
    start = int(np.argmax(counts > 0))
    gaps: list[tuple[int, int]] = []
    for degree in range(start, start + 360):
        if counts[degree % 360]:
            continue
        if gaps and gaps[-1][1] == degree:
            gaps[-1] = (gaps[-1][0], degree + 1)
        else:
            gaps.append((degree, degree + 1))
    return gaps


def overlaps_deg(rig: Rig) -> dict[tuple[str, str], int]:
    """Return how many degrees two cameras both see, for every two that share some."""
    views = {n: {d % 360 for d in range(round(a), round(b))} for n, (a, b) in sectors(rig).items()}
    shared = {(one, two): len(views[one] & views[two]) for one, two in combinations(views, 2)}
    return {pair: degrees for pair, degrees in shared.items() if degrees}


def check_coverage(rig: Rig) -> list[Finding]:
    """Name blind sectors."""
    if not sectors(rig):
        return []
    gaps = [gap for gap in blind_sectors(rig) if gap[1] - gap[0] > GAP_DEG]
    if not gaps:
        return []
    named = ", ".join(
        f"{_signed(low):+d} to {_signed(high):+d} deg ({high - low} deg)" for low, high in gaps
    )
    text = f"nothing is seen at {named} (0 is ahead, left is positive)"
    return [found(COVERAGE_GAP, (), text, blind_deg=sum(high - low for low, high in gaps))]


def _signed(degree: int) -> int:
    return (degree + 180) % 360 - 180


CHECKS = (Check(check_coverage, (COVERAGE_GAP,)),)
