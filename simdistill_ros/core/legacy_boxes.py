# SPDX-License-Identifier: Apache-2.0
"""Boxes of the published training code ↔ the house convention.

A legacy box is (x, y, z of the bottom, width, length, height, yaw, vx, vy) in the lidar frame, with
yaw clockwise: the length axis points along -y at yaw zero. Legacy yaw = -yaw - pi / 2, both ways.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from simdistill_ros.core.boxes import Detections
from simdistill_ros.core.frames import FloatArray, wrap_angle

LIDAR_FRAME = "lidar_top"


def detections_from_legacy_boxes(
    boxes: npt.ArrayLike,
    scores: npt.ArrayLike,
    labels: npt.ArrayLike,
    class_names: tuple[str, ...],
    stamp_ns: int = 0,
) -> Detections:
    """Return legacy boxes (M, 9) as detections in the lidar frame.

    Raises:
        ValueError: If the boxes do not have nine columns.
    """
    values = np.asarray(boxes, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] != 9:
        raise ValueError(f"legacy boxes: expected shape (M, 9), got {values.shape}")
    return Detections(
        frame=LIDAR_FRAME,
        stamp_ns=stamp_ns,
        centers_m=np.column_stack([values[:, :2], values[:, 2] + values[:, 5] / 2]),
        sizes_lwh_m=values[:, [4, 3, 5]],
        yaws_rad=wrap_angle(-values[:, 6] - np.pi / 2),
        velocities_mps=values[:, 7:],
        scores=np.asarray(scores, dtype=np.float64),
        labels=np.asarray(labels, dtype=np.int64),
        class_names=class_names,
    )


def legacy_boxes_from_detections(detections: Detections) -> FloatArray:
    """Return detections as legacy boxes (M, 9), in the frame they are in."""
    centers, sizes = detections.centers_m, detections.sizes_lwh_m
    return np.column_stack(
        [
            centers[:, :2],
            centers[:, 2] - sizes[:, 2] / 2,
            sizes[:, [1, 0, 2]],
            wrap_angle(-detections.yaws_rad - np.pi / 2),
            detections.velocities_mps,
        ]
    )
