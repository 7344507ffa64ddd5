# SPDX-License-Identifier: Apache-2.0
"""The scene from above: LiDAR points, ground truth in white, detections in their class's colour."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from simdistill_ros.core.boxes import Detections, box_corners
from simdistill_ros.core.class_colors import rgb_of_class
from simdistill_ros.core.frames import FloatArray
from simdistill_ros.core.snapshot import ImageArray
from simdistill_ros.drawing.text import TEXT, Color, write
from simdistill_ros.drawing.tint import SUBPIXEL_BITS, PixelArray, fixed_point, tint

RANGE_M = 52.0
RINGS_M = (20.0, 40.0)
BACKGROUND: Color = (22, 24, 29)
RING: Color = (58, 62, 72)
BLIND: Color = (74, 30, 34)
VEHICLE: Color = (150, 160, 180)
POINT: Color = (112, 126, 150)
GROUND_TRUTH: Color = (245, 245, 245)
EGO_SIZE_M = (4.1, 1.8)
EGO_CENTER_M = (1.4, 0.0)  # the origin is the rear axle
ARROW_S = 1.0
SLOWEST_ARROW_MPS = 0.5
TINT = 0.35


class BevCanvas:
    """A square picture of the surroundings: the vehicle in the middle, ahead is up."""

    def __init__(self, size_px: int, blind: npt.NDArray[np.bool_] | None = None) -> None:
        """Start with rings every 20 m and the vehicle.

        Args:
            size_px: Height and width.
            blind: (M,) which of M equal directions from -pi upward no image shows; None: all seen.
        """
        self.image: ImageArray = np.full((size_px, size_px, 3), BACKGROUND, dtype=np.uint8)
        self._scale = size_px / (2 * RANGE_M)
        if blind is not None:
            self._shade(blind)
        center = self.pixels(np.zeros((1, 2)))[0]
        for radius_m in RINGS_M:
            radius = round(radius_m * self._scale * 2**SUBPIXEL_BITS)
            cv2.circle(self.image, center, radius, RING, 1, cv2.LINE_AA, SUBPIXEL_BITS)
        self._draw_vehicle()

    def pixels(self, points_ego: FloatArray) -> PixelArray:
        """Return fixed-point pixels of (..., 2) or (..., 3) points in the ego frame, metres."""
        u = (RANGE_M - points_ego[..., 1]) * self._scale
        v = (RANGE_M - points_ego[..., 0]) * self._scale
        return fixed_point(np.stack([u, v], axis=-1))

    def draw_points(self, points_ego: FloatArray) -> None:
        """Draw (P, 3) points as dots."""
        near = np.abs(points_ego[:, :2]).max(axis=1) < RANGE_M
        u, v = (self.pixels(points_ego[near]) >> SUBPIXEL_BITS).T
        limit = len(self.image) - 1
        for right, down in ((0, 0), (1, 0), (0, 1), (1, 1)):
            self.image[np.minimum(v + down, limit), np.minimum(u + right, limit)] = POINT

    def draw_ground_truths(self, boxes: Detections) -> None:
        """Draw outlines in white."""
        for polygon in self.pixels(box_corners(boxes)[:, :4, :2]):
            cv2.polylines(self.image, [polygon], True, GROUND_TRUTH, 1, cv2.LINE_AA, SUBPIXEL_BITS)

    def draw_detections(self, boxes: Detections) -> None:
        """Draw tinted boxes with a heading line and a velocity arrow, the worst score first."""
        corners, names = box_corners(boxes), boxes.names()
        for index in np.argsort(boxes.scores, kind="stable"):
            color = rgb_of_class(names[index])
            outline = self.pixels(corners[index, :4, :2])
            tint(self.image, outline, color, TINT)
            cv2.polylines(self.image, [outline], True, color, 2, cv2.LINE_AA, SUBPIXEL_BITS)
            front = corners[index, [0, 3], :2].mean(axis=0)
            self._line(boxes.centers_m[index, :2], front, color, 2)
            velocity = boxes.velocities_mps[index]
            if np.linalg.norm(velocity) > SLOWEST_ARROW_MPS:
                self._line(front, front + velocity * ARROW_S, color, 1)

    def write_scale(self) -> None:
        """Write the radius beside each ring."""
        for radius_m in RINGS_M:
            u, v = self.pixels(np.array([radius_m, 0.0])) >> SUBPIXEL_BITS
            write(self.image, f"{radius_m:g} m", int(u) + 4, int(v) + 14, color=TEXT, size=0.36)

    def _shade(self, blind: npt.NDArray[np.bool_]) -> None:
        edges = np.linspace(-np.pi, np.pi, len(blind) + 1)
        for first, last in zip(edges[:-1][blind], edges[1:][blind], strict=True):
            far = (
                2
                * RANGE_M
                * np.array([[np.cos(first), np.sin(first)], [np.cos(last), np.sin(last)]])
            )
            wedge = self.pixels(np.vstack([np.zeros((1, 2)), far]))
            cv2.fillPoly(self.image, [wedge], BLIND, cv2.LINE_8, SUBPIXEL_BITS)

    def _line(self, start: FloatArray, end: FloatArray, color: Color, thickness: int) -> None:
        first, last = self.pixels(np.array([start, end]))
        cv2.line(self.image, first, last, color, thickness, cv2.LINE_AA, SUBPIXEL_BITS)

    def _draw_vehicle(self) -> None:
        half = np.array(EGO_SIZE_M) / 2
        corners = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) * half + EGO_CENTER_M
        cv2.fillPoly(self.image, [self.pixels(corners)], VEHICLE, cv2.LINE_AA, SUBPIXEL_BITS)
