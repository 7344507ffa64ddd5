# SPDX-License-Identifier: Apache-2.0
"""Snapshot → network input: undistort, resize, crop. The one home of these rules.

The rule is rig-independent: the image is scaled to `resized_width_px`, the crop is centred
horizontally and anchored to the bottom, and what the crop asks for beyond the image is black.
Resampling is antialiased with half-pixel centres (equal to Pillow's); mean and std are applied
inside the network, so the input stays uint8. Training uses these functions too.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import gcd

import cv2
import numpy as np
import numpy.typing as npt
import torch

from simdistill_ros.core.camera import CameraCalibration, offset_matrix, scale_matrix
from simdistill_ros.core.frames import FloatArray, inverse, rigid
from simdistill_ros.core.snapshot import ImageArray, Snapshot, View

# Output rows computed above the crop so that the kernel sees the same neighbours as without it.
KERNEL_MARGIN_PX = 8
MapArray = npt.NDArray[np.float32]
RESIZE_MODES = {"bicubic_antialias": "bicubic", "bilinear_antialias": "bilinear"}
# How small a JPEG may be decoded, as a multiple of the scaled image's size; None: at full size.
JPEG_SCALINGS: dict[str, float | None] = {"exact": None, "near": 2.0, "fast": 1.0}
JPEG_DENOMINATORS = (8, 4, 2)
# Undistortion maps that are kept; a rig needs one a distorted camera.
CACHED_MAPS = 24


@dataclass(frozen=True)
class InputRule:
    """How a camera's image becomes the network's input.

    Attributes:
        input_hw: Height and width of the input, pixels.
        resized_width_px: Width the whole image is scaled to before the crop.
        resize_kernel: Key of `RESIZE_MODES`.
    """

    input_hw: tuple[int, int]
    resized_width_px: int
    resize_kernel: str = "bicubic_antialias"

    def __post_init__(self) -> None:
        """Check the kernel.

        Raises:
            ValueError: If the kernel is unknown.
        """
        if self.resize_kernel not in RESIZE_MODES:
            known = ", ".join(RESIZE_MODES)
            raise ValueError(f"resize_kernel: expected {known}; got {self.resize_kernel!r}")

    def resized_hw(self, image_hw: tuple[int, int]) -> tuple[int, int]:
        """Return the size of the scaled image, the aspect kept to the nearest pixel."""
        height, width = image_hw
        return max(1, round(height * self.resized_width_px / width)), self.resized_width_px

    def crop_left_top(self, image_hw: tuple[int, int]) -> tuple[int, int]:
        """Return where the crop begins in the scaled image; negative where it sticks out."""
        height, width = self.resized_hw(image_hw)
        return (width - self.input_hw[1]) // 2, height - self.input_hw[0]

    def input_from_image(self, image_hw: tuple[int, int]) -> FloatArray:
        """Return the (3, 3) map from image to input pixels."""
        height, width = self.resized_hw(image_hw)
        left, top = self.crop_left_top(image_hw)
        resized_from_image = scale_matrix(width / image_hw[1], height / image_hw[0])
        return offset_matrix(left, top) @ resized_from_image

    def jpeg_denominator(self, image_hw: tuple[int, int], scaling: str) -> int:
        """Return by how much a JPEG of this size is shrunk while it is decoded: 1, 2, 4 or 8.

        It is the most that leaves the decoded image, in both directions, no smaller than the scaled
        image times the margin that `scaling` (key of `JPEG_SCALINGS`) stands for.
        """
        margin = JPEG_SCALINGS[scaling]
        if margin is None:
            return 1
        height, width = self.resized_hw(image_hw)
        for denominator in JPEG_DENOMINATORS:
            if (
                image_hw[0] >= margin * height * denominator
                and image_hw[1] >= margin * width * denominator
            ):
                return denominator
        return 1


@dataclass(frozen=True)
class NetworkInput:
    """Pixels and geometry of one snapshot, cameras in the model's order.

    Attributes:
        images: (H, W, 3) uint8 RGB of each camera: an array (N, H, W, 3) of network input, or whole
            images for a backend that resizes them.
        input_from_cam: (N, 3, 3) pinhole matrices of the inputs.
        ego_from_cam: (N, 4, 4) poses of the (rectified) optical frames.
        present: (N,) which cameras have an image. The others' pixels are zero and their matrices
            the identity; pooling leaves them out, so that neither has any effect.
    """

    images: ImageArray | tuple[ImageArray, ...]
    input_from_cam: FloatArray
    ego_from_cam: FloatArray
    present: npt.NDArray[np.bool_]


class ViewRenderer:
    """Turn one camera's image into network input; undistortion maps are cached. Thread-safe."""

    def __init__(self, rule: InputRule) -> None:
        """Start without maps."""
        self.rule = rule
        self._lock = threading.Lock()
        self._maps: OrderedDict[str, tuple[MapArray, MapArray]] = OrderedDict()

    def render(self, image: ImageArray, calibration: CameraCalibration) -> ImageArray:
        """Return the input of an image of the calibration's size, (H, W, 3) uint8.

        The order of the channels is kept, whatever it is. The result shares no memory with `image`
        unless the image has the size of the input already.
        """
        if not calibration.is_distorted:
            return resize_and_crop(image, self.rule)
        resized = resize(image, self.rule.resized_hw(_image_hw(calibration)), self.rule)
        map_x, map_y = self._undistortion(calibration)
        return np.asarray(cv2.remap(resized, map_x, map_y, cv2.INTER_LINEAR))

    def prepare(self, calibration: CameraCalibration) -> None:
        """Make the maps that images of a calibration will need."""
        if calibration.is_distorted:
            self._undistortion(calibration)

    def _undistortion(self, calibration: CameraCalibration) -> tuple[MapArray, MapArray]:
        key = calibration.digest()
        with self._lock:
            maps = self._maps.get(key)
        if maps is None:
            maps = undistortion_maps(self.rule, calibration)
            with self._lock:
                self._maps[key] = maps
                while len(self._maps) > CACHED_MAPS:
                    self._maps.popitem(last=False)
        return maps


@dataclass(frozen=True)
class _ViewGeometry:
    """The matrices of a view, and the numbers they were made from."""

    key: tuple[object, ...]
    input_from_cam: FloatArray
    ego_from_rectified: FloatArray


def _geometry_key(view: View) -> tuple[object, ...]:
    calibration = view.calibration
    matrices = (calibration.image_from_cam, calibration.rectified_from_cam, view.ego_from_cam)
    return (*_image_hw(calibration), *(matrix.tobytes() for matrix in matrices))


class Preprocessor:
    """Turn snapshots into network input, cameras in parallel."""

    def __init__(self, rule: InputRule, cameras: tuple[str, ...], threads: int = 2) -> None:
        """Prepare for the model's cameras, in the model's order."""
        self.rule = rule
        self.cameras = cameras
        self._renderer = ViewRenderer(rule)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="preprocess")
        self._geometry: dict[str, _ViewGeometry] = {}  # of each camera's last view

    def __call__(self, snapshot: Snapshot) -> NetworkInput:
        """Return the network input of a snapshot.

        Raises:
            KeyError: If the snapshot lacks one of the model's cameras and does not say so.
            ValueError: If a view that was rendered before has not the input's size.
        """
        present = np.array([camera not in snapshot.missing for camera in self.cameras])
        slots = np.flatnonzero(present)
        views = [snapshot.view(self.cameras[slot]) for slot in slots]
        is_ready = all(view.is_network_input for view in views)
        rendered = (map if is_ready else self._pool.map)(self.render, views)
        count = len(self.cameras)
        images = np.zeros((count, *self.rule.input_hw, 3), dtype=np.uint8)
        intrinsics, poses = np.tile(np.eye(3), (count, 1, 1)), np.tile(np.eye(4), (count, 1, 1))
        for slot, view, image in zip(slots, views, rendered, strict=True):
            images[slot] = image
            geometry = self._geometry_of(view)
            intrinsics[slot] = geometry.input_from_cam
            poses[slot] = geometry.ego_from_rectified
        return NetworkInput(images, intrinsics, poses, present)

    def _geometry_of(self, view: View) -> _ViewGeometry:
        """Return a view's matrices; of a camera that rests they are made once."""
        key, last = _geometry_key(view), self._geometry.get(view.camera)
        if last is None or last.key != key:
            last = self._geometry[view.camera] = _ViewGeometry(
                key, input_from_cam(self.rule, view.calibration), ego_from_rectified(view)
            )
        return last

    def whole_images(self, snapshot: Snapshot) -> NetworkInput | None:
        """Return a snapshot's images as they are, or None if the rule is more than a resize.

        That is so where a camera is missing or distorted, has another size than the others, or was
        rendered before.

        Raises:
            KeyError: If the snapshot lacks one of the model's cameras and does not say so.
        """
        if set(self.cameras) & set(snapshot.missing):
            return None
        views = [snapshot.view(camera) for camera in self.cameras]
        if any(view.is_network_input or view.calibration.is_distorted for view in views):
            return None
        if len({view.image.shape for view in views}) > 1:
            return None
        return NetworkInput(
            images=tuple(view.image for view in views),
            input_from_cam=np.stack([input_from_cam(self.rule, v.calibration) for v in views]),
            ego_from_cam=np.stack([ego_from_rectified(v) for v in views]),
            present=np.ones(len(views), dtype=np.bool_),
        )

    def render(self, view: View) -> ImageArray:
        """Return one camera's input, (H, W, 3) uint8 RGB."""
        if not view.is_network_input:
            return self._renderer.render(view.image, view.calibration)
        expected = (*self.rule.input_hw, 3)
        if view.image.shape != expected or view.image.dtype != np.uint8:
            raise ValueError(
                f"{view.camera}: expected a network input of shape {expected} and uint8, "
                f"got {view.image.dtype} {view.image.shape}"
            )
        return view.image

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(wait=True)


def _image_hw(calibration: CameraCalibration) -> tuple[int, int]:
    return calibration.height_px, calibration.width_px


def input_from_cam(rule: InputRule, calibration: CameraCalibration) -> FloatArray:
    """Return the (3, 3) pinhole matrix of a camera's network input."""
    return rule.input_from_image(_image_hw(calibration)) @ calibration.image_from_cam


def ego_from_rectified(view: View) -> FloatArray:
    """Return the (4, 4) pose of the frame that the pinhole matrix of a view holds in."""
    return rectified_pose(view.calibration, view.ego_from_cam)


def rectified_pose(calibration: CameraCalibration, ego_from_cam: FloatArray) -> FloatArray:
    """Return the (4, 4) pose of the frame that the pinhole matrix of a calibration holds in."""
    rectified_from_cam = rigid(calibration.rectified_from_cam, np.zeros(3))
    return np.asarray(ego_from_cam @ inverse(rectified_from_cam))


def resize(image: ImageArray, resized_hw: tuple[int, int], rule: InputRule) -> ImageArray:
    """Return the whole image scaled, (h, w, 3) uint8."""
    if image.shape[:2] == resized_hw:
        return image
    planes = torch.from_numpy(_as_writable(image)).permute(2, 0, 1)[None]
    scaled = torch.nn.functional.interpolate(
        planes,
        size=resized_hw,
        mode=RESIZE_MODES[rule.resize_kernel],
        align_corners=False,
        antialias=True,
    )
    # torch gives one plane a channel; to interleave them here is much cheaper than in a later copy.
    return np.asarray(cv2.merge(list(scaled[0].numpy())))


class _Borrowed:
    """The memory of an array, said to be writable; it keeps the array alive."""

    def __init__(self, image: ImageArray) -> None:
        address, _ = image.__array_interface__["data"]
        self.__array_interface__ = {**image.__array_interface__, "data": (address, False)}
        self._image = image


def _as_writable(image: ImageArray) -> ImageArray:
    """Return an image in the same memory, for torch, which only reads but warns of read-only."""
    return image if image.flags.writeable else np.asarray(_Borrowed(image))


def resize_and_crop(image: ImageArray, rule: InputRule) -> ImageArray:
    """Return an undistorted image's network input, (H, W, 3) uint8.

    Rows above the crop are not resampled where the scale allows to leave them out exactly.
    """
    image_hw = (image.shape[0], image.shape[1])
    left, top = rule.crop_left_top(image_hw)
    resized_height, resized_width = rule.resized_hw(image_hw)
    divisor = gcd(resized_height, image_hw[0])
    out_step, in_step = resized_height // divisor, image_hw[0] // divisor
    skipped_steps = max(0, (top - KERNEL_MARGIN_PX) // out_step)
    resized = resize(
        image[skipped_steps * in_step :],
        (resized_height - skipped_steps * out_step, resized_width),
        rule,
    )
    return crop(resized, left, top - skipped_steps * out_step, rule.input_hw)


def crop(image: ImageArray, left: int, top: int, crop_hw: tuple[int, int]) -> ImageArray:
    """Return a crop whose first pixel is (left, top); black where it leaves the image."""
    height, width = crop_hw
    rows = slice(max(top, 0), max(top + height, 0))
    columns = slice(max(left, 0), max(left + width, 0))
    inside = image[rows, columns]
    if inside.shape[:2] == crop_hw:
        return inside
    canvas = np.zeros((height, width, 3), dtype=np.uint8)
    at_row, at_column = max(-top, 0), max(-left, 0)
    canvas[at_row : at_row + inside.shape[0], at_column : at_column + inside.shape[1]] = inside
    return canvas


def undistortion_maps(rule: InputRule, calibration: CameraCalibration) -> tuple[MapArray, MapArray]:
    """Return where each input pixel lies in the scaled, still distorted image.

    The image is scaled first (with antialiasing) and undistorted at the small size: one bilinear
    resampling of the input's own pixels.
    """
    image_hw = (calibration.height_px, calibration.width_px)
    size = (rule.input_hw[1], rule.input_hw[0])
    arguments = (
        calibration.image_from_cam,
        np.asarray(calibration.distortion, dtype=np.float64),
        np.eye(3),
        input_from_cam(rule, calibration),
        size,
        cv2.CV_32FC1,
    )
    fisheye = calibration.distortion_model == "equidistant"
    make_maps = cv2.fisheye.initUndistortRectifyMap if fisheye else cv2.initUndistortRectifyMap
    image_x, image_y = make_maps(*arguments)
    height, width = rule.resized_hw(image_hw)
    resized_from_image = scale_matrix(width / image_hw[1], height / image_hw[0])
    map_x = resized_from_image[0, 0] * image_x + resized_from_image[0, 2]
    map_y = resized_from_image[1, 1] * image_y + resized_from_image[1, 2]
    return map_x.astype(np.float32), map_y.astype(np.float32)
