# SPDX-License-Identifier: Apache-2.0
"""The centre head with two convolutions a task instead of two a branch, for 8-bit graphs.

Six branches a task are many small operators. Joined, all first convolutions of a task are one, and
all second ones are one with zeros where branches do not meet. 8-bit values have one scale for all
channels of a map, so each branch is brought to the same range before, and back after: the first
convolution's results are divided by their largest value, which the second one's weights undo, and
the outputs are centred and divided by half their range, which a product and a sum in float undo.
In float, the numbers are the head's own but for rounding.

ONNX Runtime's 8-bit convolutions are fast for output channels that fill whole groups of 16: 96
channels to 12 took 2.1 ms at 128x128, to 16 it takes 0.9. So there are outputs of zeros behind
those of a task, which nobody reads.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from simdistill_ros.core.network.center_head import CenterHead
from simdistill_ros.core.network.convolutions import ConvNorm
from simdistill_ros.core.network.student import BevNetwork

LEAST_RANGE = 1e-3  # of branches that give the same everywhere
OUTPUT_GROUP = 16


@dataclass
class BranchRange:
    """What went through a branch: its largest hidden value, its outputs' limits (channels,)."""

    hidden: Tensor
    low: Tensor
    high: Tensor

    def include(self, hidden: Tensor, output: Tensor) -> None:
        """Widen the range by what one map gave, both (1, channels, X, Y)."""
        self.hidden = torch.maximum(self.hidden, hidden.max())
        self.low = torch.minimum(self.low, output.amin((0, 2, 3)))
        self.high = torch.maximum(self.high, output.amax((0, 2, 3)))


Ranges = list[dict[str, BranchRange]]


@torch.no_grad()
def head_ranges(network: BevNetwork, pooled_maps: Iterable[tuple[Tensor, Tensor]]) -> Ranges:
    """Return the ranges of a centre head's branches over pooled maps (1, C, X, Y) of each side."""
    head = cast(CenterHead, network.head)
    ranges: Ranges = []
    for camera, lidar in pooled_maps:
        shared = head.shared(network.neck(network.encoder(network.features(camera, lidar).fused)))
        results = [
            {name: _hidden_and_output(branch, shared) for name, branch in _items(task)}
            for task in head.tasks
        ]
        if not ranges:
            ranges = [{name: _empty(output) for name, (_, output) in t.items()} for t in results]
        for task_ranges, task in zip(ranges, results, strict=True):
            for name, (hidden, output) in task.items():
                task_ranges[name].include(hidden, output)
    return ranges


def _hidden_and_output(branch: nn.Sequential, shared: Tensor) -> tuple[Tensor, Tensor]:
    hidden = branch[0](shared)
    return hidden, branch[1](hidden)


def _empty(output: Tensor) -> BranchRange:
    channels = output.shape[1]
    return BranchRange(torch.tensor(0.0), torch.zeros(channels), torch.zeros(channels))


class JoinedTask(nn.Module):
    """One task of the head."""

    def __init__(self, task: nn.ModuleDict, ranges: dict[str, BranchRange]) -> None:
        """Join a task's branches, norms folded."""
        super().__init__()
        branches = dict(_items(task))
        first = [cast(ConvNorm, branch[0]).conv for branch in branches.values()]
        second = [cast(nn.Conv2d, branch[1]) for branch in branches.values()]
        hidden = [ranges[name].hidden.clamp(min=LEAST_RANGE) for name in branches]
        self.channels = dict(zip(branches, [conv.out_channels for conv in second], strict=True))
        self.unread = -sum(self.channels.values()) % OUTPUT_GROUP
        low = _padded(torch.cat([ranges[name].low for name in branches]), self.unread)
        high = _padded(torch.cat([ranges[name].high for name in branches]), self.unread)
        self.scale: Tensor
        self.centre: Tensor
        scale, centre = ((high - low) / 2).clamp(min=LEAST_RANGE), (high + low) / 2
        self.register_buffer("scale", scale.view(-1, 1, 1))
        self.register_buffer("centre", centre.view(-1, 1, 1))
        self.first = _convolution(
            torch.cat([conv.weight / most for conv, most in zip(first, hidden, strict=True)]),
            torch.cat([_bias(conv) / most for conv, most in zip(first, hidden, strict=True)]),
        )
        blocks = [conv.weight * most for conv, most in zip(second, hidden, strict=True)]
        self.second = _convolution(
            _padded(_block_diagonal(blocks), self.unread) / scale.view(-1, 1, 1, 1),
            (_padded(torch.cat([_bias(conv) for conv in second]), self.unread) - centre) / scale,
        )

    def forward(self, shared: Tensor) -> dict[str, Tensor]:
        """Return the task's maps (B, channels, X, Y) by name."""
        values = self.second(self.first(shared).relu()) * self.scale + self.centre
        read = list(self.channels.values())
        parts = values.split([*read, self.unread] if self.unread else read, 1)
        return dict(zip(self.channels, parts, strict=False))


class JoinedCenterHead(nn.Module):
    """The maps of a centre head whose norms are folded."""

    def __init__(self, head: CenterHead, ranges: Ranges) -> None:
        """Join the branches of each task."""
        super().__init__()
        self.shared = head.shared
        self.tasks = nn.ModuleList(
            JoinedTask(cast(nn.ModuleDict, task), their_ranges)
            for task, their_ranges in zip(head.tasks, ranges, strict=True)
        )

    def forward(self, bev_features: Tensor) -> list[dict[str, Tensor]]:
        """Return the maps of every task; see `CenterHead`."""
        shared = self.shared(bev_features)
        return [task(shared) for task in self.tasks]


def _items(task: nn.Module) -> list[tuple[str, nn.Sequential]]:
    return [(name, cast(nn.Sequential, branch)) for name, branch in task.named_children()]


def _bias(convolution: nn.Conv2d) -> Tensor:
    assert convolution.bias is not None  # folded norms give one
    return convolution.bias


def _convolution(weight: Tensor, bias: Tensor) -> nn.Conv2d:
    convolution = nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1)
    convolution.weight = nn.Parameter(weight.detach())
    convolution.bias = nn.Parameter(bias.detach())
    return convolution


def _padded(values: Tensor, rows: int) -> Tensor:
    """Return values with rows of zeros behind them."""
    return torch.cat([values, values.new_zeros(rows, *values.shape[1:])])


def _block_diagonal(blocks: list[Tensor]) -> Tensor:
    """Return one weight (sum of out, sum of in, 3, 3) of blocks (out, in, 3, 3)."""
    rows = []
    before, total = 0, sum(block.shape[1] for block in blocks)
    for block in blocks:
        row = block.new_zeros(block.shape[0], total, *block.shape[2:])
        row[:, before : before + block.shape[1]] = block
        rows.append(row)
        before += block.shape[1]
    return torch.cat(rows)
