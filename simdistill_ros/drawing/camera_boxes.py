# SPDX-License-Identifier: Apache-2.0
"""Boxes drawn into camera images: edges in the class's colour, the front face tinted."""

from __future__ import annotations

import cv2
import numpy as np

from simdistill_ros.core.boxes import BOX_EDGES, Detections, box_corners
from simdistill_ros.core.camera import project_points
from simdistill_ros.core.class_colors import rgb_of_class
from simdistill_ros.core.frames import FloatArray, inverse, transform_points
from simdistill_ros.core.preprocess import (
    InputRule,
    ViewRenderer,
    ego_from_rectified,
    input_from_cam,
)
from simdistill_ros.core.snapshot import ImageArray, View
from simdistill_ros.drawing.text import Color, write
from simdistill_ros.drawing.tint import SUBPIXEL_BITS, fixed_point, tint

# Corners of the front face.
_FRONT = (0, 3, 7, 4)
NEAR_M = 0.3
SCORED_HEIGHT_PX = 24
TINT = 0.4


class CameraPictures:
    """Pictures of one size from views of any: scaled, undistorted, with boxes. Thread-safe.

    What does not fit is cropped as the network's input is; undistortion maps are kept.
    """

    def __init__(self, picture_hw: tuple[int, int]) -> None:
        """Prepare for pictures of a height and width."""
        self._rule = InputRule(picture_hw, picture_hw[1])
        self._renderer = ViewRenderer(self._rule)

    def draw(self, view: View, detections: Detections) -> ImageArray:
        """Return a view's picture, (H, W, 3) uint8 RGB, with the boxes that lie before the camera.

        Args:
            view: Image as it came from the camera, intrinsics and pose.
            detections: Boxes in the ego frame of the view's pose; the farthest is drawn first.
        """
        # A copy: what is as large as the picture already is not copied on the way.
        picture = np.array(self._renderer.render(view.image, view.calibration), order="C")
        picture_from_cam = input_from_cam(self._rule, view.calibration)
        draw_boxes(picture, picture_from_cam, inverse(ego_from_rectified(view)), detections)
        return picture


def draw_camera(view: View, detections: Detections, width_px: int) -> ImageArray:
    """Return one view's picture at a width, the aspect kept."""
    calibration = view.calibration
    height_px = round(calibration.height_px * width_px / calibration.width_px)
    return CameraPictures((height_px, width_px)).draw(view, detections)


def draw_boxes(
    canvas: ImageArray,
    canvas_from_cam: FloatArray,
    cam_from_ego: FloatArray,
    detections: Detections,
) -> None:
    """Draw boxes in the ego frame into a pinhole camera's picture, in place.

    Args:
        canvas: (H, W, 3) uint8 RGB.
        canvas_from_cam: (3, 3) pinhole matrix of the canvas.
        cam_from_ego: (4, 4).
        detections: The boxes.
    """
    corners_cam = transform_points(cam_from_ego, box_corners(detections))  # (M, 8, 3)
    distances = np.linalg.norm(corners_cam.mean(axis=1), axis=1)
    names = detections.names()
    for index in np.argsort(-distances):
        if (corners_cam[index, :, 2] > NEAR_M).any():
            color = rgb_of_class(names[index])
            _draw_box(canvas, corners_cam[index], canvas_from_cam, color)
            score = f"{detections.scores[index]:.2f}"
            _write_score(canvas, corners_cam[index], canvas_from_cam, score, color)


def _draw_box(
    canvas: ImageArray, corners_cam: FloatArray, canvas_from_cam: FloatArray, color: Color
) -> None:
    front = corners_cam[list(_FRONT)]
    if (front[:, 2] > NEAR_M).all():
        tint(canvas, fixed_point(project_points(canvas_from_cam, front)[0]), color, TINT)
    for first, second in BOX_EDGES:
        segment = clip_to_near(corners_cam[[first, second]])
        if segment is not None:
            ends = fixed_point(project_points(canvas_from_cam, segment)[0])
            cv2.line(canvas, ends[0], ends[1], color, 1, cv2.LINE_AA, SUBPIXEL_BITS)


def _write_score(
    canvas: ImageArray,
    corners_cam: FloatArray,
    canvas_from_cam: FloatArray,
    score: str,
    color: Color,
) -> None:
    """Write the score above a box that is wholly before the camera and tall enough to own it."""
    if (corners_cam[:, 2] <= NEAR_M).any():
        return
    pixels, _ = project_points(canvas_from_cam, corners_cam)
    left, top = pixels.min(axis=0)
    height = pixels[:, 1].max() - top
    if height >= SCORED_HEIGHT_PX and 0 <= left < canvas.shape[1] and 0 <= top < canvas.shape[0]:
        write(canvas, score, int(left), int(top) - 3, color=color, size=0.38)


def clip_to_near(segment_cam: FloatArray) -> FloatArray | None:
    """Return the part of a (2, 3) segment that lies before the camera, or None."""
    depths = segment_cam[:, 2]
    if (depths < NEAR_M).all():
        return None
    if (depths >= NEAR_M).all():
        return segment_cam
    fraction = (NEAR_M - depths[0]) / (depths[1] - depths[0])
    crossing = segment_cam[0] + fraction * (segment_cam[1] - segment_cam[0])
    kept = segment_cam[int(depths[1] >= NEAR_M)]
    return np.array([crossing, kept])
