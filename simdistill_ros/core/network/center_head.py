# SPDX-License-Identifier: Apache-2.0
"""Centre head: per group of classes, heatmaps and box regressions on the BEV map."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from simdistill_ros.core.network.convolutions import ConvNorm

# Channels of each regression: cell offset, height, log size, (sin, cos) of yaw, velocity.
REGRESSIONS = {"reg": 2, "height": 1, "dim": 3, "rot": 2, "vel": 2}
HEATMAP_BIAS = -2.19  # logit of a score of 0.1
OUTPUT_STD = 0.003


class CenterHead(nn.Module):
    """A shared convolution and, per task, one small branch for each kind of output."""

    def __init__(
        self,
        in_channels: int,
        class_counts: Sequence[int],
        *,
        shared_channels: int,
        branch_channels: int,
    ) -> None:
        """Build the head for tasks of `class_counts` classes each."""
        super().__init__()
        self.shared = ConvNorm(in_channels, shared_channels)
        self.tasks = nn.ModuleList()
        for classes in class_counts:
            outputs = {**REGRESSIONS, "heatmap": classes}
            self.tasks.append(
                nn.ModuleDict(
                    {
                        name: nn.Sequential(
                            ConvNorm(shared_channels, branch_channels),
                            nn.Conv2d(branch_channels, channels, 3, padding=1),
                        )
                        for name, channels in outputs.items()
                    }
                )
            )
        self._init_outputs()

    def _init_outputs(self) -> None:
        """Start with boxes of about a metre and low scores, so that empty cells do not dominate."""
        for name, parameter in self.tasks.named_parameters():
            if name.endswith(".1.weight"):
                nn.init.normal_(parameter, std=OUTPUT_STD)
            elif name.endswith(".1.bias"):
                is_heatmap = name.endswith("heatmap.1.bias")
                nn.init.constant_(parameter, HEATMAP_BIAS if is_heatmap else 0.0)

    def forward(self, bev_features: Tensor) -> list[dict[str, Tensor]]:
        """Predict the maps of every task.

        Args:
            bev_features: (B, C, X, Y).

        Returns:
            Per task, maps (B, channels, X, Y) by name; `heatmap` holds logits.
        """
        shared = self.shared(bev_features)
        return [
            {name: branch(shared) for name, branch in task.named_children()} for task in self.tasks
        ]
