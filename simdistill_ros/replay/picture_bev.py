# SPDX-License-Identifier: Apache-2.0
"""The scene from above: LiDAR points, ground truth in white, detections in their class's colour."""

from __future__ import annotations

import cv2
import numpy as np

from simdistill_ros.core.boxes import Detections, box_corners
from simdistill_ros.core.frames import FloatArray
from simdistill_ros.core.snapshot import ImageArray
from simdistill_ros.replay.picture_cameras import color_of

RANGE_M = 52.0
BACKGROUND = (22, 24, 29)
RING = (58, 62, 72)
POINT = (112, 126, 150)
GROUND_TRUTH = (245, 245, 245)
EGO_SIZE_M = (4.1, 1.8)
EGO_CENTER_M = (1.4, 0.0)  # the origin is the rear axle
ARROW_S = 1.0
SLOWEST_ARROW_MPS = 0.5
_BITS = 4


class BevCanvas:
    """A square picture of the surroundings: the vehicle in the middle, ahead is up."""

    def __init__(self, size_px: int) -> None:
        """Start with rings every 20 m and the vehicle."""
        self.image: ImageArray = np.full((size_px, size_px, 3), BACKGROUND, dtype=np.uint8)
        self._scale = size_px / (2 * RANGE_M)
        for radius_m in (20.0, 40.0):
            center = self.pixels(np.zeros((1, 2)))[0]
            radius = round(radius_m * self._scale * 2**_BITS)
            cv2.circle(self.image, center, radius, RING, 1, cv2.LINE_AA, _BITS)
        self._draw_vehicle()

    def pixels(self, points_ego: FloatArray) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
        """Return fixed-point pixels of (..., 2) or (..., 3) points in the ego frame, metres."""
        u = (RANGE_M - points_ego[..., 1]) * self._scale
        v = (RANGE_M - points_ego[..., 0]) * self._scale
        pixels = np.round(np.stack([u, v], axis=-1) * 2**_BITS)
        return np.ascontiguousarray(pixels, dtype=np.int32)

    def draw_points(self, points_ego: FloatArray) -> None:
        """Draw (P, 3) points as dots."""
        near = np.abs(points_ego[:, :2]).max(axis=1) < RANGE_M
        u, v = (self.pixels(points_ego[near]) >> _BITS).T
        limit = len(self.image) - 1
        for right, down in ((0, 0), (1, 0), (0, 1), (1, 1)):
            self.image[np.minimum(v + down, limit), np.minimum(u + right, limit)] = POINT

    def draw_ground_truths(self, boxes: Detections) -> None:
        """Draw outlines in white."""
        for polygon in self.pixels(box_corners(boxes)[:, :4, :2]):
            cv2.polylines(self.image, [polygon], True, GROUND_TRUTH, 1, cv2.LINE_AA, _BITS)

    def draw_detections(self, boxes: Detections) -> None:
        """Draw tinted boxes with a heading line and a velocity arrow, the worst score first."""
        corners = box_corners(boxes)
        for index in np.argsort(boxes.scores, kind="stable"):
            color = color_of(boxes.names()[index])
            outline = self.pixels(corners[index, :4, :2])
            tinted = self.image.copy()
            cv2.fillPoly(tinted, [outline], color, cv2.LINE_AA, _BITS)
            self.image = np.asarray(cv2.addWeighted(tinted, 0.35, self.image, 0.65, 0.0))
            cv2.polylines(self.image, [outline], True, color, 2, cv2.LINE_AA, _BITS)
            front = corners[index, [0, 3], :2].mean(axis=0)
            self._line(boxes.centers_m[index, :2], front, color, 2)
            velocity = boxes.velocities_mps[index]
            if np.linalg.norm(velocity) > SLOWEST_ARROW_MPS:
                self._line(front, front + velocity * ARROW_S, color, 1)

    def _line(
        self, start: FloatArray, end: FloatArray, color: tuple[int, int, int], thickness: int
    ) -> None:
        first, last = self.pixels(np.array([start, end]))
        cv2.line(self.image, first, last, color, thickness, cv2.LINE_AA, _BITS)

    def _draw_vehicle(self) -> None:
        half = np.array(EGO_SIZE_M) / 2
        corners = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) * half + EGO_CENTER_M
        cv2.fillPoly(self.image, [self.pixels(corners)], (150, 160, 180), cv2.LINE_AA, _BITS)
