# SPDX-License-Identifier: Apache-2.0
"""Decode and resize each image as it arrives, on threads of its own.

An image waits for the rest of its set anyway; that time is used. What is kept of an image is its
network input; full-size pixels live in a scratch buffer a thread and the message is let go. Each
camera has one place in the queue: an image that a newer one pushes out is prepared when its set
asks for it, and not at all when no set does.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from simdistill_ros.conversions import calibration_from_msg, encoded_from_msg
from simdistill_ros.core.camera import CalibrationError, CameraCalibration, shrunk_calibration
from simdistill_ros.core.images import DecodedImage, EncodedImage, ImageError, Scratch, decode_image
from simdistill_ros.core.preprocess import InputRule, ViewRenderer
from simdistill_ros.core.snapshot import ImageArray
from simdistill_ros.health import InputFault
from simdistill_ros.parameters import InputParameters


@dataclass(frozen=True)
class SourceImage:
    """An image as it arrived, bytes shared with the message, and its intrinsics at full size."""

    encoded: EncodedImage
    calibration: CameraCalibration


@dataclass(frozen=True)
class PreparedImage:
    """What is left of an image message.

    Attributes:
        pixels: The network input; where the detector states no rule for it, the whole image.
        is_network_input: Which of the two.
        calibration: Intrinsics of the decoded image.
        kind: Size and encoding of the image that was sent, such as `1600x900 bgr8`.
        decode_ns: Time that decoding took.
        render_ns: Time that resizing took.
        decode_cpu_ns: Processor time of decoding.
        render_cpu_ns: Processor time of resizing, on this thread.
        source: What it was made from, while somebody wants to look at it.
    """

    pixels: ImageArray
    is_network_input: bool
    calibration: CameraCalibration
    kind: str
    decode_ns: int
    render_ns: int
    decode_cpu_ns: int
    render_cpu_ns: int
    source: SourceImage | None = None


class PendingImage:
    """An image on its way from message to network input; prepared once, by whoever is first."""

    def __init__(self, prepare: Callable[[Any], PreparedImage], message: Any) -> None:
        """Keep the message until it is prepared."""
        self._prepare = prepare
        self._message: Any = message
        self._lock = threading.Lock()
        self._image: PreparedImage | None = None
        self._error: Exception | None = None

    @property
    def is_prepared(self) -> bool:
        """Whether the result is there."""
        return self._message is None

    def run(self) -> None:
        """Prepare the image unless that is done; wait where another thread is at it."""
        with self._lock:
            if self._message is None:
                return
            try:
                self._image = self._prepare(self._message)
            except Exception as error:  # whoever wants the result is told
                self._error = error
            self._message = None

    def result(self) -> PreparedImage:
        """Return the prepared image, preparing it here if nobody has.

        Raises:
            InputFault: If it cannot be used.
        """
        self.run()
        if self._error is not None:
            raise self._error
        assert self._image is not None
        return self._image


class ImagePreparer:
    """Threads that prepare images, the newest of each camera."""

    def __init__(
        self,
        info_of: Callable[[str], Any | None],
        options: InputParameters,
        rule: InputRule | None,
        keeps_sources: Callable[[], bool] = lambda: False,
    ) -> None:
        """Start the threads.

        Args:
            info_of: Returns the newest CameraInfo of a camera, or None.
            options: How messages are read.
            rule: How an image becomes network input; None: it is only decoded.
            keeps_sources: Whether somebody wants to look at the images themselves, now.
        """
        self._info_of = info_of
        self._options = options
        self._keeps_sources = keeps_sources
        self._renderer = ViewRenderer(rule) if rule is not None else None
        self._local = threading.local()
        self._sizes: dict[str, tuple[tuple[int, int], int]] = {}  # full size, denominator
        self._calibrations: dict[str, tuple[Any, Any, CameraCalibration]] = {}
        self._condition = threading.Condition()
        self._waiting: OrderedDict[str, PendingImage] = OrderedDict()
        self._stopping = False
        self.prepared = 0
        self.overtaken = 0
        self.decode_cpu_ns = 0
        self.render_cpu_ns = 0
        self._threads = [
            threading.Thread(target=self._work, name=f"decode_{number}", daemon=True)
            for number in range(options.decode_threads)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, camera: str, message: Any) -> PendingImage:
        """Return the image, and begin to prepare it if its camera's calibration is known."""
        image = self.pending(camera, message)
        self.begin(camera, image)
        return image

    def pending(self, camera: str, message: Any) -> PendingImage:
        """Return the image; it is prepared when somebody begins it or asks for the result."""
        return PendingImage(lambda m: self._prepare(camera, m), message)

    def begin(self, camera: str, image: PendingImage) -> None:
        """Begin to prepare an image if its camera's calibration is known."""
        if self._info_of(camera) is None:
            return  # CameraInfo may come before the rest of the set does
        with self._condition:
            self.overtaken += int(self._waiting.pop(camera, None) is not None)
            self._waiting[camera] = image
            self._condition.notify()

    def values(self) -> dict[str, object]:
        """Return counters for diagnostics."""
        return {
            "images_prepared": self.prepared,
            "images_overtaken": self.overtaken,
            "decode_cpu_s": f"{self.decode_cpu_ns / 1e9:.3f}",
            "render_cpu_s": f"{self.render_cpu_ns / 1e9:.3f}",
        }

    def close(self) -> None:
        """End the threads; what waits is not prepared."""
        with self._condition:
            self._stopping = True
            self._waiting.clear()
            self._condition.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while True:
            with self._condition:
                while not self._waiting and not self._stopping:
                    self._condition.wait()
                if self._stopping:
                    return
                _, image = self._waiting.popitem(last=False)
            image.run()
            del image  # while this thread waits, it must not keep the last image alive

    def _prepare(self, camera: str, message: Any) -> PreparedImage:
        info = self._info_of(camera)
        if info is None:
            raise InputFault(camera, "no_camera_info", "no CameraInfo has arrived")
        cpu_ns, started_ns = time.thread_time_ns(), time.monotonic_ns()
        try:
            encoded = encoded_from_msg(message)
            decoded = decode_image(encoded, self._scratch(), self._denominator)
            decoded_cpu_ns, decoded_ns = time.thread_time_ns(), time.monotonic_ns()
            self._sizes[camera] = (decoded.full_hw, decoded.denominator)
            calibration = self._last_calibration(camera, info)
            pixels = self._render(decoded, calibration)
        except (ImageError, CalibrationError) as error:
            raise InputFault(camera, error.cause, str(error)) from error
        image = PreparedImage(
            pixels=pixels,
            is_network_input=self._renderer is not None,
            calibration=calibration,
            kind=f"{decoded.full_hw[1]}x{decoded.full_hw[0]} {encoded.encoding or 'file'}",
            decode_ns=decoded_ns - started_ns,
            render_ns=time.monotonic_ns() - decoded_ns,
            decode_cpu_ns=decoded_cpu_ns - cpu_ns,
            render_cpu_ns=time.thread_time_ns() - decoded_cpu_ns,
            source=self._source(encoded, info, decoded.full_hw) if self._keeps_sources() else None,
        )
        with self._condition:
            self.prepared += 1
            self.decode_cpu_ns += image.decode_cpu_ns
            self.render_cpu_ns += image.render_cpu_ns
        return image

    def calibration_of(self, camera: str, info: Any) -> CameraCalibration:
        """Return what a CameraInfo means for a camera's images as they were decoded last.

        Raises:
            CalibrationError: If the numbers cannot be used.
        """
        full_hw, denominator = self._sizes[camera]
        return shrunk_calibration(self._full_calibration(info, full_hw), denominator)

    def _last_calibration(self, camera: str, info: Any) -> CameraCalibration:
        """Return `calibration_of`, the last one where neither CameraInfo nor size changed."""
        sizes = self._sizes[camera]
        last = self._calibrations.get(camera)
        if last is not None and last[0] is info and last[1] == sizes:
            return last[2]
        calibration = self.calibration_of(camera, info)
        self._calibrations[camera] = info, sizes, calibration
        return calibration

    def _full_calibration(self, info: Any, full_hw: tuple[int, int]) -> CameraCalibration:
        options = self._options
        return calibration_from_msg(
            info, full_hw, rectified=options.rectified, ignore_r=options.ignore_r
        )

    def _source(self, encoded: EncodedImage, info: Any, full_hw: tuple[int, int]) -> SourceImage:
        return SourceImage(encoded, self._full_calibration(info, full_hw))

    def prepare_geometry(self, calibrations: Iterable[CameraCalibration]) -> None:
        """Make what images of these calibrations will need."""
        for calibration in calibrations:
            if self._renderer is not None:
                self._renderer.prepare(calibration)

    def _render(self, decoded: DecodedImage, calibration: CameraCalibration) -> ImageArray:
        """Return the network input, or the image, in memory of its own, channels in RGB order."""
        pixels = decoded.pixels
        if self._renderer is not None:
            pixels = self._renderer.render(pixels, calibration)
        return np.array(pixels[..., ::-1] if decoded.is_bgr else pixels, order="C")

    def _denominator(self, image_hw: tuple[int, int]) -> int:
        if self._renderer is None:
            return 1
        return self._renderer.rule.jpeg_denominator(image_hw, self._options.jpeg_scaling)

    def _scratch(self) -> Scratch:
        if not hasattr(self._local, "scratch"):
            self._local.scratch = Scratch()
        scratch: Scratch = self._local.scratch
        return scratch
