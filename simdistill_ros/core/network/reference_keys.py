# SPDX-License-Identifier: Apache-2.0
"""Rename weights from published checkpoints to this package's networks.

Each part of a network has one list of rules, tried in order. A key that no rule knows is an error:
a silently dropped weight would be a silently wrong network.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from torch import Tensor

State = dict[str, Tensor]
# (pattern of the whole published key, replacement); replacement None drops the key on purpose.
Rules = Sequence[tuple[str, str | None]]

_NORM = r"(weight|bias|running_mean|running_var|num_batches_tracked)"

SWIN: Rules = (
    (r"patch_embed\.projection\.(weight|bias)", r"patch_embed.\1"),
    (r"patch_embed\.norm\.(weight|bias)", r"patch_norm.\1"),
    (r"stages\.(\d+)\.downsample\.(norm|reduction)\.(weight|bias)", r"merges.\1.\2.\3"),
    (r"norm1\.(weight|bias)", r"norms.0.\1"),
    (r"norm2\.(weight|bias)", r"norms.1.\1"),
    (r"norm3\.(weight|bias)", r"norms.2.\1"),
    (r"stages\.(\d+)\.blocks\.(\d+)\.(norm[12])\.(weight|bias)", r"stages.\1.\2.\3.\4"),
    (r"stages\.\d+\.blocks\.\d+\.attn\.w_msa\.relative_position_index", None),
    (
        r"stages\.(\d+)\.blocks\.(\d+)\.attn\.w_msa\.relative_position_bias_table",
        r"stages.\1.\2.attention.relative_bias",
    ),
    (
        r"stages\.(\d+)\.blocks\.(\d+)\.attn\.w_msa\.qkv\.(weight|bias)",
        r"stages.\1.\2.attention.qkv.\3",
    ),
    (
        r"stages\.(\d+)\.blocks\.(\d+)\.attn\.w_msa\.proj\.(weight|bias)",
        r"stages.\1.\2.attention.projection.\3",
    ),
    (r"stages\.(\d+)\.blocks\.(\d+)\.ffn\.layers\.0\.0\.(weight|bias)", r"stages.\1.\2.mlp.0.\3"),
    (r"stages\.(\d+)\.blocks\.(\d+)\.ffn\.layers\.1\.(weight|bias)", r"stages.\1.\2.mlp.2.\3"),
)

RESNET: Rules = (
    (r"conv1\.weight", r"stem.conv.weight"),
    (rf"bn1\.{_NORM}", r"stem.norm.\1"),
    (r"layer1\.(.*)", r"stages.0.\1"),
    (r"layer2\.(.*)", r"stages.1.\1"),
    (r"layer3\.(.*)", r"stages.2.\1"),
    (r"layer4\.(.*)", r"stages.3.\1"),
    (r"fc\.(weight|bias)", None),
)
RESNET_BLOCK: Rules = (
    (r"(stages\.\d+\.\d+)\.conv1\.weight", r"\1.reduce.conv.weight"),
    (r"(stages\.\d+\.\d+)\.conv2\.weight", r"\1.spatial.conv.weight"),
    (r"(stages\.\d+\.\d+)\.conv3\.weight", r"\1.expand.conv.weight"),
    (rf"(stages\.\d+\.\d+)\.bn1\.{_NORM}", r"\1.reduce.norm.\2"),
    (rf"(stages\.\d+\.\d+)\.bn2\.{_NORM}", r"\1.spatial.norm.\2"),
    (rf"(stages\.\d+\.\d+)\.bn3\.{_NORM}", r"\1.expand.norm.\2"),
    (r"(stages\.\d+\.\d+)\.downsample\.0\.weight", r"\1.shortcut.conv.weight"),
    (rf"(stages\.\d+\.\d+)\.downsample\.1\.{_NORM}", r"\1.shortcut.norm.\2"),
    (r"(stem\..*)", r"\1"),
)

EFFICIENTNET_LITE0: Rules = (
    (r"_conv_stem\.weight", r"stem.conv.weight"),
    (rf"_bn0\.{_NORM}", r"stem.norm.\1"),
    (r"_blocks\.(\d+)\._expand_conv\.weight", r"blocks.\1.expand.conv.weight"),
    (rf"_blocks\.(\d+)\._bn0\.{_NORM}", r"blocks.\1.expand.norm.\2"),
    (r"_blocks\.(\d+)\._depthwise_conv\.weight", r"blocks.\1.depthwise.conv.weight"),
    (rf"_blocks\.(\d+)\._bn1\.{_NORM}", r"blocks.\1.depthwise.norm.\2"),
    (r"_blocks\.(\d+)\._project_conv\.weight", r"blocks.\1.project.conv.weight"),
    (rf"_blocks\.(\d+)\._bn2\.{_NORM}", r"blocks.\1.project.norm.\2"),
    (r"(_conv_head|_bn1|_fc)\..*", None),  # the classifier
)

IMAGE_NECK: Rules = (
    (r"lateral_convs\.(\d+)\.conv\.weight", r"laterals.\1.conv.weight"),
    (rf"lateral_convs\.(\d+)\.bn\.{_NORM}", r"laterals.\1.norm.\2"),
    (r"fpn_convs\.(\d+)\.conv\.weight", r"outputs.\1.conv.weight"),
    (rf"fpn_convs\.(\d+)\.bn\.{_NORM}", r"outputs.\1.norm.\2"),
)

LIFT_HEAD: Rules = ((r"depthnet\.(weight|bias)", r"output.\1"),)

BEV_DOWNSAMPLE: Rules = (
    (r"downsample\.0\.weight", r"0.conv.weight"),
    (rf"downsample\.1\.{_NORM}", r"0.norm.\1"),
    (r"downsample\.3\.weight", r"1.conv.weight"),
    (rf"downsample\.4\.{_NORM}", r"1.norm.\1"),
    (r"downsample\.6\.weight", r"2.conv.weight"),
    (rf"downsample\.7\.{_NORM}", r"2.norm.\1"),
)

DEFORMABLE_ATTENTION: Rules = (
    (r"query_embeds\.0\.weight", None),  # never used
    (r"pe\.0\.row_embed\.weight", r"embedding_u"),
    (r"pe\.0\.col_embed\.weight", r"embedding_v"),
    (r"el\.0\.self_attn\.sampling_offsets\.(weight|bias)", r"offsets.\1"),
    (r"el\.0\.self_attn\.attention_weights\.(weight|bias)", r"attention.\1"),
    (r"el\.0\.self_attn\.value_proj\.(weight|bias)", r"value.\1"),
    (r"el\.0\.self_attn\.output_proj\.(weight|bias)", r"projection.\1"),
)

CONVOLUTION_BLOCK: Rules = (
    (r"defconv1\.(weight|bias)", r"first.\1"),
    (r"defconv2\.(weight|bias)", r"second.\1"),
    (r"defconv1\.offset_conv\.(weight|bias)", r"first.offsets.\1"),
    (r"defconv2\.offset_conv\.(weight|bias)", r"second.offsets.\1"),
    (r"defconv1\.modulator_conv\.(weight|bias)", r"first.modulators.\1"),
    (r"defconv2\.modulator_conv\.(weight|bias)", r"second.modulators.\1"),
    (r"defconv1\.regular_conv\.(weight|bias)", r"first.conv.\1"),
    (r"defconv2\.regular_conv\.(weight|bias)", r"second.conv.\1"),
)

FUSER: Rules = ((r"0\.weight", r"conv.conv.weight"), (rf"1\.{_NORM}", r"conv.norm.\1"))

BEV_ENCODER: Rules = (
    (r"(\d+)\.(\d+)\.conv1\.weight", r"stages.\1.\2.first.conv.weight"),
    (r"(\d+)\.(\d+)\.conv2\.weight", r"stages.\1.\2.second.conv.weight"),
    (rf"(\d+)\.(\d+)\.bn1\.{_NORM}", r"stages.\1.\2.first.norm.\3"),
    (rf"(\d+)\.(\d+)\.bn2\.{_NORM}", r"stages.\1.\2.second.norm.\3"),
    (r"(\d+)\.(\d+)\.downsample\.0\.weight", r"stages.\1.\2.shortcut.conv.weight"),
    (rf"(\d+)\.(\d+)\.downsample\.1\.{_NORM}", r"stages.\1.\2.shortcut.norm.\3"),
)

BEV_NECK: Rules = (
    (r"fuse\.0\.weight", r"lateral.conv.weight"),
    (rf"fuse\.1\.{_NORM}", r"lateral.norm.\1"),
    (r"fuse\.3\.weight", r"fuse.conv.weight"),
    (rf"fuse\.4\.{_NORM}", r"fuse.norm.\1"),
    (r"upsample\.1\.weight", r"output.conv.weight"),
    (rf"upsample\.2\.{_NORM}", r"output.norm.\1"),
)

CENTER_HEAD: Rules = (
    (r"shared_conv\.conv\.weight", r"shared.conv.weight"),
    (rf"shared_conv\.bn\.{_NORM}", r"shared.norm.\1"),
    (r"task_heads\.(\d+)\.(\w+)\.0\.conv\.weight", r"tasks.\1.\2.0.conv.weight"),
    (rf"task_heads\.(\d+)\.(\w+)\.0\.bn\.{_NORM}", r"tasks.\1.\2.0.norm.\3"),
    (r"task_heads\.(\d+)\.(\w+)\.1\.(weight|bias)", r"tasks.\1.\2.1.\3"),
)


def rename_keys(state: Mapping[str, Tensor], rules: Rules) -> State:
    """Return weights under this package's names.

    Args:
        state: Published weights of one part, without the part's prefix.
        rules: The part's rules.

    Raises:
        ValueError: If a key matches no rule; the message names the keys.
    """
    renamed: State = {}
    unknown = []
    for key, value in state.items():
        for pattern, replacement in rules:
            match = re.fullmatch(pattern, key)
            if match:
                if replacement is not None:
                    renamed[match.expand(replacement)] = value
                break
        else:
            unknown.append(key)
    if unknown:
        raise ValueError(f"published weights: expected known keys, got {sorted(unknown)}")
    return renamed


def rename_resnet_keys(state: Mapping[str, Tensor]) -> State:
    """Return the weights of a classifier's ResNet under this package's names.

    Raises:
        ValueError: As `rename_keys`.
    """
    return rename_keys(rename_keys(state, RESNET), RESNET_BLOCK)
