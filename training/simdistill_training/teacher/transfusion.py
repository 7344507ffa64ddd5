# SPDX-License-Identifier: Apache-2.0
"""The head of the published LiDAR-camera detector: proposals from a heatmap, refined by attention.

For running published weights; a teacher of our own has a centre head.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from simdistill_ros.core.network.convolutions import ConvNorm
from simdistill_ros.core.suppression import circle_nms

OUTPUTS = {"center": 2, "height": 1, "dim": 3, "rot": 2, "vel": 2}
BRANCH_CHANNELS = 64
POINT_CLASSES = ("pedestrian", "traffic_cone")  # so small that every cell may be a peak


class Proposals(NamedTuple):
    """What the head predicts for P proposals.

    Attributes:
        codes: Per name (B, channels, P): centre in cells, height in metres, log of the legacy
            width, length and height, sine and cosine of the legacy yaw, velocity in m/s.
        class_logits: (B, classes, P) of the refined proposals.
        start_scores: (B, classes, P) of the heatmap where they began.
        labels: (B, P), their class there.
        heatmap: (B, classes, X, Y) logits of the dense heatmap.
    """

    codes: dict[str, Tensor]
    class_logits: Tensor
    start_scores: Tensor
    labels: Tensor
    heatmap: Tensor

    def scores(self) -> Tensor:
        """Return (B, classes, P); zero but for the class each proposal began with."""
        own = functional.one_hot(self.labels, self.class_logits.shape[1]).transpose(1, 2)
        return self.class_logits.sigmoid() * self.start_scores * own


class PositionEmbedding(nn.Sequential):
    """Positions (B, P, 2) in cells to features (B, C, P)."""

    def __init__(self, channels: int) -> None:
        """Build the layers."""
        super().__init__(
            nn.Conv1d(2, channels, 1),
            nn.BatchNorm1d(channels),
            nn.ReLU(),
            nn.Conv1d(channels, channels, 1),
        )

    def forward(self, positions: Tensor) -> Tensor:
        """Return the embedding."""
        features = positions.transpose(1, 2)
        for layer in self:
            features = layer(features)
        return features


class ProposalDecoder(nn.Module):
    """Proposals attend to each other, then to the map; norms come after the sums."""

    def __init__(self, channels: int, heads: int, hidden_channels: int, dropout: float) -> None:
        """Build the layer."""
        super().__init__()
        self.among = nn.MultiheadAttention(channels, heads, dropout, batch_first=True)
        self.across = nn.MultiheadAttention(channels, heads, dropout, batch_first=True)
        self.expand = nn.Linear(channels, hidden_channels)
        self.contract = nn.Linear(hidden_channels, channels)
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(3))
        self.dropout = nn.Dropout(dropout)
        self.proposal_position = PositionEmbedding(channels)
        self.map_position = PositionEmbedding(channels)

    def forward(
        self, proposals: Tensor, cells: Tensor, proposal_xy: Tensor, cell_xy: Tensor
    ) -> Tensor:
        """Return refined proposals.

        Args:
            proposals: (B, C, P).
            cells: (B, C, X * Y), the flattened map.
            proposal_xy: (B, P, 2), in cells.
            cell_xy: (B, X * Y, 2), in cells.
        """
        at_proposals = self.proposal_position(proposal_xy).transpose(1, 2)
        placed_cells = (cells + self.map_position(cell_xy)).transpose(1, 2)
        tokens = proposals.transpose(1, 2)  # (B, P, C)
        placed = tokens + at_proposals
        attended, _ = self.among(placed, placed, placed, need_weights=False)
        tokens = self.norms[0](tokens + self.dropout(attended))
        attended, _ = self.across(
            tokens + at_proposals, placed_cells, placed_cells, need_weights=False
        )
        tokens = self.norms[1](tokens + self.dropout(attended))
        hidden = self.contract(self.dropout(functional.relu(self.expand(tokens))))
        output: Tensor = self.norms[2](tokens + self.dropout(hidden))
        return output.transpose(1, 2)


class TransFusionHead(nn.Module):
    """Head with one round of refinement."""

    def __init__(
        self,
        in_channels: int,
        class_names: Sequence[str],
        *,
        channels: int = 128,
        proposals: int = 200,
        heads: int = 8,
        hidden_channels: int = 256,
        dropout: float = 0.1,
    ) -> None:
        """Build the head."""
        super().__init__()
        classes = len(class_names)
        self.proposals = proposals
        self.point_classes = [
            number for number, name in enumerate(class_names) if name in POINT_CLASSES
        ]
        self.shared = nn.Conv2d(in_channels, channels, 3, padding=1)
        self.heatmap = nn.Sequential(
            ConvNorm(channels, channels), nn.Conv2d(channels, classes, 3, padding=1)
        )
        self.class_embedding = nn.Conv1d(classes, channels, 1)
        self.decoder = ProposalDecoder(channels, heads, hidden_channels, dropout)
        self.branches = nn.ModuleDict(
            {
                name: nn.Sequential(
                    nn.Conv1d(channels, BRANCH_CHANNELS, 1, bias=False),
                    nn.BatchNorm1d(BRANCH_CHANNELS),
                    nn.ReLU(),
                    nn.Conv1d(BRANCH_CHANNELS, count, 1),
                )
                for name, count in (OUTPUTS | {"heatmap": classes}).items()
            }
        )

    def forward(self, bev_features: Tensor) -> Proposals:
        """Return proposals on a map (B, C, X, Y)."""
        shared = self.shared(bev_features)
        heatmap = self.heatmap(shared)
        scores = self._peaks(heatmap.detach().sigmoid()).flatten(2)  # (B, classes, X * Y)
        best = scores.flatten(1).argsort(descending=True, stable=True)[:, : self.proposals]
        labels, cell = best // scores.shape[2], best % scores.shape[2]
        cells = shared.flatten(2)
        one_hot = functional.one_hot(labels, scores.shape[1]).transpose(1, 2).to(cells.dtype)
        start = _gathered(cells, cell) + self.class_embedding(one_hot)
        cell_xy = cell_positions(shared).expand(len(shared), -1, -1)
        proposal_xy = _gathered(cell_xy.transpose(1, 2), cell).transpose(1, 2)
        refined = self.decoder(start, cells, proposal_xy, cell_xy)
        outputs = {name: branch(refined) for name, branch in self.branches.items()}
        outputs["center"] = outputs["center"] + proposal_xy.transpose(1, 2)
        return Proposals(
            {name: outputs[name] for name in OUTPUTS},
            outputs["heatmap"],
            _gathered(scores, cell),
            labels,
            heatmap,
        )

    def _peaks(self, scores: Tensor) -> Tensor:
        """Return scores that are the largest of 3x3 cells, else zero; none on the border ring."""
        inner = functional.max_pool2d(scores, 3, stride=1)
        largest = functional.pad(inner, (1, 1, 1, 1))
        largest[:, self.point_classes] = scores[:, self.point_classes]
        return scores * (scores == largest)


def cell_positions(bev_features: Tensor) -> Tensor:
    """Return the centres (1, X * Y, 2) of a map's cells as (x, y) in cells."""
    x, y = torch.meshgrid(
        *(torch.arange(size, device=bev_features.device) + 0.5 for size in bev_features.shape[-2:]),
        indexing="ij",
    )
    return torch.stack([x.flatten(), y.flatten()], -1)[None].to(bev_features.dtype)


def decoded_boxes(codes: dict[str, Tensor], *, cell_m: float, low_m: tuple[float, float]) -> Tensor:
    """Return the legacy boxes (B, P, 9) of proposals: z at the bottom, see `core/legacy_boxes`.

    Args:
        codes: As in `Proposals`.
        cell_m: Size of a cell.
        low_m: Lower edges of the grid along x and y.
    """
    centers = codes["center"] * cell_m + codes["center"].new_tensor(low_m)[:, None]
    sizes = codes["dim"].exp()
    bottom = codes["height"] - sizes[:, 2:] / 2
    yaw = torch.atan2(codes["rot"][:, :1], codes["rot"][:, 1:])
    return torch.cat([centers, bottom, sizes, yaw, codes["vel"]], 1).transpose(1, 2)


def encoded_boxes(boxes: Tensor, *, cell_m: float, low_m: tuple[float, float]) -> Tensor:
    """Return codes (M, 10) of legacy boxes (M, 9); the inverse of `decoded_boxes`."""
    centers = (boxes[:, :2] - boxes.new_tensor(low_m)) / cell_m
    height = boxes[:, 2:3] + boxes[:, 5:6] / 2
    yaw = boxes[:, 6:7]
    return torch.cat([centers, height, boxes[:, 3:6].log(), yaw.sin(), yaw.cos(), boxes[:, 7:]], 1)


def suppressed_proposals(
    boxes: Tensor, scores: Tensor, labels: Tensor, radii_m2: dict[int, float]
) -> Tensor:
    """Return the indices of one sample's proposals that survive, in their order.

    Args:
        boxes: (P, 9).
        scores: (P,).
        labels: (P,).
        radii_m2: Per class that is suppressed, the squared distance to a better box.
    """
    kept = []
    for label in torch.unique(labels).tolist():
        own = (labels == label).nonzero()[:, 0]
        if label in radii_m2:
            own = own[scores[own].argsort(descending=True, stable=True)]
            centers = boxes[own, :2].double().cpu().numpy()
            own = own[torch.from_numpy(circle_nms(centers, radii_m2[label] ** 0.5)).to(own.device)]
        kept.append(own)
    return torch.cat(kept).sort().values if kept else labels.new_zeros(0)


def _gathered(rows: Tensor, index: Tensor) -> Tensor:
    """Return rows (B, C, K) at indices (B, P), as (B, C, P)."""
    return rows.gather(2, index[:, None].expand(-1, rows.shape[1], -1))
