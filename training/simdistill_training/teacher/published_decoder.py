# SPDX-License-Identifier: Apache-2.0
"""BEV decoder and head at the sizes of the published LiDAR-camera detector."""

from __future__ import annotations

from torch import Tensor, nn

from simdistill_ros.core.boxes import NUSCENES_CLASSES
from simdistill_ros.core.model_card import ModelCard
from simdistill_training.teacher.second import SecondEncoder, SecondNeck
from simdistill_training.teacher.transfusion import TransFusionHead

STAGES = ((5, 128, 1), (5, 256, 2))
NECK_CHANNELS = (256, 256)


def published_decoder(in_channels: int) -> tuple[SecondEncoder, SecondNeck]:
    """Return the encoder and the neck."""
    channels = [stage[1] for stage in STAGES]
    return SecondEncoder(in_channels, STAGES), SecondNeck(channels, NECK_CHANNELS, (1, 2))


class PublishedHead(nn.Module):
    """The published head, its dense heatmap cut into a card's tasks."""

    def __init__(self, card: ModelCard) -> None:
        """Build the head.

        Raises:
            ValueError: If the card's classes or head cells are not those of the published head.
        """
        super().__init__()
        if card.classes != NUSCENES_CLASSES or card.head_shape_xy != card.compensated_shape_xy:
            raise ValueError(
                "teacher.decoder published: expected a card with nuScenes' classes in order and "
                f"head cells as large as BEV cells, got {card.classes} and {card.head_shape_xy}"
            )
        self.class_counts = [len(task.classes) for task in card.tasks]
        self.transfusion = TransFusionHead(sum(NECK_CHANNELS), card.classes)

    def forward(self, bev_features: Tensor) -> list[dict[str, Tensor]]:
        """Return per task the heatmap logits (B, classes, X, Y)."""
        heatmap = self.transfusion.heatmap(self.transfusion.shared(bev_features))
        parts = heatmap.split(self.class_counts, dim=1)
        return [{"heatmap": part} for part in parts]
