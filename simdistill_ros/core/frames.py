# SPDX-License-Identifier: Apache-2.0
"""Rigid transforms and the frame vocabulary.

Every transform is named `dst_from_src` and used as `points_dst = dst_from_src @ points_src`; in a
product the touching names are equal. Quaternions are (w, x, y, z), unit length.

Frames:
    global: the map, z up. ROS `map`.
    ego: x forward, y left, z up, rear axle on the ground. ROS `base_link`.
    lidar: the data set's own; nuScenes has x right, y forward, z up.
    cam: optical, x right, y down, z forward. ROS `*_optical_frame`.
    image, input: pixels before and after resize and crop; u right, v down, centres at integers.
    bev: the frame a model's bird's-eye-view grid lives in; the model card gives `ego_from_bev`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

EGO_FRAME = "base_link"
GLOBAL_FRAME = "map"


def rigid(rotation: npt.ArrayLike, translation: npt.ArrayLike) -> FloatArray:
    """Return the (4, 4) transform with this (3, 3) rotation and (3,) translation in metres."""
    dst_from_src = np.eye(4)
    dst_from_src[:3, :3] = rotation
    dst_from_src[:3, 3] = translation
    return dst_from_src


def inverse(dst_from_src: FloatArray) -> FloatArray:
    """Return src_from_dst of one (4, 4) or a stack (..., 4, 4) of rigid transforms."""
    rotation = np.swapaxes(dst_from_src[..., :3, :3], -1, -2)
    src_from_dst = np.zeros_like(dst_from_src, dtype=np.float64)
    src_from_dst[..., :3, :3] = rotation
    src_from_dst[..., :3, 3] = -(rotation @ dst_from_src[..., :3, 3:])[..., 0]
    src_from_dst[..., 3, 3] = 1.0
    return src_from_dst


def transform_points(dst_from_src: FloatArray, points_src: npt.ArrayLike) -> FloatArray:
    """Return points (..., 3) in the destination frame, metres."""
    points = np.asarray(points_src, dtype=np.float64)
    return np.asarray(points @ dst_from_src[:3, :3].T + dst_from_src[:3, 3])


def rotation_from_quaternion(wxyz: npt.ArrayLike) -> FloatArray:
    """Return the (3, 3) rotation of a quaternion, which is normalised first.

    Raises:
        ValueError: If the quaternion is not finite or its length is nearly zero.
    """
    q = np.asarray(wxyz, dtype=np.float64)
    norm = float(np.linalg.norm(q))
    if q.shape != (4,) or not np.isfinite(norm) or norm < 1e-6:
        raise ValueError(f"expected a finite quaternion (w, x, y, z) of length 1, got {q.tolist()}")
    w, x, y, z = q / norm
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def quaternion_from_rotation(rotation: FloatArray) -> FloatArray:
    """Return the unit quaternion (w, x, y, z), w >= 0, of a (3, 3) rotation."""
    m = np.asarray(rotation, dtype=np.float64)
    xx, yy, zz = np.diag(m)
    # Four squared components times four; the largest is the safe divisor.
    squares = np.array([1 + xx + yy + zz, 1 + xx - yy - zz, 1 - xx + yy - zz, 1 - xx - yy + zz])
    rows = np.array(
        [
            [squares[0], m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]],
            [m[2, 1] - m[1, 2], squares[1], m[1, 0] + m[0, 1], m[0, 2] + m[2, 0]],
            [m[0, 2] - m[2, 0], m[1, 0] + m[0, 1], squares[2], m[2, 1] + m[1, 2]],
            [m[1, 0] - m[0, 1], m[0, 2] + m[2, 0], m[2, 1] + m[1, 2], squares[3]],
        ]
    )
    q = rows[int(np.argmax(squares))]
    q = q / np.linalg.norm(q)
    return np.asarray(-q if q[0] < 0 else q)


def rotation_about_z(yaw_rad: float) -> FloatArray:
    """Return the (3, 3) rotation by `yaw_rad`, counter-clockwise about +z."""
    c, s = np.cos(yaw_rad), np.sin(yaw_rad)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def angles_of(y: FloatArray, x: FloatArray) -> FloatArray:
    """Return np.arctan2(y, x), the same bits wherever the arrays lie in memory.

    For arrays with gaps numpy decides by their addresses whether to take its vector code, which
    rounds differently.
    """
    return np.asarray(np.arctan2(np.ascontiguousarray(y), np.ascontiguousarray(x)))


def yaw_of_rotation(rotation: FloatArray) -> float:
    """Return the heading, in radians from +x in the xy plane, of the rotated x axis."""
    return float(np.arctan2(rotation[1, 0], rotation[0, 0]))


def wrap_angle(angle_rad: npt.ArrayLike) -> FloatArray:
    """Return angles wrapped to [-pi, pi)."""
    angle = np.asarray(angle_rad, dtype=np.float64)
    return np.asarray((angle + np.pi) % (2 * np.pi) - np.pi)


def is_rotation(matrix: npt.ArrayLike, tolerance: float = 1e-3) -> bool:
    """Tell whether a (3, 3) matrix is finite, orthonormal and right-handed."""
    m = np.asarray(matrix, dtype=np.float64)
    if m.shape != (3, 3) or not np.isfinite(m).all():
        return False
    return bool(np.abs(m @ m.T - np.eye(3)).max() <= tolerance and np.linalg.det(m) > 0)
