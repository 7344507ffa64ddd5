# SPDX-License-Identifier: Apache-2.0
"""Camera calibration: intrinsics, distortion, and what resize and crop do to them.

Pixel centres lie at integers, so scaling an image by `s` maps pixel u to `s * (u + 0.5) - 0.5`.
Distortion models carry ROS names and coefficient orders (sensor_msgs/CameraInfo).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace

import numpy as np

from simdistill_ros.core.frames import FloatArray

# Model name -> accepted numbers of coefficients; "" is an ideal pinhole.
DISTORTION_COEFFICIENTS: dict[str, tuple[int, ...]] = {
    "": (0,),
    "plumb_bob": (4, 5),
    "rational_polynomial": (8, 12, 14),
    "equidistant": (4,),
}


# Focal lengths and centres beyond these shares of the image are of no camera. Their squares would
# overflow on the way to the network.
MAX_FOCAL_SHARE = 1e4
MAX_CENTER_SHARE = 1e4
MAX_COEFFICIENT = 1e6


class CalibrationError(ValueError):
    """A camera's calibration cannot be used; `cause` is its short, stable name."""

    def __init__(self, cause: str, message: str) -> None:
        """Keep the cause beside the message."""
        super().__init__(message)
        self.cause = cause


@dataclass(frozen=True)
class CameraCalibration:
    """Intrinsics of one camera at its image's own size.

    Attributes:
        width_px: Width of the image the intrinsics belong to.
        height_px: Height of that image.
        image_from_cam: (3, 3) pinhole matrix, pixels.
        distortion_model: Key of `DISTORTION_COEFFICIENTS`; "" when the image is rectified.
        distortion: Coefficients in ROS order, empty when all are zero.
        rectified_from_cam: (3, 3) rotation from the optical frame that TF knows to the frame the
            image was rectified into; identity for a single camera.
    """

    width_px: int
    height_px: int
    image_from_cam: FloatArray
    distortion_model: str = ""
    distortion: tuple[float, ...] = ()
    rectified_from_cam: FloatArray = field(default_factory=lambda: np.eye(3))

    def __post_init__(self) -> None:
        """Refuse what no image can be projected with.

        Raises:
            CalibrationError: On a size of zero, NaN, a focal length of zero, an unknown distortion
                model or a wrong number of coefficients.
        """
        check_calibration(self)

    @property
    def is_distorted(self) -> bool:
        """Whether pixels must be undistorted before the pinhole matrix holds."""
        return bool(self.distortion_model) and any(c != 0.0 for c in self.distortion)

    def digest(self) -> str:
        """Return a hash of every number, the key of tables made from this calibration."""
        sha = hashlib.sha256(f"{self.width_px}x{self.height_px} {self.distortion_model}".encode())
        for values in (self.image_from_cam, self.distortion, self.rectified_from_cam):
            sha.update(np.asarray(values, dtype=np.float64).tobytes())
        return sha.hexdigest()


def check_calibration(calibration: CameraCalibration) -> None:
    """Raise CalibrationError when the numbers cannot describe a camera."""
    if calibration.width_px <= 0 or calibration.height_px <= 0:
        size = f"{calibration.width_px}x{calibration.height_px}"
        raise CalibrationError("zero_size", f"expected a positive image size, got {size}")
    k = calibration.image_from_cam
    numbers = [*k.flat, *calibration.distortion, *calibration.rectified_from_cam.flat]
    if k.shape != (3, 3) or not np.isfinite(numbers).all():
        raise CalibrationError("not_finite", f"expected a finite 3x3 K and D, got K={k.tolist()}")
    if k[0, 0] == 0 or k[1, 1] == 0:
        raise CalibrationError(
            "uncalibrated", "K[0] is 0, which CameraInfo uses for an uncalibrated camera"
        )
    if k[0, 0] < 0 or k[1, 1] < 0 or not np.allclose(k[2], [0, 0, 1]):
        raise CalibrationError("bad_intrinsics", f"K is not a pinhole matrix: {k.tolist()}")
    _check_magnitudes(calibration)
    counts = DISTORTION_COEFFICIENTS.get(calibration.distortion_model)
    if counts is None:
        known = ", ".join(repr(name) for name in DISTORTION_COEFFICIENTS)
        raise CalibrationError(
            "unknown_distortion",
            f"distortion model {calibration.distortion_model!r} is none of {known}",
        )
    if calibration.distortion and len(calibration.distortion) not in counts:
        raise CalibrationError(
            "distortion_length",
            f"{calibration.distortion_model!r} takes {counts} coefficients, "
            f"got {len(calibration.distortion)}",
        )


def _check_magnitudes(calibration: CameraCalibration) -> None:
    k, size_px = calibration.image_from_cam, max(calibration.width_px, calibration.height_px)
    focal = np.array([k[0, 0], k[1, 1]]) / size_px
    center = np.abs([k[0, 1], k[0, 2], k[1, 0], k[1, 2]]) / size_px
    if not ((focal >= 1 / MAX_FOCAL_SHARE) & (focal <= MAX_FOCAL_SHARE)).all():
        raise CalibrationError(
            "bad_intrinsics", f"expected a focal length near the image's size, got K={k.tolist()}"
        )
    if not (center <= MAX_CENTER_SHARE).all():
        raise CalibrationError(
            "bad_intrinsics", f"expected a principal point near the image, got K={k.tolist()}"
        )
    if any(abs(c) > MAX_COEFFICIENT for c in calibration.distortion):
        raise CalibrationError(
            "bad_distortion",
            f"expected coefficients of at most {MAX_COEFFICIENT:g}, got {calibration.distortion}",
        )


def scale_matrix(scale_x: float, scale_y: float) -> FloatArray:
    """Return the (3, 3) `resized_from_image` that keeps pixel centres at integers."""
    return np.array(
        [
            [scale_x, 0.0, 0.5 * scale_x - 0.5],
            [0.0, scale_y, 0.5 * scale_y - 0.5],
            [0.0, 0.0, 1.0],
        ]
    )


def offset_matrix(left_px: float, top_px: float) -> FloatArray:
    """Return the (3, 3) `crop_from_image` of a crop whose first pixel is (left, top)."""
    return np.array([[1.0, 0.0, -left_px], [0.0, 1.0, -top_px], [0.0, 0.0, 1.0]])


def shrunk_calibration(calibration: CameraCalibration, denominator: int) -> CameraCalibration:
    """Return the calibration of an image whose pixels are `denominator` pixels wide and high.

    A JPEG decoded at a fraction of its size is such an image. Its size is rounded up, so its last
    row and column may lie partly beyond the full image; its pixel grid is exact all the same.
    """
    if denominator == 1:
        return calibration
    return replace(
        calibration,
        width_px=-(-calibration.width_px // denominator),
        height_px=-(-calibration.height_px // denominator),
        image_from_cam=scale_matrix(1 / denominator, 1 / denominator) @ calibration.image_from_cam,
    )


def project_points(
    image_from_cam: FloatArray, points_cam: FloatArray, minimum_depth_m: float = 1e-6
) -> tuple[FloatArray, FloatArray]:
    """Project points of the optical frame to pixels.

    Args:
        image_from_cam: (3, 3) pinhole matrix, or any 3x3 that ends in pixels.
        points_cam: (..., 3), metres.
        minimum_depth_m: Depths below are clamped in the division; callers mask on the depths.

    Returns:
        Pixels (..., 2) as (u, v) and depths (...,) in metres; behind the camera they are negative.
    """
    homogeneous = points_cam @ image_from_cam.T
    depths_m = points_cam[..., 2]
    divisor = np.maximum(homogeneous[..., 2], minimum_depth_m)
    return homogeneous[..., :2] / divisor[..., None], depths_m
