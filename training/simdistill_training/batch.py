# SPDX-License-Identifier: Apache-2.0
"""What a training step is given: the border between the data and everything that learns."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from simdistill_ros.core.boxes import Detections
from simdistill_ros.core.network.view_transform import BatchedPoolingTables


@dataclass(frozen=True)
class Batch:
    """B augmented samples, tensors on one device.

    Attributes:
        images: (B, N, H, W, 3) uint8, RGB, network inputs, cameras in the card's order.
        tables: Lift geometry of the student; image and 3D augmentation are worked in.
        points: Per sample (P, 5) float32: x, y, z in metres in the bev frame of the augmented
            scene, intensity, and time lag in seconds.
        input_from_bev: (B, N, 3, 4), projection of the augmented scene into the inputs.
        boxes: Per sample the ground truth in the bev frame of the augmented scene; labels in the
            card's class order.
        tokens: Per sample the token of its record.
        views: Per sample which of its fixed views it is; -1 where augmentation is free.
    """

    images: Tensor
    tables: BatchedPoolingTables
    points: tuple[Tensor, ...]
    input_from_bev: Tensor
    boxes: tuple[Detections, ...]
    tokens: tuple[str, ...]
    views: tuple[int, ...]

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.images)

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch on a device."""
        return Batch(
            images=self.images.to(device, non_blocking=True),
            tables=self.tables.to(device),
            points=tuple(cloud.to(device, non_blocking=True) for cloud in self.points),
            input_from_bev=self.input_from_bev.to(device, non_blocking=True),
            boxes=self.boxes,
            tokens=self.tokens,
            views=self.views,
        )
