# SPDX-License-Identifier: Apache-2.0
"""Every way from six JPEGs to boxes on this CPU, in turn in one process, beside the textbook's.

The textbook decodes at full size, runs the network in eager PyTorch and lifts by outer product.
`frame` is one frame after the other. `period` is the time a frame takes while the images of the
next one are prepared, as in the node. `processor` is the time of all threads together: on a busy
machine it says more than the other two, and on N cores no period is shorter than an Nth of it.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.bench_detector import HEIGHT, WIDTH, K, jpeg_image, ring_pose
from benchmarks.textbook import TextbookStudent
from simdistill_ros.command_line.parser import command_parser
from simdistill_ros.core.backends.base import Backend, BackendError, HeadMaps
from simdistill_ros.core.backends.choose import FP32, INT8, backends, choose_backend
from simdistill_ros.core.camera import CameraCalibration, shrunk_calibration
from simdistill_ros.core.detector import Detector
from simdistill_ros.core.golden import max_map_error
from simdistill_ros.core.images import EncodedImage, Scratch, decode_image, decode_jpeg_png
from simdistill_ros.core.lift_geometry import PoolingTables
from simdistill_ros.core.model_card import ModelCard, ModelCardError, load_model_card
from simdistill_ros.core.network.build import load_student
from simdistill_ros.core.network.view_transform import batch_tables
from simdistill_ros.core.preprocess import InputRule, ViewRenderer
from simdistill_ros.core.snapshot import Snapshot, View
from simdistill_ros.resources import model_folder

TEXTBOOK = "textbook"
WARM_UP = 2
NetworkStages = ("preprocess", "inference", "decode")
MakeView = Callable[[str, int, bytes], View]


class TextbookBackend:
    """The card's network as a tutorial would run it: eager, norms not folded, outer product."""

    def __init__(self, card: ModelCard) -> None:
        """Build the network."""
        self._student = load_student(card).eval()
        self._mean = torch.tensor(card.image.mean).view(1, 3, 1, 1)
        self._std = torch.tensor(card.image.std).view(1, 3, 1, 1)
        self._network: tuple[PoolingTables, TextbookStudent] | None = None

    @property
    def description(self) -> str:
        """What runs where."""
        return f"torch {torch.__version__}, textbook"

    @torch.inference_mode()
    def infer(self, images: npt.NDArray[np.uint8], tables: PoolingTables) -> HeadMaps:
        """Run the network on one snapshot; see `Backend.infer`."""
        if self._network is None or self._network[0] is not tables:
            self._network = (tables, TextbookStudent(self._student, batch_tables([tables])))
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255.0
        heads = self._network[1](((pixels - self._mean) / self._std)[None])
        return [{name: maps[0].numpy() for name, maps in task.items()} for task in heads]

    def close(self) -> None:
        """Release nothing."""


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

    def note(self, stage: str, milliseconds: float) -> None:
        """Keep one measured time."""
        self.times_ms.setdefault(stage, []).append(milliseconds)

    def median_ms(self, stage: str) -> float:
        """Return the median of a stage, warm-up left out."""
        return float(np.median(self.times_ms[stage][WARM_UP:]))


def bench_paths(model: str, rounds: int, threads: int) -> dict[str, Any]:
    """Return medians of every path's stages, and how they compare with the textbook's."""
    card = load_model_card(model_folder(model))
    refused: list[str] = []
    paths = _paths(card, refused)
    jpegs = {camera: jpeg_image(index) for index, camera in enumerate(paths[0].detector.cameras)}
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(WARM_UP + rounds):
            for path in paths:
                _one_frame(path, jpegs, pool)
                _two_frames(path, jpegs, pool)
    return {
        "what": paths[0].detector.description.split(",")[0],
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "jpeg_kB": round(sum(map(len, jpegs.values())) / len(jpegs) / 1000),
        "keeps_freed_memory": "MALLOC_MMAP_THRESHOLD_" in os.environ,
        "refused": refused,
        "paths": [_row(path, paths[0]) for path in paths],
    }


def _paths(card: ModelCard, refused: list[str]) -> list[Path]:
    """Return the textbook's path and those of the backends that pass their self-test here."""
    textbook = TextbookBackend(card)
    paths = [Path(TEXTBOOK, Detector(card, textbook), _full_size)]
    rule = InputRule(card.image.input_hw, card.image.resized_width_px, card.image.resize_kernel)
    for precision in (FP32, INT8):
        for name in backends("cpu"):
            try:
                choice = choose_backend(card, name, precision=precision)
            except (BackendError, ModelCardError, ValueError) as error:
                refused.append(f"{name} {precision}: {error}")
                continue
            if precision == FP32:
                _check_same_network(card, textbook, choice.backend)
            detector = Detector(card, choice.backend)
            for scaling in ("exact", "near"):
                label = f"{name} {precision}, JPEG {scaling}"
                paths.append(Path(label, detector, _scaled(rule, scaling)))
    return paths


def _check_same_network(card: ModelCard, textbook: Backend, backend: Backend) -> None:
    """Refuse to compare networks that do not give the same maps.

    Raises:
        BackendError: If a map differs by more than rounding.
    """
    shape = (len(card.cameras), *card.image.input_hw, 3)
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    poses = np.stack([ring_pose(index, len(card.cameras)) for index in range(len(card.cameras))])
    focal_px = card.image.resized_width_px * K[0, 0] / WIDTH
    height, width = card.image.input_hw
    pinhole = np.array([[focal_px, 0, width / 2], [0, focal_px, height / 2], [0, 0, 1]])
    tables = card.pooling_tables(poses, np.stack([pinhole] * len(poses)))
    error, name = max_map_error(textbook.infer(images, tables), backend.infer(images, tables))
    if not error < 1e-3:
        raise BackendError(f"{backend.description}: {name} differs by {error:.2g} from textbook's")


def _view(camera: str, index: int, image: npt.NDArray[np.uint8], denominator: int = 1) -> View:
    calibration = shrunk_calibration(CameraCalibration(WIDTH, HEIGHT, K), denominator)
    is_input = image.shape[:2] != (calibration.height_px, calibration.width_px)
    return View(camera, 0, image, calibration, ring_pose(index, 6), is_network_input=is_input)


def _full_size(camera: str, index: int, jpeg: bytes) -> View:
    return _view(camera, index, decode_jpeg_png(jpeg))


def _scaled(rule: InputRule, scaling: str) -> MakeView:
    """Return what makes a view as the node does: decoded and rendered when the image arrives."""
    renderer = ViewRenderer(rule)

    def make_view(camera: str, index: int, jpeg: bytes) -> View:
        decoded = decode_image(
            EncodedImage(jpeg), Scratch(), lambda hw: rule.jpeg_denominator(hw, scaling)
        )
        calibration = CameraCalibration(WIDTH, HEIGHT, K)
        calibration = shrunk_calibration(calibration, decoded.denominator)
        return _view(
            camera, index, renderer.render(decoded.pixels, calibration), decoded.denominator
        )

    return make_view


def _prepare(path: Path, jpegs: dict[str, bytes], pool: ThreadPoolExecutor) -> list[Future[View]]:
    return [
        pool.submit(path.make_view, camera, index, jpeg)
        for index, (camera, jpeg) in enumerate(jpegs.items())
    ]


def _one_frame(path: Path, jpegs: dict[str, bytes], pool: ThreadPoolExecutor) -> None:
    """Measure the stages of a frame that has the machine for itself."""
    processor_s, started_s = time.process_time(), time.perf_counter()
    views = tuple(future.result() for future in _prepare(path, jpegs, pool))
    prepared_s = time.perf_counter()
    path.detector.detect(Snapshot(0, views))
    path.note("frame", (time.perf_counter() - started_s) * 1e3)
    path.note("processor", (time.process_time() - processor_s) * 1e3)
    path.note("images", (prepared_s - started_s) * 1e3)
    for stage in NetworkStages:
        path.note(stage, path.detector.durations_ns[stage] / 1e6)


def _two_frames(path: Path, jpegs: dict[str, bytes], pool: ThreadPoolExecutor) -> None:
    """Measure the second of two frames, whose images are prepared while the first one runs."""
    first = tuple(future.result() for future in _prepare(path, jpegs, pool))
    started_s = time.perf_counter()
    second = _prepare(path, jpegs, pool)
    path.detector.detect(Snapshot(0, first))
    for future in second:
        future.result()
    path.note("period", (time.perf_counter() - started_s) * 1e3)


def _row(path: Path, textbook: Path) -> dict[str, Any]:
    stages = ("images", *NetworkStages, "frame", "period", "processor")
    row: dict[str, Any] = {"path": path.name}
    row |= {f"{stage} ms": round(path.median_ms(stage), 1) for stage in stages}
    row["frame min ms"] = round(min(path.times_ms["frame"][WARM_UP:]), 1)
    for stage in ("frame", "period", "processor"):
        ratio = textbook.median_ms(stage) / path.median_ms(stage)
        row[f"{stage}, times faster"] = round(ratio, 2)
    return row


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of `python -m benchmarks detector`."""
    name = "python -m benchmarks detector"
    examples = [(f"{name} --model out/package --no-save", "an exported package")]
    parser = command_parser(name, __doc__, examples, completes=False)
    parser.add_argument("--model", default="tiny", help="model or package (default: tiny)")
    parser.add_argument("--rounds", type=int, default=25, help="frames of each path (default: 25)")
    parser.add_argument("--threads", type=int, default=2, help="decoding threads (default: 2)")
    parser.add_argument("--no-save", action="store_true", help="only print the numbers")
    return parser
