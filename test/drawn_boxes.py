# SPDX-License-Identifier: Apache-2.0
"""Boxes and cameras to draw, and where a colour is on a picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from simdistill_ros.core.boxes import NUSCENES_CLASSES, Detections
from simdistill_ros.core.camera import CameraCalibration
from simdistill_ros.core.frames import rigid
from simdistill_ros.core.snapshot import View

STAMP_NS = 1_700_000_000_000_000_000
HW = (120, 200)
K = np.array([[100.0, 0.0, 99.5], [0.0, 100.0, 59.5], [0.0, 0.0, 1.0]])


def boxes(
    scores: Sequence[float],
    center: Sequence[float] = (10.0, 0.0, 0.0),
    name: str = "car",
    velocity: Sequence[float] = (0.0, 0.0),
) -> Detections:
    count = len(scores)
    return Detections(
        frame="base_link",
        stamp_ns=STAMP_NS,
        centers_m=np.tile(np.asarray(center, dtype=float), (count, 1)),
        sizes_lwh_m=np.tile([4.0, 2.0, 2.0], (count, 1)),
        yaws_rad=np.zeros(count),
        velocities_mps=np.tile(np.asarray(velocity, dtype=float), (count, 1)),
        scores=np.array(scores),
        labels=np.full(count, NUSCENES_CLASSES.index(name)),
        class_names=NUSCENES_CLASSES,
    )


def camera(
    name: str = "cam_front",
    azimuth_rad: float = 0.0,
    image: npt.NDArray[np.uint8] | None = None,
    calibration: CameraCalibration | None = None,
) -> View:
    """A camera one metre up at the vehicle's origin, looking level in a direction."""
    calibration = calibration or CameraCalibration(HW[1], HW[0], K)
    ahead = np.array([np.cos(azimuth_rad), np.sin(azimuth_rad), 0.0])
    right = np.array([np.sin(azimuth_rad), -np.cos(azimuth_rad), 0.0])
    rotation = np.column_stack([right, [0.0, 0.0, -1.0], ahead])
    if image is None:
        image = np.zeros((calibration.height_px, calibration.width_px, 3), np.uint8)
    return View(name, STAMP_NS, image, calibration, rigid(rotation, np.array([0.0, 0.0, 1.0])))


def colored(
    image: npt.NDArray[np.uint8], color: tuple[int, int, int], tolerance: int = 60
) -> npt.NDArray[np.int64]:
    """Return where the pixels are close to a colour: (row, column) pairs."""
    return np.argwhere(np.abs(image.astype(int) - color).sum(axis=-1) < tolerance)
