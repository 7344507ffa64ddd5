# SPDX-License-Identifier: Apache-2.0
"""Boxes drawn into camera images: edges in the class's colour, the front face tinted."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

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
_FRONT = [0, 3, 7, 4]
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
    segments, is_visible = clip_to_near(corners_cam[:, np.array(BOX_EDGES)])  # (M, 12, 2, 3)
    ends, _ = project_points(canvas_from_cam, segments)  # (M, 12, 2, 2)
    names = detections.names()
    distances = np.linalg.norm(corners_cam.mean(axis=1), axis=1)
    shown = np.flatnonzero(_reaches(ends, is_visible, canvas))
    for index in shown[np.argsort(-distances[shown])]:
        color = rgb_of_class(names[index])
        if (corners_cam[index, _FRONT, 2] >= NEAR_M).all():
            front, _ = project_points(canvas_from_cam, corners_cam[index, _FRONT])
            tint(canvas, fixed_point(front), color, TINT)
        lines = list(fixed_point(ends[index][is_visible[index]]))
        cv2.polylines(canvas, lines, False, color, 1, cv2.LINE_AA, SUBPIXEL_BITS)
        if is_visible[index].all():
            _write_score(canvas, ends[index], f"{detections.scores[index]:.2f}", color)


def _reaches(
    ends: FloatArray, is_visible: npt.NDArray[np.bool_], canvas: ImageArray
) -> npt.NDArray[np.bool_]:
    """Tell which boxes, by the pixels of their edges' ends, may show on the canvas."""
    size = np.array([canvas.shape[1], canvas.shape[0]])
    low = np.where(is_visible[..., None, None], ends, np.inf).min(axis=(1, 2))
    high = np.where(is_visible[..., None, None], ends, -np.inf).max(axis=(1, 2))
    return np.asarray(((low < size) & (high >= 0)).all(axis=1))


def _write_score(canvas: ImageArray, ends: FloatArray, score: str, color: Color) -> None:
    """Write the score above a box that is tall enough to own it, `ends` its edges' pixels."""
    left, top = ends.min(axis=(0, 1))
    height = ends[..., 1].max() - top
    if height >= SCORED_HEIGHT_PX and 0 <= left < canvas.shape[1] and 0 <= top < canvas.shape[0]:
        write(canvas, score, int(left), int(top) - 3, color=color, size=0.38)


def clip_to_near(segments_cam: FloatArray) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """Return what of segments lies before the camera.

    Args:
        segments_cam: (..., 2, 3) ends in the optical frame, metres.

    Returns:
        The segments, an end that is nearer than `NEAR_M` moved along them to that depth, and (...,)
        which have a part before the camera; the others are meaningless.
    """
    depths = segments_cam[..., 2]
    is_near = depths < NEAR_M
    between = depths[..., 1] - depths[..., 0]
    fraction = (NEAR_M - depths[..., 0]) / np.where(between == 0.0, 1.0, between)
    first, last = segments_cam[..., 0, :], segments_cam[..., 1, :]
    crossing = first + fraction[..., None] * (last - first)
    clipped = np.where(is_near[..., None], crossing[..., None, :], segments_cam)
    return clipped, ~is_near.all(axis=-1)
