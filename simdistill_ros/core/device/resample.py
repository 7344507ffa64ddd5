# SPDX-License-Identifier: Apache-2.0
"""Whole images → network input on the device; the rule is `core/preprocess`'s.

Resizing with antialiasing is the same weighted sum for every row and another for every column, so
it is two matrices, made here once an image size. As on the CPU, weights are rounded to 16-bit
integers, columns go first, and values are rounded to whole numbers after each step. Where float32
holds the sums exactly (up to 2^24: all but strong reductions with the bilinear kernel) the result
is the CPU's to the bit; else a few values in ten thousand end one level of 255 off.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from simdistill_ros.core.preprocess import InputRule

FloatMatrix = npt.NDArray[np.float64]
MAX_WEIGHT_BITS = 22
COLUMN_BLOCK = 128


class DeviceResize:
    """Resize and crop undistorted images of one size."""

    def __init__(
        self,
        rule: InputRule,
        image_hw: tuple[int, int],
        device: torch.device,
    ) -> None:
        """Make the matrices.

        Args:
            rule: How an image becomes the input.
            image_hw: Size of the images, pixels.
            device: Where to keep the matrices.
        """
        left, top = rule.crop_left_top(image_hw)
        height, width = rule.resized_hw(image_hw)
        rows = _cropped(
            resize_matrix(image_hw[0], height, rule.resize_kernel), top, rule.input_hw[0]
        )
        columns = _cropped(
            resize_matrix(image_hw[1], width, rule.resize_kernel), left, rule.input_hw[1]
        )
        # What no row of the input looks at is not even copied to the device.
        seen = np.flatnonzero(rows.any(0))
        self.image_rows = slice(int(seen[0]), int(seen[-1]) + 1)
        self._rows = torch.tensor(rows[:, self.image_rows], dtype=torch.float32, device=device)
        self._columns = _column_blocks(columns, device)

    def __call__(self, images: Tensor) -> Tensor:
        """Return the network input of the `image_rows` of images.

        Args:
            images: (N, rows, W, 3) uint8.

        Returns:
            (N, H', W', 3) float32, whole numbers from 0 to 255.
        """
        pixels = images.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
        blocks = [pixels[..., seen] @ weights for seen, weights in self._columns]
        wide = _rounded(torch.cat(blocks, -1))  # (N, 3, rows, W')
        return _rounded(self._rows @ wide).permute(0, 2, 3, 1)


def resize_matrix(in_size: int, out_size: int, kernel: str) -> FloatMatrix:
    """Return the (out, in) weights of a resize with half-pixel centres and antialiasing.

    The kernel is stretched by the scale when it shrinks, cut at the image's edges, normalised, and
    rounded as the CPU rounds it.
    """
    weight, support = {
        "bicubic_antialias": (_cubic, 2.0),
        "bilinear_antialias": (_triangle, 1.0),
    }[kernel]
    if in_size == out_size:
        return np.eye(in_size)
    scale = in_size / out_size
    stretch = max(scale, 1.0)
    matrix = np.zeros((out_size, in_size))
    for row in range(out_size):
        center = scale * (row + 0.5)
        first = max(int(center - support * stretch + 0.5), 0)
        last = min(int(center + support * stretch + 0.5), in_size)
        weights = weight((np.arange(first, last) - center + 0.5) / stretch)
        matrix[row, first:last] = weights / weights.sum()
    return _in_16_bits(matrix)


def _column_blocks(columns: FloatMatrix, device: torch.device) -> list[tuple[slice, Tensor]]:
    """Return, for each block of output columns, the input columns they see and their weights.

    A pixel sees a few neighbours only, so that most of the whole matrix is zero.
    """
    blocks = []
    for first in range(0, len(columns), COLUMN_BLOCK):
        weights = columns[first : first + COLUMN_BLOCK]
        seen = np.flatnonzero(weights.any(0))
        span = slice(int(seen[0]), int(seen[-1]) + 1) if len(seen) else slice(0, 1)
        block = torch.tensor(weights[:, span].T.copy(), dtype=torch.float32, device=device)
        blocks.append((span, block))
    return blocks


def _in_16_bits(weights: FloatMatrix) -> FloatMatrix:
    """Return weights as the largest power of two holds them with which they fit 16 bits."""
    bits = 0
    while bits < MAX_WEIGHT_BITS and int(weights.max() * 2 ** (bits + 1) + 0.5) < 2**15:
        bits += 1
    return np.asarray(np.sign(weights) * np.floor(np.abs(weights) * 2**bits + 0.5) / 2**bits)


def _triangle(x: FloatMatrix) -> FloatMatrix:
    return np.maximum(1 - np.abs(x), 0.0)


def _cubic(x: FloatMatrix, a: float = -0.5) -> FloatMatrix:
    """Keys' cubic with the parameter that antialiased resizing uses."""
    x = np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def _cropped(matrix: FloatMatrix, first: int, count: int) -> FloatMatrix:
    """Return `count` rows from `first` on; rows beyond the matrix are zero, which gives black."""
    rows = np.zeros((count, matrix.shape[1]))
    wanted = np.arange(first, first + count)
    inside = (wanted >= 0) & (wanted < len(matrix))
    rows[inside] = matrix[wanted[inside]]
    return rows


def _rounded(values: Tensor) -> Tensor:
    return (values + 0.5).floor().clamp(0, 255)
