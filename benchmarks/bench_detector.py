# SPDX-License-Identifier: Apache-2.0
"""Milliseconds per stage of a model: six 1600x900 JPEGs in, boxes out, no ROS."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np
import simplejpeg

from benchmarks.machine import percentiles
from simdistill_ros.core.camera import CameraCalibration
from simdistill_ros.core.frames import FloatArray, rigid, rotation_about_z
from simdistill_ros.core.images import decode_jpeg_png
from simdistill_ros.core.snapshot import Snapshot, View
from simdistill_ros.load_detector import detector_of_model

HEIGHT, WIDTH = 900, 1600
K = np.array([[1260.0, 0.0, 800.0], [0.0, 1260.0, 450.0], [0.0, 0.0, 1.0]])
CAM_FROM_EGO_AXES = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


# Noise in grey levels, quality and chroma subsampling of a JPEG. `jpeg` is as large as those of
# nuScenes and takes as long to decode: 139 kB of 4:2:0 each (mean of 486), 2.7 ms. `jpeg_444`
# is as large, but has its colours at full size and takes 3.3 ms. 293 kB are what a camera sends
# that compresses little.
JPEGS = {"jpeg": (9, 76, "420"), "jpeg_444": (5, 75, "444"), "heavy": (8, 85, "444")}


def jpeg_image(seed: int, kind: str = "jpeg") -> bytes:
    """Return a JPEG with the detail of a photograph: smooth shapes under fine noise.

    Args:
        seed: What it shows.
        kind: Key of `JPEGS`.
    """
    noise, quality, subsampling = JPEGS[kind]
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (9, 16, 3), np.uint8)
    image = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC).astype(np.int16)
    image += generator.integers(-noise, noise + 1, image.shape, np.int16)
    pixels = np.clip(image, 0, 255).astype(np.uint8)
    return bytes(simplejpeg.encode_jpeg(pixels, quality=quality, colorsubsampling=subsampling))


def snapshot_of(jpegs: dict[str, bytes], pool: ThreadPoolExecutor) -> Snapshot:
    """Return a snapshot of a ring of cameras, images decoded."""
    images = dict(zip(jpegs, pool.map(decode_jpeg_png, jpegs.values()), strict=True))
    views = []
    for index, (camera, image) in enumerate(images.items()):
        calibration = CameraCalibration(WIDTH, HEIGHT, K)
        views.append(View(camera, 0, image, calibration, ring_pose(index, len(jpegs))))
    return Snapshot(0, tuple(views))


def ring_pose(index: int, count: int) -> FloatArray:
    """Return ego_from_cam (4, 4) of one of `count` cameras in a ring."""
    rotation = rotation_about_z(2 * np.pi * index / count) @ CAM_FROM_EGO_AXES
    return rigid(rotation, [1.0, 0.0, 1.5])


def bench_detector(model: str, rounds: int, threads: int, backend: str = "auto") -> dict[str, Any]:
    """Return percentiles of each stage's milliseconds."""
    detector = detector_of_model(model, backend=backend)
    jpegs = {camera: jpeg_image(index) for index, camera in enumerate(detector.cameras)}
    stages: dict[str, list[float]] = {}
    with ThreadPoolExecutor(threads) as pool:
        for number in range(rounds + 3):
            start_ns = time.perf_counter_ns()
            snapshot = snapshot_of(jpegs, pool)
            decoded_ns = time.perf_counter_ns()
            detector.detect(snapshot)
            total_ns = time.perf_counter_ns() - start_ns
            if number < 3:  # warm-up
                continue
            durations = {"decode_jpeg": decoded_ns - start_ns, **detector.durations_ns}
            for stage, duration_ns in {**durations, "total": total_ns}.items():
                stages.setdefault(stage, []).append(duration_ns / 1e6)
    kilobytes = sum(map(len, jpegs.values())) / len(jpegs) / 1000
    return {
        "what": detector.description,
        "jpeg_kB": round(kilobytes),
        "stages_ms": {stage: percentiles(values) for stage, values in stages.items()},
    }
