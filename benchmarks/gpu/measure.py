# SPDX-License-Identifier: Apache-2.0
"""Milliseconds of a model on a device: each stage, whole frames, the textbook form, the limits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks.gpu.checks import branch_of
from benchmarks.gpu.limits import network_flop, pooling_bytes
from benchmarks.gpu.scene import pictures, ring_tables
from benchmarks.gpu.timing import graphed, timed_ms, walled_ms
from benchmarks.machine import percentiles
from benchmarks.textbook import TextbookStudent
from simdistill_ros.core.backends.torch_backend import DTYPES, TorchFrameBackend
from simdistill_ros.core.device.decode import DeviceDecoder, logit
from simdistill_ros.core.device.frame import DeviceFrame
from simdistill_ros.core.lift_geometry import PoolingTables
from simdistill_ros.core.model_card import ModelCard
from simdistill_ros.core.network.bev_pooling import pool_rows_of_two, triton_form
from simdistill_ros.core.network.build import load_student
from simdistill_ros.core.network.view_transform import batch_tables


def measure_model(
    card: ModelCard,
    device: torch.device,
    precision: str,
    *,
    image_hw: tuple[int, int],
    rounds: int,
) -> dict[str, Any]:
    """Return the times of one model in one precision.

    `frame` is images on the device to boxes on the host, `frame_with_upload` from images on the
    host; `textbook` is the first with the eager network, the outer product and the same decoder.
    """
    backend = TorchFrameBackend(card, device.type, precision)
    frame = backend.frame_of(image_hw)
    images, tables = pictures(card, image_hw), ring_tables(card, image_hw)
    threshold = card.decode.score_threshold
    frame.load(images, tables, threshold)
    stages = stage_times(frame, device, rounds)
    whole = walled_ms(frame.run, device, rounds)
    uploaded = walled_ms(lambda: frame.detect(images, tables, threshold), device, rounds)
    pixels = frame.stages()[0][1](frame.images)
    textbook = textbook_times(card, device, precision, frame, tables, max(3, rounds // 5))
    result = {
        "model": card.name,
        "precision": precision,
        "stages_ms": {name: percentiles(values) for name, values in stages.items()},
        "frame_ms": percentiles(whole),
        "frame_with_upload_ms": percentiles(uploaded),
        "textbook_ms": percentiles(textbook),
        "speed_up": round(float(np.median(textbook) / np.median(whole)), 2),
        "flop": _flop(card, pixels, tables, device, precision),
    }
    backend.close()
    return result


def stage_times(frame: DeviceFrame, device: torch.device, rounds: int) -> dict[str, list[float]]:
    """Return the milliseconds of each stage as a graph of its own."""
    times: dict[str, list[float]] = {}
    value: Any = frame.images
    with torch.inference_mode():
        for name, stage in frame.stages():

            def run(stage: Callable[[Any], Any] = stage, value: Any = value) -> Any:
                return stage(value)

            times[name] = timed_ms(graphed(run, device), device, rounds)
            value = run()
    return times


@torch.inference_mode()
def textbook_times(
    card: ModelCard,
    device: torch.device,
    precision: str,
    frame: DeviceFrame,
    tables: PoolingTables,
    rounds: int,
) -> list[float]:
    """Return the milliseconds of the same frame in eager PyTorch with the textbook lift."""
    student = load_student(card).eval().to(device, DTYPES[precision])
    textbook = TextbookStudent(student, batch_tables([tables]).to(device))
    decoder = DeviceDecoder(card, device)
    threshold = torch.tensor(logit(card.decode.score_threshold), device=device)
    preprocess = frame.stages()[0][1]

    def run() -> torch.Tensor:
        pixels = preprocess(frame.images).contiguous()
        return decoder.decode(textbook(pixels[None]), threshold)[1].cpu()

    return walled_ms(run, device, rounds)


def measure_pooling(
    card: ModelCard,
    device: torch.device,
    dtype: torch.dtype,
    *,
    image_hw: tuple[int, int],
    rounds: int,
    copy_bytes_per_s: float,
) -> dict[str, Any]:
    """Return the time of pooling both branches, each way to cut it up, against the copy limit."""
    tensors = batch_tables([ring_tables(card, image_hw)]).to(device).tensors()
    branches = (branch_of(card, device, dtype, 0), branch_of(card, device, dtype, 1))
    cells, entries = len(tensors[2]) - 1, len(tensors[0])
    context = branches[0][1]
    moved = pooling_bytes(entries, cells, *context.shape, context.element_size())
    limit_ms = 2 * moved / copy_bytes_per_s * 1e3
    forms: dict[str, Callable[[], Any]] = {
        "used": lambda: pool_rows_of_two(branches, *tensors),
        **(_launches(branches, tensors, device) if dtype == torch.float16 else {}),
    }
    with torch.inference_mode():
        times = {
            name: percentiles(timed_ms(graphed(run, device), device, rounds))
            for name, run in forms.items()
        }
    return {
        "model": card.name,
        "type": str(dtype).removeprefix("torch."),
        "entries": entries,
        "bytes_at_least": 2 * moved,
        "limit_ms": round(limit_ms, 4),
        "share_of_copy_bandwidth": round(limit_ms / times["used"]["p50"], 3),
        "forms_ms": times,
    }


def _launches(
    branches: Any, tensors: tuple[torch.Tensor, ...], device: torch.device
) -> dict[str, Callable[[], Any]]:
    """Return the kernel cut up in other ways, to choose the default by."""
    kernel = triton_form() if device.type == "cuda" else None
    if kernel is None:
        return {}

    def with_launch(cells: int, entries: int, warps: int) -> Callable[[], Any]:
        launch = kernel.PoolingLaunch(cells, entries, warps)
        return lambda: kernel.pool_rows_triton(branches, tensors[1], tensors[2], launch)

    return {
        f"{cells} cells, {entries} entries, {warps} warps": with_launch(cells, entries, warps)
        for cells in (1, 4)
        for entries in (8, 16, 32)
        for warps in (1, 2)
    }


def _flop(
    card: ModelCard,
    pixels: torch.Tensor,
    tables: PoolingTables,
    device: torch.device,
    precision: str,
) -> int:
    student = load_student(card).eval().to(device, DTYPES[precision])
    return network_flop(student, pixels[None], batch_tables([tables]).to(device))
