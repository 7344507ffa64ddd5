# SPDX-License-Identifier: Apache-2.0
"""What an output rests on: which cameras, which directions, which calibration.

Becomes two messages with the stamp of the detections: a ring of directions (`~/coverage`) and a
status with reasons (`~/quality`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from sensor_msgs.msg import LaserScan

from simdistill_ros.conversions import header_to_msg
from simdistill_ros.core.boxes import Detections
from simdistill_ros.core.coverage import (
    DIRECTIONS,
    Sector,
    directions_rad,
    is_seen,
    newest_stamps_ns,
    sectors_of,
)
from simdistill_ros.core.snapshot import Snapshot

RING_M = 5.0  # radius at which a display draws the directions that are seen


@dataclass(frozen=True)
class OutputQuality:
    """What one output rests on.

    Attributes:
        stamp_ns: Stamp of the output.
        missing: Cameras without an image.
        held_age_ns: Age of each image that was held, against the stamp.
        sectors: What the cameras with an image see, ego frame.
        newest_ns: (DIRECTIONS,) stamp of the newest image in each direction, -1 for none.
        is_recalibrating: A newer calibration is being worked in; this one is out of date.
    """

    stamp_ns: int
    missing: tuple[str, ...]
    held_age_ns: Mapping[str, int]
    sectors: tuple[Sector, ...]
    newest_ns: npt.NDArray[np.int64]
    is_recalibrating: bool = False

    @property
    def blind_deg(self) -> float:
        """How much of the horizon no image shows, degrees."""
        return float((self.newest_ns < 0).mean() * 360)

    def doubts(self) -> list[str]:
        """Return what is not as it should be, in words."""
        doubts = []
        if self.missing:
            doubts.append(f"without {', '.join(self.missing)}")
        doubts += [f"{name} is {age / 1e6:.0f} ms old" for name, age in self.held_age_ns.items()]
        if self.is_recalibrating:
            doubts.append("a newer calibration is being worked in")
        return doubts


def quality_of(snapshot: Snapshot, *, is_recalibrating: bool = False) -> OutputQuality:
    """Return what the output of a snapshot will rest on."""
    sectors = sectors_of(snapshot.views)
    ages = {name: snapshot.stamp_ns - snapshot.view(name).stamp_ns for name in snapshot.held}
    return OutputQuality(
        stamp_ns=snapshot.stamp_ns,
        missing=snapshot.missing,
        held_age_ns=ages,
        sectors=sectors,
        newest_ns=newest_stamps_ns(sectors, directions_rad()),
        is_recalibrating=is_recalibrating,
    )


def seen_boxes(snapshot: Snapshot, detections: Detections) -> npt.NDArray[np.bool_]:
    """Tell which boxes, in the ego frame, lie where an image of the snapshot looks.

    With no camera missing it is all of them: the small gaps of a whole set are the model's
    business, it was trained with them.
    """
    if not snapshot.missing:
        return np.ones(len(detections), dtype=np.bool_)
    return is_seen(sectors_of(snapshot.views), detections.centers_m[:, :2])


def coverage_to_msg(quality: OutputQuality, frame: str) -> LaserScan:
    """Return the directions as a scan: a ring where images look, NaN where none does.

    Intensities are the age of the newest image in that direction against the stamp, seconds.
    """
    step_rad = 2 * np.pi / DIRECTIONS
    first_rad = float(directions_rad()[0])
    is_blind = quality.newest_ns < 0
    ages_s = (quality.stamp_ns - quality.newest_ns) / 1e9
    return LaserScan(
        header=header_to_msg(frame, quality.stamp_ns),
        angle_min=first_rad,
        angle_max=first_rad + (DIRECTIONS - 1) * step_rad,
        angle_increment=step_rad,
        range_min=0.0,
        range_max=2 * RING_M,
        ranges=np.where(is_blind, np.nan, RING_M).astype(np.float32),
        intensities=np.where(is_blind, np.nan, ages_s).astype(np.float32),
    )


def quality_to_msg(quality: OutputQuality, unseen: int, node: str) -> DiagnosticArray:
    """Return the status of one output: OK, or WARN with what is not as it should be."""
    doubts = quality.doubts()
    values = {
        "missing": ", ".join(quality.missing) or "none",
        "held": ", ".join(quality.held_age_ns) or "none",
        "held_age_ms": f"{max(quality.held_age_ns.values(), default=0) / 1e6:.0f}",
        "blind_deg": f"{quality.blind_deg:.0f}",
        "boxes_in_blind_directions": str(unseen),
        "calibration": "out of date" if quality.is_recalibrating else "current",
    }
    status = DiagnosticStatus(
        level=DiagnosticStatus.WARN if doubts else DiagnosticStatus.OK,
        name=f"{node}: quality",
        message="; ".join(doubts) or "all cameras",
        values=[KeyValue(key=key, value=value) for key, value in values.items()],
    )
    return DiagnosticArray(header=header_to_msg("", quality.stamp_ns), status=[status])
