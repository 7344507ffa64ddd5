# SPDX-License-Identifier: Apache-2.0
"""Is what the device computes right? Each check compares it with the CPU's own rules."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from benchmarks.gpu.scene import pictures, ring_tables, rule_of
from simdistill_ros.core.backends.torch_backend import TorchBackend, TorchFrameBackend
from simdistill_ros.core.boxes import Detections
from simdistill_ros.core.decode import decode_head_maps, head_map_channels
from simdistill_ros.core.device.decode import DeviceDecoder, detections_of, is_settled, logit
from simdistill_ros.core.device.resample import DeviceResize
from simdistill_ros.core.lift_geometry import PoolingTables
from simdistill_ros.core.model_card import ModelCard
from simdistill_ros.core.network.bev_pooling import pool_rows_of_two, triton_form
from simdistill_ros.core.network.view_transform import batch_tables
from simdistill_ros.core.preprocess import resize_and_crop

POOLING_LIMITS = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}
MAP_LIMITS = {"fp32": 1e-3, "fp16": 2e-2, "bf16": 1.5e-1}
Check = dict[str, Any]


def check(name: str, error: float, limit: float) -> Check:
    """Return the outcome of a comparison, and print it."""
    passed = bool(error <= limit)
    print(f"  {'ok  ' if passed else 'FAIL'} {name}: {error:.2g} (at most {limit:g})", flush=True)
    return {"name": name, "passed": passed, "error": float(error), "limit": limit}


def check_pooling(card: ModelCard, tables: PoolingTables, device: torch.device) -> list[Check]:
    """Compare both branches with a float64 scatter, in each type, and run them twice."""
    tensors = batch_tables([tables]).to(device).tensors()
    form = "triton" if device.type == "cuda" and triton_form() is not None else "embedding bag"
    checks = []
    for dtype, limit in POOLING_LIMITS.items():
        branches = tuple(branch_of(card, device, dtype, seed) for seed in (0, 1))
        once, again = (pool_rows_of_two(branches, *tensors) for _ in range(2))
        errors = [
            _relative_error(rows, scattered(*branch, *tensors))
            for rows, branch in zip(once, branches, strict=True)
        ]
        label = f"{card.name} pooling ({form}, {str(dtype).removeprefix('torch.')})"
        checks.append(check(f"{label} against float64", max(errors), limit))
        differing = sum(int((a != b).sum()) for a, b in zip(once, again, strict=True))
        checks.append(check(f"{label}, values that differ in a second run", differing, 0))
    return checks


def branch_of(
    card: ModelCard, device: torch.device, dtype: torch.dtype, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return float32 depth (V, D, P) and context (V * P, C) as the image network leaves them."""
    generator = torch.Generator().manual_seed(seed)
    views, bins = len(card.cameras), card.lift.depth.count
    pixels, channels = card.feature_hw[0] * card.feature_hw[1], card.lift.context_channels
    depth = torch.randn(views, pixels, bins, generator=generator).softmax(-1)
    context = torch.randn(views * pixels, bins + channels, generator=generator)[:, bins:]
    wide = torch.empty(views * pixels, bins + channels, dtype=dtype, device=device)
    wide[:, bins:] = context.to(device, dtype)
    return depth.to(device).transpose(1, 2), wide[:, bins:]


def scattered(
    depth: torch.Tensor,
    context: torch.Tensor,
    pixel_index: torch.Tensor,
    depth_index: torch.Tensor,
    cell_offsets: torch.Tensor,
) -> torch.Tensor:
    """Return the sum of every cell in float64, channel by channel."""
    cell = torch.arange(len(cell_offsets) - 1, device=depth.device)
    cell = cell.repeat_interleave(cell_offsets.diff())
    weights = depth.reshape(-1)[depth_index.long()].double()
    rows = torch.zeros(
        len(cell_offsets) - 1, context.shape[1], dtype=torch.float64, device=depth.device
    )
    for channel in range(context.shape[1]):
        values = context[:, channel].double()[pixel_index.long()] * weights
        rows[:, channel].index_add_(0, cell, values)
    return rows


def check_resize(card: ModelCard, device: torch.device, image_hw: tuple[int, int]) -> list[Check]:
    """Compare whole images made network input on the device with the CPU's."""
    images = pictures(card, image_hw)[:2]
    resize = DeviceResize(rule_of(card), image_hw, device)
    stacked = torch.from_numpy(np.stack(images)[:, resize.image_rows].copy())
    ours = resize(stacked.to(device)).cpu().numpy()
    expected = np.stack([resize_and_crop(image, rule_of(card)) for image in images])
    error = np.abs(ours - expected.astype(np.float32)).max()
    return [check(f"{card.name} resize, levels of 255", error, 1)]


def check_decode(card: ModelCard, device: torch.device) -> list[Check]:
    """Compare the boxes of random head maps with those of the numpy decoder."""
    generator = np.random.default_rng(0)
    maps = []
    for task in card.tasks:
        channels = head_map_channels(len(task.classes))
        shapes = {name: (count, *card.head_shape_xy) for name, count in channels.items()}
        maps.append(
            {n: generator.normal(0, 0.5, shape).astype(np.float32) for n, shape in shapes.items()}
        )
        maps[-1]["heatmap"] = maps[-1]["heatmap"] * 4 - 4
    heads = [{n: torch.from_numpy(m)[None].to(device) for n, m in task.items()} for task in maps]
    decoder = DeviceDecoder(card, device)
    threshold = torch.tensor(logit(card.decode.score_threshold), device=device)
    candidates, packed = decoder.decode(heads, threshold)
    packed = packed if is_settled(packed.cpu()) else decoder.settled(candidates)
    boxes = detections_of(packed.cpu(), card, 0)
    return [check(f"{card.name} decode, metres", box_error(boxes, decode_head_maps(
        maps, card, stamp_ns=0)), 1e-3)]  # fmt: skip


def check_frame(
    card: ModelCard, device: torch.device, image_hw: tuple[int, int], precision: str
) -> list[Check]:
    """Compare head maps with the CPU's, and a replayed frame with the steps one by one."""
    backend = TorchFrameBackend(card, device.type, precision)
    images = pictures(card, image_hw)
    inputs = np.stack([resize_and_crop(image, rule_of(card)) for image in images])
    tables = [ring_tables(card, image_hw, turn) for turn in (0.0, 0.3)]
    expected = TorchBackend(card, "cpu").infer(inputs, tables[0])
    actual = backend.infer(inputs, tables[0])
    errors = [
        np.abs(task[name] - ours[name]).max() / max(1.0, np.abs(task[name]).max())
        for task, ours in zip(expected, actual, strict=True)
        for name in task
    ]
    label = f"{card.name} {precision}"
    checks = [
        check(f"{label} head maps against the CPU's fp32", max(errors), MAP_LIMITS[precision])
    ]
    graphs = []
    for turned in (*tables, tables[0]):
        boxes = backend.detect_frame(images, turned, 0.0)
        steps = decode_head_maps(
            backend.infer(inputs, turned), card, stamp_ns=0, score_threshold=0.0
        )
        gap = np.abs(boxes.scores[:20] - steps.scores[:20]).max()
        checks.append(check(f"{label} scores of a replayed frame", gap, MAP_LIMITS[precision]))
        graphs.append(id(backend.frame_of(image_hw).graph))
    if device.type == "cuda" and triton_form() is not None:
        checks.append(check(f"{label} graphs captured anew", len(set(graphs)) - 1, 0))
    backend.close()
    return checks


def box_error(boxes: Detections, expected: Detections) -> float:
    """Return the largest difference of any number of the boxes; infinite for other boxes."""
    if len(boxes) != len(expected) or (boxes.labels != expected.labels).any():
        return float("inf")
    fields = ("centers_m", "sizes_lwh_m", "yaws_rad", "velocities_mps", "scores")
    gaps = [np.abs(getattr(boxes, f) - getattr(expected, f)).max(initial=0.0) for f in fields]
    return float(max(gaps))


def _relative_error(rows: torch.Tensor, expected: torch.Tensor) -> float:
    scale = max(1.0, float(expected.abs().max()))
    return float((rows.double() - expected).abs().max()) / scale
