# SPDX-License-Identifier: Apache-2.0
"""Every way from six JPEGs to boxes on this CPU, in turn, beside the textbook's.

The textbook decodes at full size, runs the network in eager PyTorch and lifts by outer product. The
one that ours is compared with runs in a process whose environment sets nothing, because the
allocator's settings are one of our measures; the same in our own process is a row of its own.
`frame` is one frame after the other. `period` is the time a frame takes while the images of the
next one are prepared, as in the node. `processor` is the time of all threads together: on a busy
machine it says more than the other two, and on N cores no period is shorter than an Nth of it.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path as FilePath
from typing import Any

import numpy as np
import torch

from benchmarks.bench_detector import WIDTH, K, ring_pose
from benchmarks.frame_times import STAGES, WARM_UP, Path, camera_jpegs, scaled
from benchmarks.speed_package import exported_for_speed, int8_for_speed
from benchmarks.textbook_detector import TextbookBackend, TextbookProcess, textbook_path
from simdistill_ros.command_line.parser import command_parser
from simdistill_ros.core.backends.base import Backend, BackendError
from simdistill_ros.core.backends.choose import FP32, backends
from simdistill_ros.core.backends.onnxruntime_backend import OnnxRuntimeBackend
from simdistill_ros.core.detector import Detector
from simdistill_ros.core.map_errors import max_map_error
from simdistill_ros.core.model_card import ModelCard, ModelCardError, load_model_card
from simdistill_ros.core.preprocess import InputRule
from simdistill_ros.resources import model_folder

SCALINGS = ("exact", "near")
MOST_MAP_ERROR = 1e-3


def bench_paths(model: str, rounds: int, threads: int) -> dict[str, Any]:
    """Return medians of every path's stages, and how they compare with the textbook's."""
    card = load_model_card(model_folder(model))
    refused: list[str] = []
    eager = TextbookBackend(card)
    own = textbook_path("textbook, launchers' environment", card, eager)
    jpegs = camera_jpegs(own.detector)
    textbook = TextbookProcess("textbook", model, threads)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(threads) as pool:
        paths = [own, *_paths(card, FilePath(folder), eager, refused)]
        for _ in range(WARM_UP + rounds):
            textbook.round()
            for path in paths:
                path.round(jpegs, pool)
    textbook.close()
    measured = {"textbook": textbook.times_ms, **{path.name: path.times_ms for path in paths}}
    return {
        "what": own.detector.description.split(",")[0],
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "jpeg_kB": round(sum(map(len, jpegs.values())) / len(jpegs) / 1000),
        "keeps_freed_memory": "MALLOC_MMAP_THRESHOLD_" in os.environ,
        "refused": refused,
        "paths": [_row(name, times, textbook.times_ms) for name, times in measured.items()],
    }


def _paths(card: ModelCard, folder: FilePath, textbook: Backend, refused: list[str]) -> list[Path]:
    """Return the paths of the backends that run here, in single precision and in 8 bits."""
    exported = exported_for_speed(card, folder / "float")
    made: dict[str, Backend] = {}
    for name, factory in backends("cpu").items():
        try:
            made[f"{name} {FP32}"] = factory(exported, "cpu")
        except (BackendError, ModelCardError) as error:
            refused.append(f"{name} {FP32}: {error}")
            continue
        _check_same_network(card, textbook, made[f"{name} {FP32}"])
    label = "int8" if card.int8 is not None else "int8 (made for speed, not scored)"
    made[f"onnxruntime {label}"] = OnnxRuntimeBackend(int8_for_speed(exported, folder / "int8"))
    rule = InputRule(card.image.input_hw, card.image.resized_width_px, card.image.resize_kernel)
    return [
        Path(f"{name}, JPEG {scaling}", Detector(card, backend), scaled(rule, scaling))
        for name, backend in made.items()
        for scaling in SCALINGS
    ]


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
    expected = textbook.infer(images, tables)
    error, name = max_map_error(expected, backend.infer(images, tables))
    if not error < MOST_MAP_ERROR:
        raise BackendError(f"{backend.description}: {name} differs by {error:.2g} from textbook's")


def _row(
    name: str, times_ms: dict[str, list[float]], textbook: dict[str, list[float]]
) -> dict[str, Any]:
    row: dict[str, Any] = {"path": name}
    row |= {f"{stage} ms": round(_median(times_ms, stage), 1) for stage in STAGES}
    row["frame min ms"] = round(min(times_ms["frame"][WARM_UP:]), 1)
    for stage in ("frame", "period", "processor"):
        row[f"{stage}, times faster"] = round(
            _median(textbook, stage) / _median(times_ms, stage), 2
        )
    return row


def _median(times_ms: dict[str, list[float]], stage: str) -> float:
    """Return the median of a stage, warm-up left out."""
    return float(np.median(times_ms[stage][WARM_UP:]))


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of `python -m benchmarks detector`."""
    name = "python -m benchmarks detector"
    examples = [
        (name, "the shipped tiny, exported and quantised here"),
        (f"{name} --model out/package --no-save", "an exported package"),
    ]
    parser = command_parser(name, __doc__, examples, completes=False)
    parser.add_argument("--model", default="tiny", help="model or package (default: tiny)")
    parser.add_argument("--rounds", type=int, default=25, help="frames of each path (default: 25)")
    parser.add_argument("--threads", type=int, default=2, help="decoding threads (default: 2)")
    parser.add_argument("--no-save", action="store_true", help="only print the numbers")
    return parser
