# SPDX-License-Identifier: Apache-2.0
"""Work a changed calibration in while the node runs.

A CameraInfo or a static transform that changes is not used at once: a thread of its own first makes
what depends on it (pooling tables, undistortion maps), then both take effect between two snapshots.
Until then outputs rest on the old calibration and say so. A change that is too large to be a better
estimate of the same mounting is reported, with its size.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from simdistill_ros.core.calibration_change import CameraGeometry, JumpBounds, calibration_jump
from simdistill_ros.core.camera import CalibrationError, CameraCalibration
from simdistill_ros.core.frames import FloatArray
from simdistill_ros.health import InputFault

SAME_POSE = 1e-9  # metres, and entries of a rotation


class CalibrationStore:
    """The CameraInfo in use of each camera, and newer ones that wait to be worked in."""

    def __init__(self) -> None:
        """Start with none."""
        self._lock = threading.Lock()
        self._active: dict[str, Any] = {}
        self._pending: dict[str, Any] = {}
        self.on_change: Callable[[], None] | None = None

    def put(self, camera: str, info: Any) -> None:
        """Keep a CameraInfo: in use at once if it is the first, else when it was worked in."""
        with self._lock:
            active = self._active.get(camera)
            if active is info and camera not in self._pending:
                return
            if active is None or self.on_change is None or _content(active) == _content(info):
                self._active[camera] = info
                self._pending.pop(camera, None)
                return
            self._pending[camera] = info
        self.on_change()

    def get(self, camera: str) -> Any | None:
        """Return the CameraInfo in use, or None."""
        with self._lock:
            return self._active.get(camera)

    def pending(self) -> dict[str, Any]:
        """Return the CameraInfos that differ from those in use."""
        with self._lock:
            return dict(self._pending)

    def activate(self, infos: Mapping[str, Any]) -> None:
        """Put infos into use."""
        with self._lock:
            for camera, info in infos.items():
                self._active[camera] = info
                if self._pending.get(camera) is info:
                    del self._pending[camera]

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._active.clear()
            self._pending.clear()


def _content(info: Any) -> tuple[Any, ...]:
    """Return all of a CameraInfo but its stamp."""
    roi = info.roi
    matrices = tuple(np.asarray(m, dtype=np.float64).tobytes() for m in (info.d, info.k, info.r))
    return (
        info.header.frame_id,
        (info.height, info.width, info.distortion_model, info.binning_x, info.binning_y),
        (roi.x_offset, roi.y_offset, roi.height, roi.width),
        matrices,
        np.asarray(info.p, dtype=np.float64).tobytes(),
    )


class Recalibration:
    """The rig's geometry in use; its thread works a newer one in."""

    def __init__(
        self,
        store: CalibrationStore,
        *,
        calibration_of: Callable[[str, Any], CameraCalibration],
        work_in: Callable[[Mapping[str, CameraGeometry]], None],
        report: Callable[[InputFault], None],
        bounds: JumpBounds,
    ) -> None:
        """Start the thread.

        Args:
            store: Where CameraInfo messages are kept.
            calibration_of: Reads a CameraInfo for a camera's images as they last were.
            work_in: Makes all that depends on a rig's geometry; takes long.
            report: Told of jumps.
            bounds: What counts as a jump.
        """
        self._store = store
        self._calibration_of = calibration_of
        self._work_in = work_in
        self._report = report
        self._bounds = bounds
        self._wake = threading.Condition()
        self._rig: dict[str, CameraGeometry] = {}
        self._poses: dict[str, FloatArray] = {}
        self._pending_poses: dict[str, FloatArray] = {}
        self._awaited: dict[str, str] = {}  # digests that the next images should have
        self._stopping = False
        self.count = 0
        store.on_change = self._notify
        self._thread = threading.Thread(target=self._run, name="recalibration", daemon=True)
        self._thread.start()

    @property
    def is_pending(self) -> bool:
        """Whether a newer calibration than the one in use is known."""
        return bool(self._store.pending() or self._pending_poses or self._awaited)

    def pose(self, camera: str, newest: FloatArray, *, is_static: bool) -> FloatArray:
        """Return the mounting to use, (4, 4) ego_from_cam; a moving one is used as it is."""
        with self._wake:
            active = self._poses.get(camera)
            if active is None or not is_static:
                self._poses[camera] = newest
                return newest
            if np.abs(active - newest).max() > SAME_POSE:
                self._pending_poses[camera] = newest
                self._wake.notify()
            else:
                self._pending_poses.pop(camera, None)
            return active

    def note(self, camera: str, calibration: CameraCalibration) -> None:
        """Note the geometry that a camera's image is used with."""
        with self._wake:
            if camera in self._awaited and calibration.digest() == self._awaited[camera]:
                del self._awaited[camera]
            self._rig[camera] = CameraGeometry(calibration, self._poses[camera])

    def close(self) -> None:
        """End the thread."""
        self._store.on_change = None
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._thread.join()

    def _notify(self) -> None:
        with self._wake:
            self._wake.notify()

    def _run(self) -> None:
        while True:
            with self._wake:
                while not (self._stopping or self._pending_poses or self._store.pending()):
                    self._wake.wait()
                if self._stopping:
                    return
                infos, poses = self._store.pending(), dict(self._pending_poses)
                old = dict(self._rig)
            new = self._changed(old, infos, poses)
            self._report_jumps(old, new)
            try:
                self._work_in(old | new)
            except Exception as error:  # the next snapshot makes it, or fails by name
                text = f"{type(error).__name__}: {error}"
                self._report(InputFault("inference", "recalibration_failed", text))
            with self._wake:
                self._store.activate(infos)
                self._poses |= poses
                for camera, pose in poses.items():
                    if self._pending_poses.get(camera) is pose:
                        del self._pending_poses[camera]
                changed = infos.keys() & new.keys()
                self._awaited |= {c: new[c].calibration.digest() for c in changed}
                self.count += 1

    def _changed(
        self,
        old: Mapping[str, CameraGeometry],
        infos: Mapping[str, Any],
        poses: Mapping[str, FloatArray],
    ) -> dict[str, CameraGeometry]:
        """Return the new geometry of the cameras in use that change.

        A CameraInfo that cannot be used is left to whoever uses it next, who names its fault.
        """
        new = {}
        for camera in old.keys() & (infos.keys() | poses.keys()):
            try:
                calibration = (
                    self._calibration_of(camera, infos[camera])
                    if camera in infos
                    else old[camera].calibration
                )
            except CalibrationError:
                continue
            new[camera] = CameraGeometry(calibration, poses.get(camera, old[camera].ego_from_cam))
        return new

    def _report_jumps(
        self, old: Mapping[str, CameraGeometry], new: Mapping[str, CameraGeometry]
    ) -> None:
        bounds = self._bounds
        for camera, geometry in new.items():
            jump = calibration_jump(old[camera], geometry)
            if jump.turn_rad > bounds.turn_rad or jump.shift_m > bounds.shift_m:
                text = (
                    f"its calibration turned by {math.degrees(jump.turn_rad):.2f} degrees and "
                    f"moved by {jump.shift_m:.3f} m; expected at most "
                    f"{math.degrees(bounds.turn_rad):.2f} degrees and {bounds.shift_m:.3f} m; "
                    "was it mounted anew, or is this another vehicle's calibration?"
                )
                self._report(InputFault(camera, "calibration_jump", text))
