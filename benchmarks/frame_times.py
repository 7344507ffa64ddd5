# SPDX-License-Identifier: Apache-2.0
"""What one way from six JPEGs to boxes takes: alone, and beside the next frame's images."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from benchmarks.bench_detector import HEIGHT, WIDTH, K, jpeg_image, ring_pose
from simdistill_ros.core.camera import CameraCalibration, shrunk_calibration
from simdistill_ros.core.detector import Detector
from simdistill_ros.core.images import EncodedImage, Scratch, decode_image, decode_jpeg_png
from simdistill_ros.core.preprocess import InputRule, ViewRenderer
from simdistill_ros.core.snapshot import Snapshot, View

WARM_UP = 2
NETWORK_STAGES = ("preprocess", "inference", "decode")
STAGES = ("images", *NETWORK_STAGES, "frame", "period", "processor")
MakeView = Callable[[str, int, bytes], View]
Jpegs = dict[str, bytes]


@dataclass
class Path:
    """One way from JPEGs to boxes, and what it took.

    Attributes:
        name: For people.
        detector: The network and what follows.
        make_view: One camera's JPEG to its view.
        times_ms: Stage → milliseconds of each round.
    """

    name: str
    detector: Detector
    make_view: MakeView
    times_ms: dict[str, list[float]] = field(default_factory=dict)

    def round(self, jpegs: Jpegs, pool: ThreadPoolExecutor) -> None:
        """Measure one frame alone and one beside the next."""
        one_frame(self, jpegs, pool)
        two_frames(self, jpegs, pool)

    def note(self, stage: str, milliseconds: float) -> None:
        """Keep one measured time."""
        self.times_ms.setdefault(stage, []).append(milliseconds)


def camera_jpegs(detector: Detector) -> Jpegs:
    """Return a JPEG for each camera."""
    return {camera: jpeg_image(index) for index, camera in enumerate(detector.cameras)}


def full_size(camera: str, index: int, jpeg: bytes) -> View:
    """Return a view decoded at full size, to be rendered by the detector."""
    return _view(camera, index, decode_jpeg_png(jpeg))


def scaled(rule: InputRule, scaling: str) -> MakeView:
    """Return what makes a view as the node does: decoded and rendered when the image arrives."""
    renderer = ViewRenderer(rule)
    of_thread = threading.local()

    def make_view(camera: str, index: int, jpeg: bytes) -> View:
        if not hasattr(of_thread, "scratch"):
            of_thread.scratch = Scratch()
        decoded = decode_image(
            EncodedImage(jpeg), of_thread.scratch, lambda hw: rule.jpeg_denominator(hw, scaling)
        )
        calibration = CameraCalibration(WIDTH, HEIGHT, K)
        calibration = shrunk_calibration(calibration, decoded.denominator)
        return _view(
            camera, index, renderer.render(decoded.pixels, calibration), decoded.denominator
        )

    return make_view


def _view(camera: str, index: int, image: npt.NDArray[np.uint8], denominator: int = 1) -> View:
    calibration = shrunk_calibration(CameraCalibration(WIDTH, HEIGHT, K), denominator)
    is_input = image.shape[:2] != (calibration.height_px, calibration.width_px)
    return View(camera, 0, image, calibration, ring_pose(index, 6), is_network_input=is_input)


def prepare(path: Path, jpegs: Jpegs, pool: ThreadPoolExecutor) -> list[Future[View]]:
    """Start to decode the cameras' images."""
    return [
        pool.submit(path.make_view, camera, index, jpeg)
        for index, (camera, jpeg) in enumerate(jpegs.items())
    ]


def one_frame(path: Path, jpegs: Jpegs, pool: ThreadPoolExecutor) -> None:
    """Measure the stages of a frame that has the machine for itself."""
    processor_s, started_s = time.process_time(), time.perf_counter()
    views = tuple(future.result() for future in prepare(path, jpegs, pool))
    prepared_s = time.perf_counter()
    path.detector.detect(Snapshot(0, views))
    path.note("frame", (time.perf_counter() - started_s) * 1e3)
    path.note("processor", (time.process_time() - processor_s) * 1e3)
    path.note("images", (prepared_s - started_s) * 1e3)
    for stage in NETWORK_STAGES:
        path.note(stage, path.detector.durations_ns[stage] / 1e6)


def two_frames(path: Path, jpegs: Jpegs, pool: ThreadPoolExecutor) -> None:
    """Measure the second of two frames, whose images are prepared while the first one runs."""
    first = tuple(future.result() for future in prepare(path, jpegs, pool))
    started_s = time.perf_counter()
    second = prepare(path, jpegs, pool)
    path.detector.detect(Snapshot(0, first))
    for future in second:
        future.result()
    path.note("period", (time.perf_counter() - started_s) * 1e3)
