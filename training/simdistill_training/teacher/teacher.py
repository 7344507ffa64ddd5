# SPDX-License-Identifier: Apache-2.0
"""The teacher network: cameras and LiDAR in, BEV maps and head maps out.

Image encoder, BEV encoder and head are those of a model card, so that its maps fit the student's
grid and tasks; what only a teacher has is sized by `TeacherConfig`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from simdistill_ros.core.lift_geometry import BevGrid
from simdistill_ros.core.model_card import ModelCard
from simdistill_ros.core.network.bev_encoder import ConvFuser
from simdistill_ros.core.network.build import build_student
from simdistill_ros.core.network.geometry_compensation import (
    DeformableAttention,
    GeometryCompensation,
)
from simdistill_ros.core.network.view_transform import (
    BatchedPoolingTables,
    BevDownsample,
    LiftHead,
)
from simdistill_training.teacher.camera_branch import RASTER_CHANNELS, DepthLift, RasterEncoder
from simdistill_training.teacher.depth_raster import depth_rasters
from simdistill_training.teacher.outputs import TeacherOutputs
from simdistill_training.teacher.pillar_encoder import PillarEncoder
from simdistill_training.teacher.published_decoder import PublishedHead, published_decoder
from simdistill_training.teacher.sparse_encoder import SparseEncoder
from simdistill_training.teacher.voxelization import VoxelGrid, mean_voxels

VOXEL_STRIDE = 8  # of the sparse encoder


@dataclass(frozen=True)
class PillarConfig:
    """Sizes of the pillar encoder.

    Attributes:
        cell_m: Side of a pillar.
        z_m: Heights of points that count, bev frame.
        point_channels: Channels of a point and of a pillar.
        stages: (blocks, channels, stride) of each stage of BEV convolutions; the strides lead from
            the pillars to the cells of the student's BEV maps.
    """

    cell_m: float = 0.4
    z_m: tuple[float, float] = (-5.0, 5.0)
    point_channels: int = 32
    stages: tuple[tuple[int, int, int], ...] = ((1, 32, 1), (2, 64, 2), (2, 128, 2))

    def __post_init__(self) -> None:
        """Refuse narrow maps, whose strided 1x1 convolutions crash PyTorch 2.13 on the CPU.

        Raises:
            ValueError: If there is no stage or a map has fewer than 16 channels.
        """
        channels = [self.point_channels, *(stage[1] for stage in self.stages)]
        if not self.stages or min(channels) < 16:
            raise ValueError(f"teacher.pillars: expected stages of 16 channels or more, got {self}")


@dataclass(frozen=True)
class SparseConfig:
    """Sizes of the sparse encoder; the published ones are the defaults.

    Attributes:
        voxel_m: Voxel size along x, y, z; eight voxels make a cell of the student's BEV maps.
        z_m: Heights of points that count, bev frame.
        max_points: Points that count in a voxel.
        max_voxels_train: Voxels of a sample in training.
        max_voxels: Voxels of a sample otherwise.
        stage_channels: Channels of the four stages.
        out_channels: Channels of each of the remaining z layers.
        blocks: Residual blocks in each stage.
    """

    voxel_m: tuple[float, float, float] = (0.075, 0.075, 0.2)
    z_m: tuple[float, float] = (-5.0, 3.0)
    max_points: int = 10
    max_voxels_train: int = 120_000
    max_voxels: int = 160_000
    stage_channels: tuple[int, int, int, int] = (16, 32, 64, 128)
    out_channels: int = 128
    blocks: int = 2


@dataclass(frozen=True)
class TeacherConfig:
    """What a teacher has beyond its card.

    Attributes:
        lidar: Which LiDAR encoder.
        decoder: `card`: BEV encoder and centre head of the card. `published`: those of the
            published LiDAR-camera detector, to distil from its weights as they are; its head maps
            are heatmaps only, so that boxes cannot be imitated and the teacher cannot be trained.
        pillars: Sizes of the pillar encoder.
        sparse: Sizes of the sparse encoder.
        image_attention: Published. A compensation block before the depth head, as the student's.
        truncated_pixels: Legacy. How points fall into pixels; see `depth_rasters`.
    """

    lidar: Literal["pillars", "sparse"] = "pillars"
    decoder: Literal["card", "published"] = "card"
    pillars: PillarConfig = field(default_factory=PillarConfig)
    sparse: SparseConfig = field(default_factory=SparseConfig)
    image_attention: bool = False
    truncated_pixels: bool = False


class VoxelBranch(nn.Module):
    """Points to the BEV map of the sparse encoder."""

    def __init__(self, config: SparseConfig, bev: BevGrid) -> None:
        """Build the branch over the area of a BEV grid."""
        super().__init__()
        self.config = config
        x, y, z = (
            round((span[1] - span[0]) / size)
            for span, size in zip((bev.x_m, bev.y_m, config.z_m), config.voxel_m, strict=True)
        )
        self.grid = VoxelGrid((bev.x_m[0], bev.y_m[0], config.z_m[0]), config.voxel_m, (x, y, z))
        self.encoder = SparseEncoder(
            5, config.stage_channels, config.out_channels, (x, y, z + 1), blocks=config.blocks
        )

    def forward(self, points: Sequence[Tensor]) -> Tensor:
        """Return the BEV map (B, C * Z, X, Y) of the points (P, 5) of each sample."""
        limit = self.config.max_voxels_train if self.training else self.config.max_voxels
        voxels = mean_voxels(points, self.grid, max_points=self.config.max_points, max_voxels=limit)
        output: Tensor = self.encoder(voxels, len(points))
        return output


class Teacher(nn.Module):
    """Detector on cameras and LiDAR."""

    def __init__(self, card: ModelCard, config: TeacherConfig) -> None:
        """Build the teacher for a card's cameras, grid and tasks, with the card's seed.

        Raises:
            ValueError: If the LiDAR encoder's cells are not those of the card's BEV maps.
        """
        super().__init__()
        self.input_hw = card.image.input_hw
        self.truncated_pixels = config.truncated_pixels
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(card.init_seed)
            parts = build_student(card)  # its image encoder, BEV encoder and head are ours
            self.encoder, self.neck = parts.image_network.encoder, parts.image_network.neck
            self.camera = _depth_lift(card, config)
            self.lidar, lidar_channels = _lidar_branch(card, config)
            self.fuser = ConvFuser(
                [card.lift.context_channels, lidar_channels], card.fuser.channels
            )
            self.bev_encoder, self.bev_neck = parts.bev_network.encoder, parts.bev_network.neck
            self.head = parts.bev_network.head
            if config.decoder == "published":
                self.bev_encoder, self.bev_neck = published_decoder(card.fuser.channels)
                self.head = PublishedHead(card)
        self.camera_channels = card.lift.context_channels
        self.lidar_channels = lidar_channels
        self.fused_channels = card.fuser.channels

    def forward(
        self,
        images: Tensor,
        tables: BatchedPoolingTables,
        points: Sequence[Tensor],
        input_from_bev: Tensor,
    ) -> TeacherOutputs:
        """Detect objects around the vehicle.

        Args:
            images: (B, N, 3, H, W), RGB, normalised, cameras in the card's order.
            tables: Pooling tables of the B calibrations.
            points: Per sample (P, 5), x, y, z in metres in the bev frame, intensity, time lag.
            input_from_bev: (B, N, 3, 4), projections into the inputs.
        """
        camera_bev, _ = self.camera_bev(images, tables, points, input_from_bev)
        lidar_bev = self.lidar(points)
        fused_bev = self.fuser(camera_bev, lidar_bev)
        heads = self.head(self.bev_neck(self.bev_encoder(fused_bev)))
        return TeacherOutputs(camera_bev, lidar_bev, fused_bev, heads)

    def camera_bev(
        self,
        images: Tensor,
        tables: BatchedPoolingTables,
        points: Sequence[Tensor],
        input_from_bev: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Return the camera branch's BEV map and its depth probabilities (B, N, D, Hf, Wf)."""
        rasters = depth_rasters(
            points, input_from_bev, self.input_hw, truncated_pixels=self.truncated_pixels
        )
        features = self.neck(self.encoder(images.flatten(0, 1))).unflatten(0, images.shape[:2])
        bev, depth = self.camera(features, rasters, tables)
        return bev, depth


def _depth_lift(card: ModelCard, config: TeacherConfig) -> DepthLift:
    channels, block = card.neck.channels, card.compensation.image
    attention: nn.Module = nn.Identity()
    if config.image_attention:
        attention = GeometryCompensation(
            DeformableAttention(
                channels,
                card.feature_hw,
                heads=block.heads,
                points=block.points,
                corner_reference_points=card.legacy.corner_reference_points,
            )
        )
    return DepthLift(
        raster_encoder=RasterEncoder(card.lift.stride),
        compensation=attention,
        head=LiftHead(
            RASTER_CHANNELS[-1] + channels,
            hidden_channels=channels,
            hidden_layers=2,
            depth_bins=card.lift.depth.count,
            context_channels=card.lift.context_channels,
        ),
        downsample=BevDownsample(card.lift.context_channels, card.lift.downsample_strides),
        shape_xy=card.bev.grid.shape_xy,
    )


def _lidar_branch(card: ModelCard, config: TeacherConfig) -> tuple[nn.Module, int]:
    """Return the LiDAR encoder and the channels of its map."""
    bev = card.bev.grid
    if config.lidar == "sparse":
        branch = VoxelBranch(config.sparse, bev)
        x, y, z = branch.grid.shape
        _check_shape("sparse.voxel_m", (x // VOXEL_STRIDE, y // VOXEL_STRIDE), card)
        layers = _remaining_layers(z + 1)
        if layers < 1:
            raise ValueError(f"teacher.sparse.z_m: expected more layers than {z}, too few to halve")
        return branch, config.sparse.out_channels * layers
    pillars = config.pillars
    grid = BevGrid(bev.x_m, bev.y_m, pillars.z_m, (pillars.cell_m, pillars.cell_m))
    x, y = grid.shape_xy
    for _, _, stride in pillars.stages:
        x, y = -(-x // stride), -(-y // stride)
    _check_shape("pillars.cell_m and strides", (x, y), card)
    encoder = PillarEncoder(grid, pillars.point_channels, pillars.stages)
    return encoder, pillars.stages[-1][1]


def _remaining_layers(layers: int) -> int:
    """Return how many z layers the sparse encoder leaves of `layers`."""
    for padding in (1, 1, 0):
        layers = (layers + 2 * padding - 3) // 2 + 1
    return (layers - 3) // 2 + 1


def _check_shape(name: str, shape_xy: tuple[int, int], card: ModelCard) -> None:
    if shape_xy != card.compensated_shape_xy:
        raise ValueError(
            f"teacher.{name}: expected a LiDAR map of {card.compensated_shape_xy} cells like the "
            f"student's BEV maps, got {shape_xy}"
        )
