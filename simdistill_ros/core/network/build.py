# SPDX-License-Identifier: Apache-2.0
"""Build the student that a model card describes; sizes come from the card and nowhere else."""

from __future__ import annotations

import torch
from torch import nn

from simdistill_ros.core.model_card import ModelCard, ModelCardError
from simdistill_ros.core.model_card_parts import (
    CompensationCard,
    EfficientNetEncoderCard,
    ResNetEncoderCard,
)
from simdistill_ros.core.network.bev_encoder import BevResNet, ConvFuser
from simdistill_ros.core.network.center_head import CenterHead
from simdistill_ros.core.network.efficientnet import EfficientNetLite0
from simdistill_ros.core.network.feature_pyramid import ConcatBevNeck, ConcatNeck, SumNeck
from simdistill_ros.core.network.geometry_compensation import (
    ConvolutionBlock,
    DeformableAttention,
    GeometryCompensation,
)
from simdistill_ros.core.network.resnet import ResNet
from simdistill_ros.core.network.student import BevNetwork, ImageNetwork, Student
from simdistill_ros.core.network.swin import SwinTransformer
from simdistill_ros.core.network.view_transform import BevDownsample, LiftHead


def build_student(card: ModelCard) -> Student:
    """Return the card's network with seeded initial weights, in training mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(card.init_seed)
        return Student(_image_network(card), _bev_network(card), card.bev.grid.shape_xy)


def load_student(card: ModelCard) -> Student:
    """Return the card's network with the card's weights, in eval mode.

    A card without weights gives the seeded initial network.

    Raises:
        ModelCardError: If the weights are missing, have another hash or do not fit the card.
    """
    if card.weights is None:
        return build_student(card).eval()
    # Before anything is built, and the very bytes that were checked: a file could change meanwhile.
    weights = card.verified_bytes("weights", card.weights)
    student = build_student(card).eval()
    from safetensors.torch import load  # untrained models do without

    try:
        student.load_state_dict(load(weights))
    except Exception as error:
        name = card.weights.file
        raise ModelCardError(f"{card.file}: {name} does not fit the card: {error}") from error
    return student


def build_encoder(card: ModelCard) -> nn.Module:
    """Return the card's image encoder."""
    encoder = card.encoder
    if isinstance(encoder, EfficientNetEncoderCard):
        return EfficientNetLite0()
    if isinstance(encoder, ResNetEncoderCard):
        return ResNet(encoder.depths, encoder.base_channels)
    return SwinTransformer(
        encoder.embed_channels,
        encoder.depths,
        encoder.heads,
        window=encoder.window,
        mlp_ratio=encoder.mlp_ratio,
        drop_path=encoder.drop_path,
    )


def _image_network(card: ModelCard) -> ImageNetwork:
    levels = card.encoder.out_channels[{8: 0, 16: 1}[card.lift.stride] :]
    neck = {"concat": ConcatNeck, "sum": SumNeck}[card.neck.kind]
    shared = card.legacy.shared_view_transform
    return ImageNetwork(
        build_encoder(card),
        neck(levels, card.neck.channels),
        camera_lift=None if shared else _lift_head(card),
        lidar_lift=_lift_head(card),
        compensation=_compensation(
            card, card.compensation.image, card.neck.channels, card.feature_hw
        ),
    )


def _lift_head(card: ModelCard) -> LiftHead:
    return LiftHead(
        card.neck.channels,
        hidden_channels=card.lift.hidden_channels,
        hidden_layers=card.lift.hidden_layers,
        depth_bins=card.lift.depth.count,
        context_channels=card.lift.context_channels,
    )


def _bev_network(card: ModelCard) -> BevNetwork:
    channels, strides = card.lift.context_channels, card.lift.downsample_strides
    shared = card.legacy.shared_view_transform
    stages = [(stage.blocks, stage.channels, stage.stride) for stage in card.bev_encoder.stages]
    return BevNetwork(
        camera_downsample=None if shared else BevDownsample(channels, strides),
        lidar_downsample=BevDownsample(channels, strides),
        compensation=_compensation(
            card, card.compensation.bev, channels, card.compensated_shape_xy
        ),
        fuser=ConvFuser([channels, channels], card.fuser.channels),
        encoder=BevResNet(card.fuser.channels, stages),
        neck=_bev_neck(card),
        head=CenterHead(
            card.bev_encoder.neck.channels,
            [len(task.classes) for task in card.tasks],
            shared_channels=card.head.shared_channels,
            branch_channels=card.head.branch_channels,
        ),
    )


def _bev_neck(card: ModelCard) -> nn.Module:
    neck, stages = card.bev_encoder.neck, card.bev_encoder.stages
    if neck.kind == "sum":
        return SumNeck([stage.channels for stage in stages], neck.channels)
    return ConcatBevNeck(
        stages[0].channels, stages[-1].channels, neck.channels, card.bev_encoder.upsample
    )


def _compensation(
    card: ModelCard, block: CompensationCard, channels: int, map_hw: tuple[int, int]
) -> nn.Module:
    if block.kind == "none":
        return nn.Identity()
    if block.kind == "deformable_attention":
        return GeometryCompensation(
            DeformableAttention(
                channels,
                map_hw,
                heads=block.heads,
                points=block.points,
                corner_reference_points=card.legacy.corner_reference_points,
            )
        )
    is_deformable = block.kind == "deformable_convolution"
    return GeometryCompensation(ConvolutionBlock(channels, deformable=is_deformable))
