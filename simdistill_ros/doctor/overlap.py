# SPDX-License-Identifier: Apache-2.0
"""What two neighbouring cameras both see: features matched where their fields of view overlap.

Both pictures are warped into one virtual camera that looks at the overlap, so that the same thing
looks the same in both. ORB features are matched there, and a match counts where the two rays meet
as the calibration says: close to each other, and in one plane with the line between the cameras.
Pictures that are where their calibration says have tens of such matches, others hardly any.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from simdistill_ros.core.camera import CameraCalibration
from simdistill_ros.core.frames import FloatArray
from simdistill_ros.core.snapshot import ImageArray

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]

PIXELS_PER_RAD = 520.0
HALF_HEIGHT_RAD = 0.38
MARGIN_RAD = 0.06
FEATURES = 400
NEAREST_M = 3.0  # nearer things look too different from two places
EPIPOLAR_RAD = 0.012
SLACK_RAD = 0.02  # of the angle between two rays, besides parallax
RATIO = 0.8  # of the best match's distance to the second best's


@dataclass(frozen=True)
class PlacedPicture:
    """A picture with the geometry that is said to belong to it.

    Attributes:
        pixels: (H, W, 3) uint8 RGB, undistorted, at the calibration's size.
        calibration: Intrinsics.
        ego_from_cam: (4, 4) extrinsics, metres.
    """

    pixels: ImageArray
    calibration: CameraCalibration
    ego_from_cam: FloatArray

    @property
    def azimuth_rad(self) -> float:
        """Direction of the optical axis, counter-clockwise from ahead."""
        axis = self.ego_from_cam[:3, 2]
        return float(np.arctan2(axis[1], axis[0]))

    @property
    def half_width_rad(self) -> float:
        """Half of the horizontal field of view."""
        return float(
            np.arctan2(self.calibration.width_px / 2, self.calibration.image_from_cam[0, 0])
        )


def common_sector(first: PlacedPicture, second: PlacedPicture) -> tuple[float, float] | None:
    """Return centre and half width of the azimuths that both see, radians, or None."""
    turn = (second.azimuth_rad - first.azimuth_rad + np.pi) % (2 * np.pi) - np.pi
    low = max(-first.half_width_rad, turn - second.half_width_rad)
    high = min(first.half_width_rad, turn + second.half_width_rad)
    if high <= low:
        return None
    return first.azimuth_rad + (low + high) / 2, (high - low) / 2


def count_agreeing(first: PlacedPicture, second: PlacedPicture) -> int | None:
    """Return how many features of the overlap agree with the calibration; None without overlap."""
    sector = common_sector(first, second)
    if sector is None:
        return None
    ego_from_view = _looking_along(sector[0])
    half_width = sector[1] + MARGIN_RAD
    points = [_features(p, ego_from_view, half_width) for p in (first, second)]
    pairs = _matches(points[0][1], points[1][1])
    if not len(pairs):
        return 0
    rays = [
        (points[side][0][pairs[:, side]] @ ego_from_view.T) for side in (0, 1)
    ]  # each (M, 3), ego axes
    baseline = second.ego_from_cam[:3, 3] - first.ego_from_cam[:3, 3]
    return int(_agree(rays[0], rays[1], baseline).sum())


def _agree(first: FloatArray, second: FloatArray, baseline: FloatArray) -> BoolArray:
    """Tell which pairs of unit rays (M, 3) may come from one thing."""
    angles = np.arccos(np.clip((first * second).sum(axis=1), -1.0, 1.0))
    near = angles <= np.linalg.norm(baseline) / NEAREST_M + SLACK_RAD
    normals = np.cross(first, baseline)
    lengths = np.linalg.norm(normals, axis=1)
    off_plane = np.abs((normals * second).sum(axis=1)) / np.maximum(lengths, 1e-9)
    # Cameras at one place have no plane: there the angle decides alone.
    flat = (lengths < 0.02) | (off_plane <= EPIPOLAR_RAD)
    return np.asarray(near & flat)


def _looking_along(azimuth_rad: float) -> FloatArray:
    """Return the rotation of a level optical frame that looks along an azimuth."""
    c, s = np.cos(azimuth_rad), np.sin(azimuth_rad)
    return np.array([[s, 0.0, c], [-c, 0.0, s], [0.0, -1.0, 0.0]])


def _features(
    picture: PlacedPicture, ego_from_view: FloatArray, half_width_rad: float
) -> tuple[FloatArray, ImageArray]:
    """Return unit rays (M, 3) in the virtual view, and descriptors (M, 32)."""
    half_u = PIXELS_PER_RAD * np.tan(min(half_width_rad, 1.0))
    half_v = PIXELS_PER_RAD * np.tan(HALF_HEIGHT_RAD)
    view = np.array([[PIXELS_PER_RAD, 0, half_u], [0, PIXELS_PER_RAD, half_v], [0, 0, 1.0]])
    cam_from_view = picture.ego_from_cam[:3, :3].T @ ego_from_view
    image_from_view = picture.calibration.image_from_cam @ cam_from_view @ np.linalg.inv(view)
    size = (round(2 * half_u), round(2 * half_v))
    grey = cv2.cvtColor(picture.pixels, cv2.COLOR_RGB2GRAY)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    warped = cv2.warpPerspective(grey, image_from_view, size, flags=flags)
    seen = cv2.warpPerspective(np.full_like(grey, 255), image_from_view, size, flags=flags)
    # Keep off the picture's edge, which is a feature of the picture and not of the world.
    seen = cv2.erode(seen, np.ones((25, 25), np.uint8), borderValue=0)
    keypoints, descriptors = cv2.ORB.create(FEATURES, fastThreshold=7).detectAndCompute(
        warped, (seen == 255).astype(np.uint8)
    )
    if descriptors is None:
        return np.zeros((0, 3)), np.zeros((0, 32), np.uint8)
    pixels = np.array([[*k.pt, 1.0] for k in keypoints])
    rays = pixels @ np.linalg.inv(view).T
    return rays / np.linalg.norm(rays, axis=1, keepdims=True), descriptors


def _matches(first: ImageArray, second: ImageArray) -> IntArray:
    """Return index pairs (M, 2) of features that are each other's best match by some margin."""
    if len(first) < 2 or len(second) < 2:
        return np.zeros((0, 2), int)
    matcher = cv2.BFMatcher(cv2.NORM_HAMMING)
    ways = []
    for source, target in ((first, second), (second, first)):
        found = matcher.knnMatch(source, target, k=2)
        ways.append({(m.queryIdx, m.trainIdx) for m, n in found if m.distance < RATIO * n.distance})
    mutual = ways[0] & {(a, b) for b, a in ways[1]}
    return np.array(sorted(mutual), int).reshape(-1, 2)
