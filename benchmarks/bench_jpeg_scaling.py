# SPDX-License-Identifier: Apache-2.0
"""What decoding JPEGs at a fraction of their size saves, and what it changes.

Time: processor time to decode and resize one image, the scalings in turn. Change: network inputs
against those of full decoding, in grey levels of 255, and the head maps that a network makes of
them.
"""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.bench_detector import K
from simdistill_ros.core.backends.choose import AUTO, choose_backend
from simdistill_ros.core.camera import CameraCalibration, shrunk_calibration
from simdistill_ros.core.frames import rigid, rotation_about_z
from simdistill_ros.core.images import EncodedImage, Scratch, decode_image
from simdistill_ros.core.model_card import ModelCard, load_model_card
from simdistill_ros.core.preprocess import (
    JPEG_SCALINGS,
    InputRule,
    ViewRenderer,
    input_from_cam,
)
from simdistill_ros.resources import model_folder

CAM_FROM_EGO_AXES = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


def bench_jpeg_scaling(images: Path, model: str, snapshots: int) -> dict[str, Any]:
    """Return a row for each scaling.

    Args:
        images: Folder with one folder of JPEGs a camera, as nuScenes' `samples`.
        model: Model whose input and network are used.
        snapshots: Sets of images that are compared.

    Raises:
        FileNotFoundError: If a camera's folder has no JPEG.
    """
    card = load_model_card(model_folder(model))
    rule = InputRule(card.image.input_hw, card.image.resized_width_px, card.image.resize_kernel)
    backend = choose_backend(card, AUTO, "cpu").backend
    inputs: dict[str, list[npt.NDArray[np.uint8]]] = {scaling: [] for scaling in JPEG_SCALINGS}
    times_ms: dict[str, list[float]] = {scaling: [] for scaling in JPEG_SCALINGS}
    matrices: dict[str, npt.NDArray[np.float64]] = {}
    renderer, scratch = ViewRenderer(rule), Scratch()
    for jpegs in _snapshots(images, card, snapshots):
        for scaling in JPEG_SCALINGS:
            pixels = []
            for jpeg in jpegs:
                start_ns = time.thread_time_ns()
                decoded = decode_image(
                    EncodedImage(jpeg), scratch, lambda hw, s=scaling: rule.jpeg_denominator(hw, s)
                )
                height, width = decoded.full_hw
                full = CameraCalibration(width, height, K)
                calibration = shrunk_calibration(full, decoded.denominator)
                pixels.append(renderer.render(decoded.pixels, calibration).copy())
                times_ms[scaling].append((time.thread_time_ns() - start_ns) / 1e6)
                matrices[scaling] = input_from_cam(rule, calibration)
            inputs[scaling].append(np.stack(pixels))
    maps = {
        scaling: [_head_maps(card, backend, pixels, matrices[scaling]) for pixels in own]
        for scaling, own in inputs.items()
    }
    backend.close()
    return {
        "what": f"{card.name}: {rule.resized_width_px} px wide from {width}x{height}",
        "images": len(times_ms["exact"]),
        "rows": [
            _row(scaling, inputs, maps, median(times_ms[scaling])) for scaling in JPEG_SCALINGS
        ],
    }


def _snapshots(folder: Path, card: ModelCard, number: int) -> list[list[bytes]]:
    """Return sets of JPEGs, evenly over each camera's folder."""
    chosen = []
    for camera in card.cameras:
        files = sorted((folder / camera.upper()).glob("*.jpg"))
        if not files:
            raise FileNotFoundError(f"expected JPEGs in {folder / camera.upper()}, found none")
        at = np.linspace(0, len(files) - 1, number).round().astype(int)
        chosen.append([files[index].read_bytes() for index in at])
    return [list(jpegs) for jpegs in zip(*chosen, strict=True)]


def _head_maps(
    card: ModelCard,
    backend: Any,
    images: npt.NDArray[np.uint8],
    matrix: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """Return all head maps of a ring of cameras as one vector."""
    count = len(card.cameras)
    poses = np.stack(
        [
            rigid(rotation_about_z(2 * np.pi * n / count) @ CAM_FROM_EGO_AXES, [1.0, 0.0, 1.5])
            for n in range(count)
        ]
    )
    tables = card.pooling_tables(poses, np.repeat(matrix[None], count, axis=0))
    tasks = backend.infer(images, tables)
    return np.concatenate([values.ravel() for task in tasks for values in task.values()])


def _row(scaling: str, inputs: Any, maps: Any, milliseconds: float) -> dict[str, Any]:
    differences = [
        np.abs(own.astype(int) - full)
        for own, full in zip(inputs[scaling], inputs["exact"], strict=True)
    ]
    errors = [
        float(np.abs(own - full).max() / np.abs(full).max())
        for own, full in zip(maps[scaling], maps["exact"], strict=True)
    ]
    return {
        "scaling": scaling,
        "ms per image": round(milliseconds, 2),
        "largest difference": int(max(d.max() for d in differences)),
        "mean difference": round(float(np.mean([d.mean() for d in differences])), 3),
        "head map error": round(max(errors), 5),
    }
