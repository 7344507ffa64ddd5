# SPDX-License-Identifier: Apache-2.0
"""The sampling kernel against the same sums written out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from simdistill_ros.core.network.geometry_compensation import DeformableAttention

ROOT = Path(__file__).resolve().parents[3]
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

COMPILE = """
import sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from simdistill_ros.core.network.sampling_triton import WARPS, sample_kernel

constants = {"HEIGHT": 180, "WIDTH": 180, "HEADS": 8, "POINTS": 20, "CHANNELS": 10}
constants |= {"BLOCK_CHANNELS": 16, "BLOCK_BAGS": 32}
types = {"values": "*fp16", "sums": "*fp16", "positions_px": "*fp32", "weights": "*fp32"}
types |= {"bag_count": "i32", **dict.fromkeys(constants, "constexpr")}
signature = {name: types[name] for name in sample_kernel.arg_names}
source = ASTSource(fn=sample_kernel, signature=signature, constexprs=constants)
compiled = triton.compile(
    source, target=GPUTarget("cuda", 90, 32), options={"num_warps": WARPS}
)
print(len(compiled.asm["cubin"]))
"""


@pytest.fixture(scope="module")
def kernel():
    """Return the module of the kernel; without a GPU Triton's interpreter runs it."""
    pytest.importorskip("triton", reason="Triton is not installed: pip install triton")
    from simdistill_ros.core.network import sampling_triton

    return sampling_triton


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_the_kernel_sums_what_the_written_out_form_sums(kernel, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    block = DeformableAttention(12, (3, 5), heads=2, points=3)
    # Places up to four cells away, so that some are outside and most between pixels.
    block.offsets.weight.data.normal_(0, 0.5)
    block.attention.weight.data.normal_()
    rows = torch.randn(2, 15, 12)
    with torch.no_grad():
        positions_px, weights = block.places(rows)
        values = block.value(rows).reshape(-1, 6)
        expected = block._mixed(values, *positions_px.unbind(-1), weights)
    moved = (values.to(DEVICE, dtype), positions_px.to(DEVICE), weights.to(DEVICE))

    sums = kernel.sampled_sums(*moved, (3, 5)).cpu()

    is_outside = (positions_px < 0) | (positions_px > torch.tensor([4, 2]))
    assert 0.1 < is_outside.any(-1).float().mean() < 0.9
    assert sums.dtype == dtype
    tolerance = 1e-5 if dtype == torch.float32 else 2e-3
    torch.testing.assert_close(sums.float(), expected, atol=tolerance, rtol=tolerance)


def test_the_kernel_compiles_for_a_gpu_that_is_not_here(tmp_path: Path) -> None:
    pytest.importorskip("triton", reason="Triton is not installed: pip install triton")
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    environment.pop("TRITON_INTERPRET", None)
    command = [sys.executable, "-c", COMPILE]

    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert result.returncode == 0, result.stderr
    assert int(result.stdout) > 1000
