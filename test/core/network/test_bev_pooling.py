# SPDX-License-Identifier: Apache-2.0
"""Both forms of the pooling sum, and its backward, against a float64 scatter."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from simdistill_ros.core.network.bev_pooling import (
    pool_rows,
    pool_rows_of_two,
    pool_rows_portable,
)

ROOT = Path(__file__).resolve().parents[3]
# Relative rounding of a stored result; sums are float32 in every form.
ROUNDING = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}


@dataclass(frozen=True)
class Case:
    """A rig: some points of (views, bins, pixels), each in at most one cell."""

    depth: torch.Tensor
    context: torch.Tensor
    pixel_index: torch.Tensor
    depth_index: torch.Tensor
    cell_offsets: torch.Tensor

    @property
    def tables(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return self.pixel_index, self.depth_index, self.cell_offsets

    def scattered(self) -> torch.Tensor:
        """Add every point's product to its cell, in float64."""
        counts = (self.cell_offsets[1:] - self.cell_offsets[:-1]).long()
        cell = torch.arange(len(counts)).repeat_interleave(counts)
        points = self.depth_index.long()
        products = (
            self.depth.double().flatten()[points, None]
            * self.context.double()[self.pixel_index.long()]
        )
        rows = torch.zeros(len(counts), self.context.shape[1], dtype=torch.float64)
        return rows.index_add_(0, cell, products)


def make_case(
    views: int,
    bins: int,
    pixels: int,
    cells: int,
    channels: int,
    *,
    seen: float,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> Case:
    """Return a rig in which each point has a cell with probability `seen`."""
    generator = np.random.default_rng(seed)
    cell_of_point = generator.integers(0, cells, views * bins * pixels)
    # Half of the cells get nothing, so that empty ones lie before, between and behind others.
    is_pooled = (generator.random(cell_of_point.size) < seen) & (cell_of_point % 2 == seed % 2)
    points = np.flatnonzero(is_pooled)
    points = points[np.argsort(cell_of_point[points], kind="stable")]
    counts = np.bincount(cell_of_point[points], minlength=cells)
    pixel = points // (bins * pixels) * pixels + points % pixels
    torch.manual_seed(seed)
    return Case(
        depth=torch.rand(views, bins, pixels).softmax(1).to(dtype),
        context=torch.randn(views * pixels, channels).to(dtype),
        pixel_index=torch.from_numpy(pixel.astype(np.int32)),
        depth_index=torch.from_numpy(points.astype(np.int32)),
        cell_offsets=torch.from_numpy(np.concatenate([[0], counts.cumsum()]).astype(np.int32)),
    )


@pytest.fixture(scope="module")
def kernel():
    """Return the module of the Triton kernel; without a GPU Triton's interpreter runs it."""
    pytest.importorskip("triton", reason="Triton is not installed: pip install triton")
    from simdistill_ros.core.network import bev_pooling_triton

    return bev_pooling_triton


def pooled_by(kernel, case: Case, launch=None) -> torch.Tensor:
    """Pool one branch where the kernel can run."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    moved = [t.to(device) for t in (case.depth, case.context, case.depth_index, case.cell_offsets)]
    (pooled,) = kernel.pool_rows_triton(
        ((moved[0], moved[1]),), *moved[2:], launch or kernel.DEFAULT_LAUNCH
    )
    return pooled.cpu()


RIGS = {
    "views": st.integers(1, 3),
    "bins": st.integers(1, 5),
    "pixels": st.integers(1, 7),
    "cells": st.integers(1, 9),
    "channels": st.integers(1, 20),
    "seen": st.sampled_from([0.0, 0.3, 1.0]),
    "seed": st.integers(0, 3),
}
DTYPES = st.sampled_from(list(ROUNDING))


def assert_close(actual: torch.Tensor, case: Case, dtype: torch.dtype) -> None:
    expected = case.scattered()
    assert actual.shape == expected.shape
    assert actual.dtype == dtype
    scale = max(1.0, float(expected.abs().max()))
    torch.testing.assert_close(
        actual.double(), expected, atol=ROUNDING[dtype] * scale, rtol=ROUNDING[dtype]
    )


@settings(max_examples=60, deadline=None)
@given(dtype=DTYPES, **RIGS)
def test_the_portable_form_is_the_scattered_sum(dtype: torch.dtype, **rig) -> None:
    # Products of half-precision numbers are exact in the reference, and rounded once in the bag.
    case = make_case(dtype=dtype, **rig)

    assert_close(pool_rows_portable(case.depth, case.context, *case.tables), case, dtype)


@settings(max_examples=12, deadline=None)
@given(dtype=DTYPES, entries=st.sampled_from([1, 4]), cells_each=st.integers(1, 3), **RIGS)
def test_the_triton_form_is_the_scattered_sum(
    kernel, dtype: torch.dtype, entries: int, cells_each: int, **rig
) -> None:
    case = make_case(dtype=dtype, **rig)
    launch = kernel.PoolingLaunch(cells=cells_each, entries=entries)

    assert_close(pooled_by(kernel, case, launch), case, dtype)


def test_one_launch_pools_two_branches_of_strided_depth_and_context(kernel) -> None:
    one = make_case(2, 3, 6, 8, 5, seen=0.9, seed=1)
    other = make_case(2, 3, 6, 8, 5, seen=0.9, seed=3)
    channels_last = one.depth.transpose(1, 2).contiguous().transpose(1, 2)
    in_wider_rows = torch.cat([torch.full_like(other.context, 9.0), one.context], 1)[:, 5:]
    assert not channels_last.is_contiguous()
    assert not in_wider_rows.is_contiguous()
    branches = ((channels_last, in_wider_rows), (other.depth, other.context))

    device = "cuda" if torch.cuda.is_available() else "cpu"
    moved = tuple((depth.to(device), context.to(device)) for depth, context in branches)

    first, second = (
        rows.cpu()
        for rows in kernel.pool_rows_triton(
            moved, one.depth_index.to(device), one.cell_offsets.to(device)
        )
    )

    torch.testing.assert_close(first, pool_rows_portable(one.depth, one.context, *one.tables))
    torch.testing.assert_close(second, pool_rows_portable(other.depth, other.context, *one.tables))
    assert not torch.equal(first, second)


def test_entries_behind_the_last_offset_are_never_read_by_the_kernel(kernel) -> None:
    case = make_case(2, 3, 6, 8, 5, seen=0.9)
    padding = torch.full((50,), 10**9, dtype=torch.int32)
    padded = replace(case, depth_index=torch.cat([case.depth_index, padding]))

    assert_close(pooled_by(kernel, padded), case, torch.float32)


def test_float32_depth_goes_with_half_precision_context(kernel) -> None:
    case = make_case(2, 3, 6, 8, 5, seen=0.9)
    mixed = Case(case.depth, case.context.half(), *case.tables)

    assert_close(pooled_by(kernel, mixed), mixed, torch.float16)
    portable = pool_rows_portable(mixed.depth, mixed.context, *mixed.tables)
    assert_close(portable, mixed, torch.float16)


COMPILE = """
import sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from simdistill_ros.core.network.bev_pooling_triton import pool_kernel

numbers = dict.fromkeys(["cell_count", "depth_view_stride", "depth_bin_stride"], "i32")
numbers["depth_pixel_stride"] = "i32"
constants = {"BINS": 118, "PIXELS": 2816, "CHANNELS": 80, "BLOCK_CHANNELS": 128}
constants |= {"BLOCK_ENTRIES": 16, "BLOCK_CELLS": 4, "TWO": True}
for target in sys.argv[1:]:
    capability, element = target.split(":")
    pointers = {"depth_index": "*i32", "cell_offsets": "*i32"}
    for branch in "ab":
        pointers |= {f"depth_{branch}": "*fp32", f"context_{branch}": f"*{element}"}
        pointers |= {f"pooled_{branch}": f"*{element}"}
    types = {**pointers, **numbers, **dict.fromkeys(constants, "constexpr")}
    signature = {name: types[name] for name in pool_kernel.arg_names}
    aligned = [["tt.divisibility", 16]]  # what a launch finds out about torch's tensors
    places = {(i,): aligned for i, name in enumerate(pool_kernel.arg_names) if name in pointers}
    source = ASTSource(fn=pool_kernel, signature=signature, constexprs=constants, attrs=places)
    gpu = GPUTarget("cuda", int(capability), 32)
    compiled = triton.compile(source, target=gpu, options={"num_warps": 1})
    assert "atom" not in compiled.asm["ptx"]
    assert "ld.global.v4.b32" in compiled.asm["ptx"], "context rows are not read 16 bytes at a time"
    print(target, len(compiled.asm["cubin"]))
"""


def test_the_kernel_compiles_for_gpus_that_are_not_here(tmp_path: Path) -> None:
    pytest.importorskip("triton", reason="Triton is not installed: pip install triton")
    # Hopper in each type, Ada and Orin.
    targets = ["90:fp16", "90:bf16", "90:fp32", "89:fp16", "87:fp16"]
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    environment.pop("TRITON_INTERPRET", None)
    command = [sys.executable, "-c", COMPILE, *targets]

    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert result.returncode == 0, result.stderr
    sizes = dict(line.split() for line in result.stdout.splitlines())
    assert list(sizes) == targets
    assert all(int(size) > 1000 for size in sizes.values())


@settings(max_examples=8, deadline=None)
@given(**RIGS)
def test_the_backward_is_the_derivative_of_the_forward(**rig) -> None:
    case = make_case(dtype=torch.float64, **rig)
    depth, context = case.depth.requires_grad_(), case.context.requires_grad_()

    assert torch.autograd.gradcheck(
        lambda d, c: pool_rows(d, c, *case.tables), (depth, context), fast_mode=True
    )


def test_gradients_equal_those_of_the_portable_form() -> None:
    case = make_case(2, 4, 6, 8, 5, seen=0.8)
    wanted = torch.randn(8, 5)
    gradients = []
    for form in (pool_rows, pool_rows_portable):
        depth, context = (t.clone().requires_grad_() for t in (case.depth, case.context))
        (form(depth, context, *case.tables) * wanted).sum().backward()
        gradients.append((depth.grad, context.grad))

    torch.testing.assert_close(gradients[0], gradients[1])
    assert gradients[0][0].count_nonzero() == len(case.depth_index)


def test_two_branches_are_pooled_like_one_after_the_other() -> None:
    one, other = make_case(2, 4, 6, 8, 5, seen=0.8), make_case(2, 4, 6, 8, 5, seen=0.8, seed=2)
    branches = ((one.depth, one.context), (other.depth, other.context))

    pooled = pool_rows_of_two(branches, *one.tables)

    for rows, branch in zip(pooled, branches, strict=True):
        torch.testing.assert_close(rows, pool_rows_portable(*branch, *one.tables))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
@pytest.mark.parametrize("dtype", list(ROUNDING))
def test_cuda_gives_the_scattered_sum_twice_bit_for_bit(dtype: torch.dtype) -> None:
    case = make_case(6, 40, 500, 3000, 80, seen=0.8, dtype=dtype)
    moved = [tensor.cuda() for tensor in (case.depth, case.context, *case.tables)]

    once, again = pool_rows(*moved), pool_rows(*moved)

    assert_close(once.cpu(), case, dtype)
    assert torch.equal(once, again)
