# SPDX-License-Identifier: Apache-2.0
"""The sum behind BEV pooling, over flat tensors: forward, backward, and which kernel runs it.

For each cell: the sum over its entries of depth probability times context row. The portable form is
an embedding bag, the fastest form on CPUs; on CUDA a Triton kernel does it where Triton is there.
Neither forms the product of depth and context, nor adds in an order that changes between runs.
"""

from __future__ import annotations

from functools import lru_cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import embedding_bag


def pool_rows(
    depth: Tensor,
    context: Tensor,
    pixel_index: Tensor,
    depth_index: Tensor,
    cell_offsets: Tensor,
) -> Tensor:
    """Sum depth * context over the entries of each cell.

    Args:
        depth: (V, D, P), probabilities of the P pixels of V camera images.
        context: (V * P, C).
        pixel_index: (K,) int32, row of the context.
        depth_index: (K,) int32, element of the flattened depth.
        cell_offsets: (cells + 1,) int32, first entry of each cell, and the end of the last.

    Returns:
        (cells, C), of the context's type; sums are float32 or wider.
    """
    arguments = (depth, context, pixel_index, depth_index, cell_offsets)
    if torch.is_grad_enabled() and (depth.requires_grad or context.requires_grad):
        rows: Tensor = _PoolRows.apply(*arguments)  # type: ignore[no-untyped-call]
        return rows
    return _pooled(*arguments)


def pool_rows_of_two(
    branches: tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]],
    pixel_index: Tensor,
    depth_index: Tensor,
    cell_offsets: Tensor,
) -> tuple[Tensor, Tensor]:
    """Pool the (depth, context) of both lift branches; one pass over the tables where it pays."""
    tensors = [tensor for branch in branches for tensor in branch]
    needs_grad = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    kernel = triton_form() if tensors[0].is_cuda and not needs_grad else None
    if kernel is not None:
        first, second = kernel.pool_rows_triton(branches, depth_index, cell_offsets)
        return first, second
    first, second = (
        pool_rows(depth, context, pixel_index, depth_index, cell_offsets)
        for depth, context in branches
    )
    return first, second


def pool_rows_portable(
    depth: Tensor,
    context: Tensor,
    pixel_index: Tensor,
    depth_index: Tensor,
    cell_offsets: Tensor,
) -> Tensor:
    """Pool as an embedding bag: bag = cell, index = pixel, weight = depth; see `pool_rows`."""
    weights = depth.reshape(-1).index_select(0, depth_index)
    pooled: Tensor = embedding_bag(
        pixel_index,
        context,
        cell_offsets,
        mode="sum",
        per_sample_weights=weights.to(context.dtype),
        include_last_offset=True,
    )
    return pooled


@lru_cache(maxsize=1)
def triton_form() -> ModuleType | None:
    """Return the module of the Triton kernel, or None where there is no Triton."""
    try:
        from simdistill_ros.core.network import bev_pooling_triton
    except ImportError:
        return None
    return bev_pooling_triton


def _pooled(
    depth: Tensor,
    context: Tensor,
    pixel_index: Tensor,
    depth_index: Tensor,
    cell_offsets: Tensor,
) -> Tensor:
    kernel = triton_form() if depth.is_cuda else None
    if kernel is None:
        return pool_rows_portable(depth, context, pixel_index, depth_index, cell_offsets)
    (pooled,) = kernel.pool_rows_triton(((depth, context),), depth_index, cell_offsets)
    rows: Tensor = pooled
    return rows


class _PoolRows(torch.autograd.Function):
    """`pool_rows` with a backward that sorts nothing.

    A point is a (camera image, depth, pixel). The gradient of a pixel's context is itself a bag,
    over the pixel's points: depth times the gradient of the point's cell. The gradient of a
    point's depth is the product of its pixel's context and its cell's gradient.
    """

    @staticmethod
    def forward(
        ctx: Any,
        depth: Tensor,
        context: Tensor,
        pixel_index: Tensor,
        depth_index: Tensor,
        cell_offsets: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(depth, context, pixel_index, depth_index, cell_offsets)
        return _pooled(depth, context, pixel_index, depth_index, cell_offsets)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_rows: Tensor) -> tuple[Tensor | None, ...]:
        depth, context, pixel_index, depth_index, cell_offsets = ctx.saved_tensors
        grad_rows = grad_rows.contiguous()
        grad_depth = grad_context = None
        if ctx.needs_input_grad[0]:
            of_entries = _entry_gradient(context, grad_rows, pixel_index, cell_offsets)
            grad_depth = depth.new_zeros(depth.numel())
            grad_depth[depth_index.long()] = of_entries.to(depth.dtype)
            grad_depth = grad_depth.view(depth.shape)
        if ctx.needs_input_grad[1]:
            cell, is_pooled = _cells_of_points(depth_index, cell_offsets, depth.shape)
            weights = (depth * is_pooled).transpose(1, 2).flatten(0, 1)  # (V * P, D)
            grad_context = embedding_bag(
                cell.transpose(1, 2).flatten(0, 1),
                grad_rows,
                mode="sum",
                per_sample_weights=weights.to(grad_rows.dtype),
            )
        return grad_depth, grad_context, None, None, None


def _entry_gradient(
    context: Tensor, grad_rows: Tensor, pixel_index: Tensor, cell_offsets: Tensor
) -> Tensor:
    """Return (K,), the product of each entry's context and its cell's gradient.

    It is the gradient of a bag's weights, for which torch has a kernel; the weights' values do not
    matter.
    """
    weights = context.new_zeros(len(pixel_index), requires_grad=True)
    with torch.enable_grad():
        bag = embedding_bag(
            pixel_index,
            context.detach(),
            cell_offsets,
            mode="sum",
            per_sample_weights=weights,
            include_last_offset=True,
        )
    (gradient,) = torch.autograd.grad(bag, weights, grad_rows)
    return gradient


def _cells_of_points(
    depth_index: Tensor, cell_offsets: Tensor, shape: torch.Size
) -> tuple[Tensor, Tensor]:
    """Return each point's cell and whether it has one, both (V, D, P); without one it is cell 0."""
    counts = cell_offsets[1:] - cell_offsets[:-1]
    cells = torch.arange(len(counts), dtype=torch.int32, device=counts.device)
    cell = torch.full((shape.numel(),), -1, dtype=torch.int32, device=counts.device)
    cell[depth_index.long()] = cells.repeat_interleave(counts, output_size=len(depth_index))
    cell = cell.view(shape)
    return cell.clamp(min=0), cell >= 0
