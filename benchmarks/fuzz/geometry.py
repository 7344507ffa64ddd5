# SPDX-License-Identifier: Apache-2.0
"""Cases of calibrations and transforms: whatever is accepted is finite and rigid."""

from __future__ import annotations

import math
from random import Random
from types import SimpleNamespace
from typing import Any

import numpy as np
from rclpy.serialization import serialize_message

from benchmarks.fuzz.findings import require
from benchmarks.fuzz.mutate import count, number, text
from benchmarks.fuzz.seeds import CAMERAS, HEIGHT, START_NS, WIDTH, camera_info, mounts, transform
from simdistill_ros.cdr_reader import SerializedError
from simdistill_ros.conversions import calibration_from_msg
from simdistill_ros.core.camera import CalibrationError
from simdistill_ros.core.transform_tree import TransformError, TransformTree
from simdistill_ros.health import Health
from simdistill_ros.serialized import TransformFields, read_transforms
from simdistill_ros.transform_input import STATIC_TOPIC, TransformInput

COEFFICIENTS = {"plumb_bob": (4, 5), "rational_polynomial": (8, 12, 14), "equidistant": (4,)}
CACHE_NS = 10_000_000_000
# Of one tree, before a new one takes its place.
CASES_OF_A_TREE = 500


def mutate_info(message: Any, draw: Random) -> None:
    """Change a few fields of a CameraInfo."""
    for _ in range(draw.choice((1, 1, 2, 3))):
        kind = draw.randrange(7)
        if kind < 3:
            matrix = (message.k, message.r, message.p)[kind]
            at = draw.randrange(len(matrix))
            matrix[at] = number(draw, float(matrix[at]) or 1.0)
        elif kind == 3:
            length = draw.choice((0, 1, 4, 5, 8, 12, 14, 33, 5000))
            message.d = [number(draw, 0.1)] * length
        elif kind == 4:
            message.distortion_model = text(draw)
        elif kind == 5:
            setattr(message, draw.choice(("width", "height")), count(draw, message.width))
        else:
            roi = draw.choice(("x_offset", "y_offset", "width", "height"))
            setattr(message.roi, roi, count(draw, 8))
            message.binning_x = message.binning_y = count(draw, 1)


def info_case(draw: Random) -> str:
    """Run a mutated CameraInfo."""
    message = camera_info()
    mutate_info(message, draw)
    return check_info(message, draw)


def check_info(message: Any, draw: Random) -> str:
    """Run one CameraInfo; what is accepted can project."""
    rectified, ignore_r = draw.random() < 0.3, draw.random() < 0.2
    try:
        calibration = calibration_from_msg(
            message, (HEIGHT, WIDTH), rectified=rectified, ignore_r=ignore_r
        )
    except CalibrationError as error:
        return error.cause
    used = message.p if rectified and message.p[0] != 0 else message.k
    require(all(map(math.isfinite, used)) or used is message.p, "accepted a K that is not finite")
    require(all(map(math.isfinite, message.d)), "accepted a D that is not finite")
    k, rotation = calibration.image_from_cam, calibration.rectified_from_cam
    require(bool(np.isfinite(k).all()), "the intrinsics are not finite")
    require(bool(k[0, 0] > 0 and k[1, 1] > 0), "a focal length is not positive")
    corner = k @ [100.0, 100.0, 1.0]
    require(bool(np.isfinite(corner).all()), "a projection is not finite")
    _require_rotation(rotation)
    if not ignore_r and rectified:
        _require_rotation(np.reshape(message.r, (3, 3)))
    if calibration.distortion:
        known = COEFFICIENTS.get(calibration.distortion_model, ())
        require(len(calibration.distortion) in known, "accepted a D of another length")
    return "used"


def _require_rotation(rotation: Any) -> None:
    error = np.abs(rotation @ rotation.T - np.eye(3)).max()
    require(bool(error < 0.02 and np.linalg.det(rotation) > 0), f"no rotation: {rotation.tolist()}")


def mutate_transform(message: Any, draw: Random) -> None:
    """Change a few fields of a TransformStamped."""
    for _ in range(draw.choice((1, 1, 2, 3))):
        kind = draw.randrange(6)
        if kind < 2:
            message.transform.rotation = type(message.transform.rotation)(
                **{axis: number(draw, 0.5) for axis in "wxyz"}
            )
        elif kind == 2:
            setattr(message.transform.rotation, draw.choice("wxyz"), number(draw))
        elif kind == 3:
            setattr(message.transform.translation, draw.choice("xyz"), number(draw))
        elif kind == 4:
            message.header.frame_id = text(draw)
        else:
            message.child_frame_id = text(draw)
    message.header.stamp.sec = draw.choice((0, -1, 2**31 - 1, -(2**31), 1_600_000_000))


class TransformCases:
    """A tree that lives on from case to case, fed as the node feeds it."""

    def __init__(self) -> None:
        """Start with a good tree."""
        self._count = 0
        self._renew()

    def _renew(self) -> None:
        self.tree = TransformTree(CACHE_NS)
        self.health = Health(lambda: 0, lambda line: None, 1)
        node = SimpleNamespace(create_subscription=lambda kind, topic, callback, qos, **_: callback)
        self._input = TransformInput(node, self.tree, self.health)
        self._input.on_message(STATIC_TOPIC, bytes(serialize_message(mounts())))

    def case(self, draw: Random) -> str:
        """Store a few mutated transforms, then look up."""
        self._count += 1
        if self._count % CASES_OF_A_TREE == 0:
            self._renew()
        message = mounts()
        frames = ("base_link", "map", "odom", *(f"{c}_optical_frame" for c in CAMERAS))
        for _ in range(draw.choice((0, 1, 3))):
            stamp_ns = START_NS + draw.randint(-2, 2) * 400_000_000
            message.transforms.append(transform(draw.choice(frames), draw.choice(frames), stamp_ns))
        for one in message.transforms:
            if draw.random() < 0.6:
                mutate_transform(one, draw)
        return self.check(bytes(serialize_message(message)), draw)

    def check(self, data: bytes, draw: Random) -> str:
        """Run one serialised TFMessage; what can be looked up afterwards is rigid."""
        faults = self.health.snapshot()
        before = sum(faults["sync"].counts.values()) if "sync" in faults else 0
        self._input.on_message(STATIC_TOPIC if draw.random() < 0.3 else "/tf", data)
        faults = self.health.snapshot()
        refused = (sum(faults["sync"].counts.values()) if "sync" in faults else 0) - before
        require(refused >= _least_refused(data), "stored a transform that is not finite")
        return f"{'some' if refused else 'none'} refused, look-up {self._look_up(draw)}"

    def _look_up(self, draw: Random) -> str:
        frames = ("base_link", "map", *(f"{c}_optical_frame" for c in CAMERAS))
        target, source, fixed = (draw.choice(frames) for _ in range(3))
        stamp_ns = START_NS + draw.randint(-(10**9), 10**9)
        try:
            if draw.random() < 0.5:
                found = self.tree.lookup(target, source, stamp_ns)
            else:
                found = self.tree.lookup_fixed(target, stamp_ns, source, START_NS, fixed)
        except TransformError as error:
            return error.cause
        require(found.shape == (4, 4) and bool(np.isfinite(found).all()), "a pose is not finite")
        _require_rotation(found[:3, :3])
        return "found"


def _least_refused(data: bytes) -> int:
    try:
        transforms = read_transforms(data)
    except SerializedError:
        return 1
    require(sum(len(t.parent) + len(t.child) for t in transforms) <= len(data), "read too much")
    return sum(map(_is_not_finite, transforms))


def _is_not_finite(fields: TransformFields) -> bool:
    return not all(map(math.isfinite, (*fields.translation_m, *fields.rotation_wxyz)))
