# SPDX-License-Identifier: Apache-2.0
"""One synchronised set of camera images with calibration: all a detector is given.

A snapshot is complete when it exists: every view has pixels, intrinsics and the pose of its camera,
and a camera without a view is named as missing.
Who gathers it (the node from topics, the evaluator from a data set) is of no concern here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simdistill_ros.core.camera import CameraCalibration
from simdistill_ros.core.frames import FloatArray

ImageArray = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class View:
    """One camera's part of a snapshot.

    Attributes:
        camera: Lower-case camera name, such as `cam_front`.
        stamp_ns: When the image was taken.
        image: (H, W, 3) uint8, RGB.
        calibration: Intrinsics at the size of `image`.
        ego_from_cam: (4, 4) pose of the optical frame, in the ego frame at the snapshot's stamp.
        is_network_input: `image` has been resized and cropped to the network's input already;
            `calibration` is still that of the image it was made from.
    """

    camera: str
    stamp_ns: int
    image: ImageArray
    calibration: CameraCalibration
    ego_from_cam: FloatArray
    is_network_input: bool = False

    def __post_init__(self) -> None:
        """Check that image and calibration belong together.

        Raises:
            ValueError: If the image is not (H, W, 3) uint8 of the calibration's size.
        """
        if self.is_network_input:
            return  # the preprocessor, which knows the size, checks it
        expected = (self.calibration.height_px, self.calibration.width_px, 3)
        if self.image.shape != expected or self.image.dtype != np.uint8:
            raise ValueError(
                f"{self.camera}: expected a uint8 image of shape {expected}, "
                f"got {self.image.dtype} {self.image.shape}"
            )


@dataclass(frozen=True)
class Snapshot:
    """Views of one instant, one a camera.

    Attributes:
        stamp_ns: Reference time: the newest view's, or the anchor camera's where one is set.
        views: The views, in any order; `view` finds one by name.
        missing: Cameras that are known to have no view.
        held: Cameras whose view is of an earlier cycle.
    """

    stamp_ns: int
    views: tuple[View, ...]
    missing: tuple[str, ...] = ()
    held: tuple[str, ...] = ()

    def view(self, camera: str) -> View:
        """Return the view of a camera.

        Raises:
            KeyError: If the snapshot has no such camera.
        """
        for view in self.views:
            if view.camera == camera:
                return view
        have = ", ".join(view.camera for view in self.views)
        raise KeyError(f"no camera {camera!r} in the snapshot; it has {have}")

    @property
    def spread_ns(self) -> int:
        """Time between the oldest and the newest view of the cycle."""
        stamps = [view.stamp_ns for view in self.views if view.camera not in self.held]
        return max(stamps) - min(stamps)
