# SPDX-License-Identifier: Apache-2.0
"""Boxes and the one box convention.

A box is its geometric centre, its size (length, width, height) and its yaw: counter-clockwise about
+z from +x of the named frame, zero when the length axis lies along +x. nuScenes' (w, l, h),
BEVFusion's turned yaw and `vision_msgs` are each converted in their one adapter.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from simdistill_ros.core.frames import FloatArray, angles_of, transform_points

IntArray = npt.NDArray[np.int64]

# Pairs of corners of `box_corners`: bottom, top, and what joins them.
BOX_EDGES = (
    (0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6), (3, 7)
)  # fmt: skip
NUSCENES_CLASSES: tuple[str, ...] = (
    "car",
    "truck",
    "construction_vehicle",
    "bus",
    "trailer",
    "barrier",
    "motorcycle",
    "bicycle",
    "pedestrian",
    "traffic_cone",
)


@dataclass(frozen=True)
class Detections:
    """Scored boxes of one snapshot, best score first when they come from a detector.

    Attributes:
        frame: Name of the frame all boxes are in, such as `base_link`.
        stamp_ns: Time the boxes are valid at.
        centers_m: (M, 3) geometric centres, metres.
        sizes_lwh_m: (M, 3) length, width, height, metres.
        yaws_rad: (M,) counter-clockwise from +x.
        velocities_mps: (M, 2) x and y over ground, expressed in `frame`.
        scores: (M,) in [0, 1].
        labels: (M,) index into `class_names`.
        class_names: Names of the classes.
    """

    frame: str
    stamp_ns: int
    centers_m: FloatArray
    sizes_lwh_m: FloatArray
    yaws_rad: FloatArray
    velocities_mps: FloatArray
    scores: FloatArray
    labels: IntArray
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        """Check every shape against the number of boxes.

        Raises:
            ValueError: If an array has another shape or a label has no class.
        """
        count = len(self.scores)
        expected = {
            "centers_m": (count, 3),
            "sizes_lwh_m": (count, 3),
            "yaws_rad": (count,),
            "velocities_mps": (count, 2),
            "scores": (count,),
            "labels": (count,),
        }
        for name, shape in expected.items():
            actual = getattr(self, name).shape
            if actual != shape:
                raise ValueError(f"Detections.{name}: expected shape {shape}, got {actual}")
        if count and not 0 <= self.labels.min() <= self.labels.max() < len(self.class_names):
            raise ValueError(
                f"Detections.labels: expected 0..{len(self.class_names) - 1}, "
                f"got {self.labels.min()}..{self.labels.max()}"
            )

    def __len__(self) -> int:
        """Return the number of boxes."""
        return len(self.scores)

    def select(self, keep: npt.NDArray[np.bool_] | IntArray) -> Detections:
        """Return the boxes at a boolean mask or at indices, in that order."""
        return replace(
            self,
            centers_m=self.centers_m[keep],
            sizes_lwh_m=self.sizes_lwh_m[keep],
            yaws_rad=self.yaws_rad[keep],
            velocities_mps=self.velocities_mps[keep],
            scores=self.scores[keep],
            labels=self.labels[keep],
        )

    def names(self) -> list[str]:
        """Return the class name of each box."""
        return [self.class_names[label] for label in self.labels]


def empty_detections(frame: str, stamp_ns: int, class_names: tuple[str, ...]) -> Detections:
    """Return detections that hold no box."""
    return Detections(
        frame=frame,
        stamp_ns=stamp_ns,
        centers_m=np.zeros((0, 3)),
        sizes_lwh_m=np.zeros((0, 3)),
        yaws_rad=np.zeros(0),
        velocities_mps=np.zeros((0, 2)),
        scores=np.zeros(0),
        labels=np.zeros(0, dtype=np.int64),
        class_names=class_names,
    )


def transform_detections(
    dst_from_src: FloatArray, detections: Detections, dst_frame: str
) -> Detections:
    """Return the same boxes in another frame: centres moved, headings and velocities turned.

    Boxes stay upright: of a tilted `dst_from_src` the turned length axis is projected on the
    destination's xy plane. Velocities are over ground and are not corrected for a moving frame.
    """
    rotation = dst_from_src[:3, :3]
    headings = np.stack(
        [np.cos(detections.yaws_rad), np.sin(detections.yaws_rad), 0 * detections.yaws_rad], axis=-1
    )
    headings = headings @ rotation.T
    velocities = np.pad(detections.velocities_mps, ((0, 0), (0, 1))) @ rotation.T
    return replace(
        detections,
        frame=dst_frame,
        centers_m=transform_points(dst_from_src, detections.centers_m),
        yaws_rad=angles_of(headings[:, 1], headings[:, 0]),
        velocities_mps=velocities[:, :2],
    )


def box_corners(detections: Detections) -> FloatArray:
    """Return the (M, 8, 3) corners in the boxes' frame, metres.

    Corners 0..3 are the bottom face, counter-clockwise seen from above and starting front left;
    4..7 lie above them. Corners 0, 3, 4 and 7 are on the front face.
    """
    unit = 0.5 * np.array(
        [
            [1, 1, -1], [-1, 1, -1], [-1, -1, -1], [1, -1, -1],
            [1, 1, 1], [-1, 1, 1], [-1, -1, 1], [1, -1, 1],
        ]
    )  # fmt: skip
    local = unit[None] * detections.sizes_lwh_m[:, None]  # (M, 8, 3)
    cos, sin = np.cos(detections.yaws_rad)[:, None], np.sin(detections.yaws_rad)[:, None]
    corners = np.stack(
        [
            cos * local[..., 0] - sin * local[..., 1],
            sin * local[..., 0] + cos * local[..., 1],
            local[..., 2],
        ],
        axis=-1,
    )
    return np.asarray(corners + detections.centers_m[:, None])
