# SPDX-License-Identifier: Apache-2.0
"""Keys and shapes of published weights, to fabricate files from.

They are written out part by part from descriptions of the files, not derived from the converters.
"""

from __future__ import annotations

import torch

Shapes = dict[str, tuple[int, ...]]
NORM = ("weight", "bias", "running_mean", "running_var")
CLASSES = (1, 2, 2, 1, 2, 2)


def fabricated(shapes: Shapes, seed: int = 0) -> dict[str, torch.Tensor]:
    """Return random weights of these shapes; variances are positive, counters are integers."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for key, shape in shapes.items():
        if key.endswith(("num_batches_tracked", ".nx", "relative_position_index")):
            state[key] = torch.zeros(shape, dtype=torch.int64)
        else:
            state[key] = torch.rand(shape, generator=generator) - 0.5 * ("var" not in key)
    return state


def norm(prefix: str, channels: int) -> Shapes:
    shapes: Shapes = {f"{prefix}.{name}": (channels,) for name in NORM}
    return shapes | {f"{prefix}.num_batches_tracked": ()}


def layer(prefix: str, *weight: int, bias: bool = True) -> Shapes:
    shapes: Shapes = {f"{prefix}.weight": weight}
    return shapes | ({f"{prefix}.bias": weight[:1]} if bias else {})


def affine(prefix: str, channels: int) -> Shapes:
    return layer(prefix, channels)


def swin_detector(prefix: str) -> Shapes:
    shapes = layer(f"{prefix}patch_embed.projection", 96, 3, 4, 4)
    shapes |= affine(f"{prefix}patch_embed.norm", 96)
    for stage, (depth, heads) in enumerate(zip((2, 2, 6, 2), (3, 6, 12, 24), strict=True)):
        c = 96 * 2**stage
        for index in range(depth):
            block = f"{prefix}stages.{stage}.blocks.{index}."
            shapes |= affine(f"{block}norm1", c) | affine(f"{block}norm2", c)
            shapes[f"{block}attn.w_msa.relative_position_bias_table"] = (169, heads)
            shapes[f"{block}attn.w_msa.relative_position_index"] = (49, 49)
            shapes |= layer(f"{block}attn.w_msa.qkv", 3 * c, c)
            shapes |= layer(f"{block}attn.w_msa.proj", c, c)
            shapes |= layer(f"{block}ffn.layers.0.0", 4 * c, c)
            shapes |= layer(f"{block}ffn.layers.1", c, 4 * c)
        if stage < 3:
            shapes |= affine(f"{prefix}stages.{stage}.downsample.norm", 4 * c)
            shapes |= layer(
                f"{prefix}stages.{stage}.downsample.reduction", 2 * c, 4 * c, bias=False
            )
        if stage > 0:
            shapes |= affine(f"{prefix}norm{stage}", c)
    return shapes


def swin_classifier() -> Shapes:
    shapes = layer("patch_embed.proj", 96, 3, 4, 4) | affine("patch_embed.norm", 96)
    for stage, (depth, heads) in enumerate(zip((2, 2, 6, 2), (3, 6, 12, 24), strict=True)):
        c = 96 * 2**stage
        for index in range(depth):
            block = f"layers.{stage}.blocks.{index}."
            shapes |= affine(f"{block}norm1", c) | affine(f"{block}norm2", c)
            shapes[f"{block}attn.relative_position_bias_table"] = (169, heads)
            shapes[f"{block}attn.relative_position_index"] = (49, 49)
            if index % 2 and stage < 3:
                shapes[f"{block}attn_mask"] = (64 // 4**stage, 49, 49)
            shapes |= layer(f"{block}attn.qkv", 3 * c, c) | layer(f"{block}attn.proj", c, c)
            shapes |= layer(f"{block}mlp.fc1", 4 * c, c) | layer(f"{block}mlp.fc2", c, 4 * c)
        if stage < 3:
            shapes |= affine(f"layers.{stage}.downsample.norm", 4 * c)
            shapes |= layer(f"layers.{stage}.downsample.reduction", 2 * c, 4 * c, bias=False)
    return shapes | affine("norm", 768) | layer("head", 1000, 768)


def image_neck(prefix: str) -> Shapes:
    shapes: Shapes = {}
    for level, wide in enumerate((448, 1152)):
        shapes |= layer(f"{prefix}lateral_convs.{level}.conv", 256, wide, 1, 1, bias=False)
        shapes |= norm(f"{prefix}lateral_convs.{level}.bn", 256)
        shapes |= layer(f"{prefix}fpn_convs.{level}.conv", 256, 256, 3, 3, bias=False)
        shapes |= norm(f"{prefix}fpn_convs.{level}.bn", 256)
    return shapes


def lift_geometry(prefix: str) -> Shapes:
    frustum = {f"{prefix}frustum": (118, 32, 88, 3)}
    return {f"{prefix}{name}": (3,) for name in ("dx", "bx", "nx")} | frustum


def lift_downsample(prefix: str) -> Shapes:
    shapes: Shapes = {}
    for index in (0, 3, 6):
        shapes |= layer(f"{prefix}downsample.{index}", 80, 80, 3, 3, bias=False)
        shapes |= norm(f"{prefix}downsample.{index + 1}", 80)
    return shapes


def depth_lift(prefix: str) -> Shapes:
    shapes: Shapes = {}
    for index, weight in zip((0, 3, 6), ((8, 1, 1, 1), (32, 8, 5, 5), (64, 32, 5, 5)), strict=True):
        shapes |= layer(f"{prefix}dtransform.{index}", *weight)
        shapes |= norm(f"{prefix}dtransform.{index + 1}", weight[0])
    for index, wide in ((0, 320), (3, 256)):
        shapes |= layer(f"{prefix}depthnet.{index}", 256, wide, 3, 3)
        shapes |= norm(f"{prefix}depthnet.{index + 1}", 256)
    return shapes | layer(f"{prefix}depthnet.6", 198, 256, 1, 1)


def bev_decoder(prefix: str, in_channels: int) -> Shapes:
    shapes: Shapes = {}
    for stage, c in enumerate((128, 256, 512)):
        for block in range(2):
            name = f"{prefix}backbone.{stage}.{block}."
            source = in_channels if block == 0 else c
            shapes |= layer(f"{name}conv1", c, source, 3, 3, bias=False) | norm(f"{name}bn1", c)
            shapes |= layer(f"{name}conv2", c, c, 3, 3, bias=False) | norm(f"{name}bn2", c)
        first = f"{prefix}backbone.{stage}.0.downsample."
        shapes |= layer(f"{first}0", c, in_channels, 1, 1, bias=False) | norm(f"{first}1", c)
        in_channels = c
    for name, weight in (
        ("fuse.0", (256, 640, 1, 1)),
        ("fuse.3", (256, 256, 3, 3)),
        ("upsample.1", (256, 256, 3, 3)),
    ):
        part, index = name.split(".")
        shapes |= layer(f"{prefix}neck.{name}", *weight, bias=False)
        shapes |= norm(f"{prefix}neck.{part}.{int(index) + 1}", 256)
    return shapes


def center_head(prefix: str) -> Shapes:
    shapes = layer(f"{prefix}shared_conv.conv", 64, 256, 3, 3, bias=False)
    shapes |= norm(f"{prefix}shared_conv.bn", 64)
    for task, classes in enumerate(CLASSES):
        outputs = {"reg": 2, "height": 1, "dim": 3, "rot": 2, "vel": 2, "heatmap": classes}
        for name, channels in outputs.items():
            branch = f"{prefix}task_heads.{task}.{name}."
            shapes |= layer(f"{branch}0.conv", 64, 64, 3, 3, bias=False)
            shapes |= norm(f"{branch}0.bn", 64) | layer(f"{branch}1", channels, 64, 3, 3)
    return shapes


def sparse_encoder(prefix: str) -> Shapes:
    shapes: Shapes = {f"{prefix}conv_input.0.weight": (3, 3, 3, 5, 16)}
    shapes |= norm(f"{prefix}conv_input.1", 16)
    for stage, c in enumerate((16, 32, 64, 128)):
        name = f"{prefix}encoder_layers.encoder_layer{stage + 1}."
        for block in range(2):
            for conv in (1, 2):
                shapes[f"{name}{block}.conv{conv}.weight"] = (3, 3, 3, c, c)
                shapes |= norm(f"{name}{block}.bn{conv}", c)
        if stage < 3:
            shapes[f"{name}2.0.weight"] = (3, 3, 3, c, 2 * c)
            shapes |= norm(f"{name}2.1", 2 * c)
    shapes[f"{prefix}conv_out.0.weight"] = (1, 1, 3, 128, 128)
    return shapes | norm(f"{prefix}conv_out.1", 128)


def second_and_transfusion() -> Shapes:
    shapes: Shapes = {}
    for stage, (source, c) in enumerate(((256, 128), (128, 256))):
        for index in range(6):
            name = f"decoder.backbone.blocks.{stage}."
            wide = source if index == 0 else c
            shapes |= layer(f"{name}{3 * index}", c, wide, 3, 3, bias=False)
            shapes |= norm(f"{name}{3 * index + 1}", c)
    shapes |= layer("decoder.neck.deblocks.0.0", 256, 128, 1, 1, bias=False)
    shapes |= norm("decoder.neck.deblocks.0.1", 256)
    shapes["decoder.neck.deblocks.1.0.weight"] = (256, 256, 2, 2)
    shapes |= norm("decoder.neck.deblocks.1.1", 256)
    head = "heads.object."
    shapes |= layer(f"{head}shared_conv", 128, 512, 3, 3)
    shapes |= layer(f"{head}heatmap_head.0.conv", 128, 128, 3, 3, bias=False)
    shapes |= norm(f"{head}heatmap_head.0.bn", 128)
    shapes |= layer(f"{head}heatmap_head.1", 10, 128, 3, 3)
    shapes |= layer(f"{head}class_encoding", 128, 10, 1)
    block = f"{head}decoder.0."
    for attention in ("self_attn", "multihead_attn"):
        shapes[f"{block}{attention}.in_proj_weight"] = (384, 128)
        shapes[f"{block}{attention}.in_proj_bias"] = (384,)
        shapes |= layer(f"{block}{attention}.out_proj", 128, 128)
    shapes |= layer(f"{block}linear1", 256, 128) | layer(f"{block}linear2", 128, 256)
    for number in (1, 2, 3):
        shapes |= affine(f"{block}norm{number}", 128)
    for role in ("self", "cross"):
        embedding = f"{block}{role}_posembed.position_embedding_head."
        shapes |= layer(f"{embedding}0", 128, 2, 1) | norm(f"{embedding}1", 128)
        shapes |= layer(f"{embedding}3", 128, 128, 1)
    outputs = {"center": 2, "height": 1, "dim": 3, "rot": 2, "vel": 2, "heatmap": 10}
    for name, channels in outputs.items():
        branch = f"{head}prediction_heads.0.{name}."
        shapes |= layer(f"{branch}0.conv", 64, 128, 1, bias=False) | norm(f"{branch}0.bn", 64)
        shapes |= layer(f"{branch}1", channels, 64, 1)
    return shapes


def camera_only_detector() -> Shapes:
    lift = "encoders.camera.vtransform."
    return (
        swin_detector("encoders.camera.backbone.")
        | image_neck("encoders.camera.neck.")
        | lift_geometry(lift)
        | layer(f"{lift}depthnet", 198, 256, 1, 1)
        | lift_downsample(lift)
        | bev_decoder("decoder.", 80)
        | center_head("heads.object.")
    )


def lidar_camera_detector() -> Shapes:
    lift = "encoders.camera.vtransform."
    fuser: Shapes = {"fuser.0.weight": (256, 336, 3, 3)}
    return (
        swin_detector("encoders.camera.backbone.")
        | image_neck("encoders.camera.neck.")
        | lift_geometry(lift)
        | depth_lift(lift)
        | lift_downsample(lift)
        | sparse_encoder("encoders.lidar.backbone.")
        | fuser
        | norm("fuser.1", 256)
        | second_and_transfusion()
    )


def resnet50() -> Shapes:
    shapes = layer("conv1", 64, 3, 7, 7, bias=False) | norm("bn1", 64)
    source = 64
    for stage, (depth, c) in enumerate(zip((3, 4, 6, 3), (64, 128, 256, 512), strict=True)):
        for index in range(depth):
            block = f"layer{stage + 1}.{index}."
            shapes |= layer(f"{block}conv1", c, source, 1, 1, bias=False) | norm(f"{block}bn1", c)
            shapes |= layer(f"{block}conv2", c, c, 3, 3, bias=False) | norm(f"{block}bn2", c)
            shapes |= layer(f"{block}conv3", 4 * c, c, 1, 1, bias=False)
            shapes |= norm(f"{block}bn3", 4 * c)
            if index == 0:
                shapes |= layer(f"{block}downsample.0", 4 * c, source, 1, 1, bias=False)
                shapes |= norm(f"{block}downsample.1", 4 * c)
            source = 4 * c
    return shapes | layer("fc", 1000, 2048)
