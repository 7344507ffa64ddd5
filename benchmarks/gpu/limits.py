# SPDX-License-Identifier: Apache-2.0
"""What this machine can do at most: bytes copied and products summed a second, both measured."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.gpu.timing import timed_ms


def copy_bytes_per_s(device: torch.device, size_bytes: int) -> float:
    """Return bytes read plus bytes written a second by a copy on the device."""
    source = torch.zeros(size_bytes, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    best_ms = min(timed_ms(lambda: target.copy_(source), device, 10))
    return 2 * size_bytes / (best_ms / 1e3)


def matmul_flop_per_s(device: torch.device, dtype: torch.dtype, size: int) -> float:
    """Return floating-point operations a second of a square product of random numbers."""
    one, other = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    best_ms = min(timed_ms(lambda: one @ other, device, 10))
    return 2 * size**3 / (best_ms / 1e3)


def network_flop(network: nn.Module, *inputs: Any) -> int:
    """Return the operations of convolutions and matrix products in one pass."""
    counter = FlopCounterMode(display=False)
    with counter, torch.inference_mode():
        network(*inputs)
    return int(counter.get_total_flops())


def pooling_bytes(entries: int, cells: int, rows: int, channels: int, size: int) -> int:
    """Return what pooling one branch must move at least, bytes.

    Each entry's index and float32 depth, the context once, the offsets, and the result.
    """
    return 8 * entries + size * rows * channels + 4 * (cells + 1) + size * cells * channels
