# SPDX-License-Identifier: Apache-2.0
"""Boxes drawn into camera images: edges in the class's colour, the front face tinted."""

from __future__ import annotations

import cv2
import numpy as np

from simdistill_ros.core.boxes import Detections, box_corners
from simdistill_ros.core.camera import project_points
from simdistill_ros.core.class_colors import CLASS_COLORS, OTHER_COLOR
from simdistill_ros.core.frames import FloatArray, inverse, transform_points
from simdistill_ros.core.snapshot import ImageArray, View

# Pairs of corners; 0, 3, 4 and 7 are the front face.
_EDGES = (
    (0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6), (3, 7)
)  # fmt: skip
_FRONT = (0, 3, 7, 4)
NEAR_M = 0.3
SCORED_HEIGHT_PX = 24
FONT = cv2.FONT_HERSHEY_SIMPLEX
SHADOW = (0, 0, 0)
_SUBPIXEL_BITS = 4
_FAR_PX = 20_000.0


def color_of(name: str) -> tuple[int, int, int]:
    """Return a class's colour, RGB."""
    return CLASS_COLORS.get(name, OTHER_COLOR)


def draw_camera(view: View, detections: Detections, width_px: int) -> ImageArray:
    """Return a view's image at `width_px`, with the boxes that lie before the camera.

    Args:
        view: Image, intrinsics and pose.
        detections: Boxes in the ego frame of the view's pose; the farthest is drawn first.
        width_px: Width of the result; the aspect is kept.
    """
    scale = width_px / view.calibration.width_px
    size = (width_px, round(view.calibration.height_px * scale))
    canvas = cv2.resize(view.image, size, interpolation=cv2.INTER_AREA)
    scaling = np.diag([scale, scale, 1.0])
    cam_from_ego = inverse(view.ego_from_cam)
    corners_cam = transform_points(cam_from_ego, box_corners(detections))  # (M, 8, 3)
    distances = np.linalg.norm(corners_cam.mean(axis=1), axis=1)
    for index in np.argsort(-distances):
        if (corners_cam[index, :, 2] > NEAR_M).any():
            color = color_of(detections.names()[index])
            image_from_cam = scaling @ view.calibration.image_from_cam
            canvas = _draw_box(canvas, corners_cam[index], image_from_cam, color)
            score = f"{detections.scores[index]:.2f}"
            _write_score(canvas, corners_cam[index], image_from_cam, score, color)
    return np.asarray(canvas)


def _draw_box(
    canvas: ImageArray,
    corners_cam: FloatArray,
    image_from_cam: FloatArray,
    color: tuple[int, int, int],
) -> ImageArray:
    front = corners_cam[list(_FRONT)]
    if (front[:, 2] > NEAR_M).all():
        canvas = _tint(canvas, _fixed_point(project_points(image_from_cam, front)[0]), color)
    for first, second in _EDGES:
        segment = clip_to_near(corners_cam[[first, second]])
        if segment is not None:
            ends = _fixed_point(project_points(image_from_cam, segment)[0])
            cv2.line(canvas, ends[0], ends[1], color, 1, cv2.LINE_AA, _SUBPIXEL_BITS)
    return canvas


def _write_score(
    canvas: ImageArray,
    corners_cam: FloatArray,
    image_from_cam: FloatArray,
    score: str,
    color: tuple[int, int, int],
) -> None:
    """Write the score above a box that is wholly before the camera and tall enough to own it."""
    if (corners_cam[:, 2] <= NEAR_M).any():
        return
    pixels, _ = project_points(image_from_cam, corners_cam)
    left, top = pixels.min(axis=0)
    height = pixels[:, 1].max() - top
    if height >= SCORED_HEIGHT_PX and 0 <= left < canvas.shape[1] and top >= 0:
        place = (int(left), int(top) - 3)
        for tint, thickness in ((SHADOW, 3), (color, 1)):
            cv2.putText(canvas, score, place, FONT, 0.38, tint, thickness, cv2.LINE_AA)


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


def _fixed_point(pixels: FloatArray) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
    limited = np.clip(pixels, -_FAR_PX, _FAR_PX)
    return np.ascontiguousarray(np.round(limited * 2**_SUBPIXEL_BITS), dtype=np.int32)


def _tint(
    canvas: ImageArray,
    polygon: np.ndarray[tuple[int, ...], np.dtype[np.int32]],
    color: tuple[int, int, int],
) -> ImageArray:
    overlay = canvas.copy()
    cv2.fillPoly(overlay, [polygon], color, cv2.LINE_AA, _SUBPIXEL_BITS)
    return np.asarray(cv2.addWeighted(overlay, 0.4, canvas, 0.6, 0.0))
