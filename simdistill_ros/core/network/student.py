# SPDX-License-Identifier: Apache-2.0
"""The student: two lift branches from the same images, fused, encoded and decoded to head maps.

It takes images and integer tables, nothing else. Its two halves around the pooling have fixed
shapes and no data-dependent control flow, so that each can be exported.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from simdistill_ros.core.network.view_transform import BatchedPoolingTables, pool_two_bevs


class Lifted(NamedTuple):
    """Depth (B, N, D, Hf, Wf) and context (B, N, Hf, Wf, C) of both branches."""

    depth_camera: Tensor
    context_camera: Tensor
    depth_lidar: Tensor
    context_lidar: Tensor


class BevFeatures(NamedTuple):
    """BEV maps (B, C, X, Y) of the two branches, and fused."""

    camera: Tensor
    simulated_lidar: Tensor
    fused: Tensor


class ImageNetwork(nn.Module):
    """Images to depth and context of both branches."""

    def __init__(
        self,
        encoder: nn.Module,
        neck: nn.Module,
        *,
        camera_lift: nn.Module | None,
        lidar_lift: nn.Module,
        compensation: nn.Module,
    ) -> None:
        """Combine the parts; without a camera lift both branches are the simulated-LiDAR one."""
        super().__init__()
        self.encoder = encoder
        self.neck = neck
        self.camera_lift = camera_lift
        self.compensation = compensation
        self.lidar_lift = lidar_lift

    def forward(self, images: Tensor) -> Lifted:
        """Lift images (B, N, 3, H, W), RGB, normalised."""
        features = self.neck(self.encoder(images.flatten(0, 1)))  # (B * N, C, Hf, Wf)
        lidar = self.lidar_lift(self.compensation(features))
        camera = lidar if self.camera_lift is None else self.camera_lift(features)
        batch_cameras = images.shape[:2]
        return Lifted(*(output.unflatten(0, batch_cameras) for output in (*camera, *lidar)))


class BevNetwork(nn.Module):
    """Pooled maps of both branches to head maps."""

    def __init__(
        self,
        *,
        camera_downsample: nn.Module | None,
        lidar_downsample: nn.Module,
        compensation: nn.Module,
        fuser: nn.Module,
        encoder: nn.Module,
        neck: nn.Module,
        head: nn.Module,
    ) -> None:
        """Combine the parts; without a camera downsample both branches share one."""
        super().__init__()
        self.camera_downsample = camera_downsample
        self.lidar_downsample = lidar_downsample
        self.compensation = compensation
        self.fuser = fuser
        self.encoder = encoder
        self.neck = neck
        self.head = head

    def forward(self, pooled_camera: Tensor, pooled_lidar: Tensor) -> list[dict[str, Tensor]]:
        """Return the head maps of pooled maps (B, C, X, Y)."""
        return self.heads(self.features(pooled_camera, pooled_lidar).fused)

    def features(self, pooled_camera: Tensor, pooled_lidar: Tensor) -> BevFeatures:
        """Return both branches after downsampling and compensation, and fused."""
        downsample = self.camera_downsample or self.lidar_downsample
        camera = downsample(pooled_camera)
        simulated_lidar = self.compensation(self.lidar_downsample(pooled_lidar))
        return BevFeatures(camera, simulated_lidar, self.fuser(simulated_lidar, camera))

    def heads(self, fused: Tensor) -> list[dict[str, Tensor]]:
        """Return the head maps of a fused BEV map (B, C, X, Y)."""
        maps: list[dict[str, Tensor]] = self.head(self.neck(self.encoder(fused)))
        return maps


class Student(nn.Module):
    """Camera-only detector network."""

    def __init__(
        self, image_network: ImageNetwork, bev_network: BevNetwork, shape_xy: tuple[int, int]
    ) -> None:
        """Combine the halves; `shape_xy` is the shape of the pooled BEV maps."""
        super().__init__()
        self.image_network = image_network
        self.bev_network = bev_network
        self.shape_xy = shape_xy

    def forward(self, images: Tensor, tables: BatchedPoolingTables) -> list[dict[str, Tensor]]:
        """Detect objects around the vehicle.

        Args:
            images: (B, N, 3, H, W), RGB, normalised, cameras in the card's order.
            tables: Pooling tables of the B calibrations.

        Returns:
            Per task, maps (B, channels, X, Y) by name; see `CenterHead`.
        """
        pooled_camera, pooled_lidar = self.pool(self.image_network(images), tables)
        maps: list[dict[str, Tensor]] = self.bev_network(pooled_camera, pooled_lidar)
        return maps

    def pool(self, lifted: Lifted, tables: BatchedPoolingTables) -> tuple[Tensor, Tensor]:
        """Return the pooled BEV maps of the camera and the simulated-LiDAR branch."""
        camera, lidar = lifted[:2], lifted[2:]
        return pool_two_bevs((camera, lidar), tables, self.shape_xy)
