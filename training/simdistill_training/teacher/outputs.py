# SPDX-License-Identifier: Apache-2.0
"""What the teacher gives the student."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class TeacherOutputs(NamedTuple):
    """BEV maps (B, C, X, Y) of the teacher's branches and fused, and its head maps per task."""

    camera_bev: Tensor
    lidar_bev: Tensor
    fused_bev: Tensor
    heads: list[dict[str, Tensor]]

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> TeacherOutputs:
        """Return the outputs on a device, in another precision where one is given."""
        return TeacherOutputs(
            self.camera_bev.to(device, dtype),
            self.lidar_bev.to(device, dtype),
            self.fused_bev.to(device, dtype),
            [{name: maps.to(device, dtype) for name, maps in task.items()} for task in self.heads],
        )
