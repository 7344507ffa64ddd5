# SPDX-License-Identifier: Apache-2.0
"""BEV pooling on the CPU at the paper's size: ours against the forms that others use.

Six cameras, 32 x 88 features, 118 depths, 80 channels, 360 x 360 cells; float32. The forms take
turns in one process, because a shared machine is never equally busy twice. Two loops are compiled
for the processor at hand: what a compiler on the vehicle, or a binary a platform, would gain.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch

from benchmarks.gpu.cards import card_of
from benchmarks.gpu.scene import IMAGE_HW, ring_tables
from benchmarks.machine import percentiles
from benchmarks.pooling_compiled import Form, Missing, cpp_form, numba_form
from benchmarks.textbook import cell_of_entry, outer_product_rows
from simdistill_ros.core.lift_geometry import PoolingTables
from simdistill_ros.core.network.bev_pooling import pool_rows
from simdistill_ros.core.network.view_transform import batch_tables

MODEL = "swint-256x704"


def bench_pooling(rounds: int) -> dict[str, Any]:
    """Return percentiles of each form's milliseconds, one branch, and how much slower each is."""
    card = card_of(MODEL)
    tables = ring_tables(card, IMAGE_HW)
    views, bins = len(card.cameras), card.lift.depth.count
    pixels, channels = card.feature_hw[0] * card.feature_hw[1], card.lift.context_channels
    torch.manual_seed(0)
    depth = torch.randn(views, bins, pixels).softmax(1)
    context = torch.randn(views * pixels, channels)
    times: dict[str, list[float]] = {}
    with torch.inference_mode():
        forms, absent = pooling_forms(depth, context, tables)
        expected = forms["ours (embedding bag)"]()
        for name, form in forms.items():
            torch.testing.assert_close(form(), expected, atol=1e-4, rtol=1e-4, msg=name)
        for _ in range(rounds):
            for name, form in forms.items():
                start_ns = time.perf_counter_ns()
                form()
                times.setdefault(name, []).append((time.perf_counter_ns() - start_ns) / 1e6)
    ours_ms = float(np.median(times["ours (embedding bag)"]))
    return {
        "what": f"six cameras, {card.feature_hw[0]}x{card.feature_hw[1]}, D={bins}, C={channels}, "
        f"{card.bev.grid.shape_xy[0]}x{card.bev.grid.shape_xy[1]} cells, float32, one branch, "
        f"{torch.get_num_threads()} threads",
        "points": len(tables.depth_index),
        "absent": absent,
        "stages_ms": {name: percentiles(values) for name, values in times.items()},
        "times_ours": {name: round(float(np.median(v)) / ours_ms, 2) for name, v in times.items()},
    }


def pooling_forms(
    depth: torch.Tensor, context: torch.Tensor, tables: PoolingTables
) -> tuple[dict[str, Form], dict[str, str]]:
    """Return ways to pool depth (V, D, P) and context (V * P, C), and why others are absent."""
    tensors = batch_tables([tables]).tensors()
    cells = len(tables.cell_offsets) - 1
    index, cell = tensors[1].long(), cell_of_entry(tensors[2])
    sparse = _sparse_form(depth, context, tensors)
    forms: dict[str, Form] = {
        "ours (embedding bag)": lambda: pool_rows(depth, context, *tensors),
        "torch sparse CSR, int32": sparse,
        "index_add, one depth at a time": _per_depth_form(depth, context, tensors),
        "outer product, index_add": lambda: outer_product_rows(depth, context, index, cell, cells),
    }
    absent: dict[str, str] = {}
    for name, make_form in OPTIONAL.items():
        try:
            forms[name] = make_form(depth, context, tensors)
        except Missing as error:
            absent[name] = str(error)
    return forms, absent


def _sparse_form(
    depth: torch.Tensor, context: torch.Tensor, tensors: tuple[torch.Tensor, ...]
) -> Form:
    pixel_index, depth_index, cell_offsets = tensors

    def pool() -> torch.Tensor:
        weights = depth.reshape(-1).index_select(0, depth_index)
        shape = (len(cell_offsets) - 1, len(context))
        return (
            torch.sparse_csr_tensor(
                cell_offsets, pixel_index, weights, shape, check_invariants=False
            )
            @ context
        )

    return pool


def _per_depth_form(
    depth: torch.Tensor, context: torch.Tensor, tensors: tuple[torch.Tensor, ...]
) -> Form:
    """Add the product of one depth at a time; points outside go into a row that is cut off."""
    cells = len(tensors[2]) - 1
    cell_of_point = torch.full((depth.numel(),), cells)
    cell_of_point[tensors[1].long()] = cell_of_entry(tensors[2])
    cell_of_point = cell_of_point.view(depth.shape)

    def pool() -> torch.Tensor:
        rows = context.new_zeros(cells + 1, context.shape[1])
        for bin_index in range(depth.shape[1]):
            weighted = context * depth[:, bin_index].reshape(-1, 1)
            rows.index_add_(0, cell_of_point[:, bin_index].reshape(-1), weighted)
        return rows[:-1]

    return pool


def _scipy_form(
    depth: torch.Tensor, context: torch.Tensor, tensors: tuple[torch.Tensor, ...]
) -> Form:
    try:
        from scipy.sparse import csr_matrix
    except ImportError as error:
        raise Missing("scipy is not installed: pip install scipy") from error
    pixel_index, depth_index, cell_offsets = (tensor.numpy() for tensor in tensors)

    def pool() -> torch.Tensor:
        weights = depth.numpy().reshape(-1)[depth_index]
        shape = (len(cell_offsets) - 1, len(context))
        matrix = csr_matrix((weights, pixel_index, cell_offsets), shape=shape)
        return torch.from_numpy(matrix @ context.numpy())

    return pool


# Forms of libraries that the product does not have.
OPTIONAL = {
    "scipy CSR, one thread": _scipy_form,
    "numba, a loop over cells": numba_form,
    "C++, a loop over cells": cpp_form,
}
