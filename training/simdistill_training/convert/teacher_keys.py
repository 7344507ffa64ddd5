# SPDX-License-Identifier: Apache-2.0
"""Names of a published LiDAR-camera detector's parts, beyond those that the student has too."""

from __future__ import annotations

from torch import Tensor

from simdistill_ros.core.network.reference_keys import Rules, State

_NORM = r"(weight|bias|running_mean|running_var|num_batches_tracked)"

RASTER_ENCODER: Rules = (
    (r"dtransform\.0\.(weight|bias)", r"0.conv.\1"),
    (rf"dtransform\.1\.{_NORM}", r"0.norm.\1"),
    (r"dtransform\.3\.(weight|bias)", r"1.conv.\1"),
    (rf"dtransform\.4\.{_NORM}", r"1.norm.\1"),
    (r"dtransform\.6\.(weight|bias)", r"2.conv.\1"),
    (rf"dtransform\.7\.{_NORM}", r"2.norm.\1"),
)

DEPTH_HEAD: Rules = (
    (r"depthnet\.0\.(weight|bias)", r"hidden.0.conv.\1"),
    (rf"depthnet\.1\.{_NORM}", r"hidden.0.norm.\1"),
    (r"depthnet\.3\.(weight|bias)", r"hidden.1.conv.\1"),
    (rf"depthnet\.4\.{_NORM}", r"hidden.1.norm.\1"),
    (r"depthnet\.6\.(weight|bias)", r"output.\1"),
)

SPARSE_ENCODER: Rules = (
    (r"conv_input\.0\.weight", r"input.conv.weight"),
    (rf"conv_input\.1\.{_NORM}", r"input.norm.\1"),
    *(
        rule
        for stage in range(4)
        for rule in (
            (
                rf"encoder_layers\.encoder_layer{stage + 1}\.([01])\.conv1\.weight",
                rf"stages.{stage}.\1.first.conv.weight",
            ),
            (
                rf"encoder_layers\.encoder_layer{stage + 1}\.([01])\.conv2\.weight",
                rf"stages.{stage}.\1.second.conv.weight",
            ),
            (
                rf"encoder_layers\.encoder_layer{stage + 1}\.([01])\.bn1\.{_NORM}",
                rf"stages.{stage}.\1.first.norm.\2",
            ),
            (
                rf"encoder_layers\.encoder_layer{stage + 1}\.([01])\.bn2\.{_NORM}",
                rf"stages.{stage}.\1.second.norm.\2",
            ),
            (
                rf"encoder_layers\.encoder_layer{stage + 1}\.2\.0\.weight",
                rf"halvings.{stage}.conv.weight",
            ),
            (
                rf"encoder_layers\.encoder_layer{stage + 1}\.2\.1\.{_NORM}",
                rf"halvings.{stage}.norm.\1",
            ),
        )
    ),
    (r"conv_out\.0\.weight", r"output.conv.weight"),
    (rf"conv_out\.1\.{_NORM}", r"output.norm.\1"),
)


SECOND_ENCODER: Rules = tuple(
    rule
    for position in range(8)  # a convolution, its norm and an activation without weights
    for rule in (
        (rf"blocks\.(\d+)\.{3 * position}\.weight", rf"stages.\1.{position}.conv.weight"),
        (rf"blocks\.(\d+)\.{3 * position + 1}\.{_NORM}", rf"stages.\1.{position}.norm.\2"),
    )
)

SECOND_NECK: Rules = (
    (r"deblocks\.(\d+)\.0\.weight", r"levels.\1.conv.weight"),
    (rf"deblocks\.(\d+)\.1\.{_NORM}", r"levels.\1.norm.\2"),
)

TRANSFUSION_HEAD: Rules = (
    (r"shared_conv\.(weight|bias)", r"shared.\1"),
    (r"heatmap_head\.0\.conv\.weight", r"heatmap.0.conv.weight"),
    (rf"heatmap_head\.0\.bn\.{_NORM}", r"heatmap.0.norm.\1"),
    (r"heatmap_head\.1\.(weight|bias)", r"heatmap.1.\1"),
    (r"class_encoding\.(weight|bias)", r"class_embedding.\1"),
    (r"decoder\.0\.self_attn\.(.*)", r"decoder.among.\1"),
    (r"decoder\.0\.multihead_attn\.(.*)", r"decoder.across.\1"),
    (r"decoder\.0\.linear1\.(weight|bias)", r"decoder.expand.\1"),
    (r"decoder\.0\.linear2\.(weight|bias)", r"decoder.contract.\1"),
    (r"decoder\.0\.norm1\.(weight|bias)", r"decoder.norms.0.\1"),
    (r"decoder\.0\.norm2\.(weight|bias)", r"decoder.norms.1.\1"),
    (r"decoder\.0\.norm3\.(weight|bias)", r"decoder.norms.2.\1"),
    *(
        (
            rf"decoder\.0\.{role}_posembed\.position_embedding_head\.(\d)\.{_NORM}",
            rf"decoder.{target}.\1.\2",
        )
        for role, target in (("self", "proposal_position"), ("cross", "map_position"))
    ),
    (r"prediction_heads\.0\.(\w+)\.0\.conv\.weight", r"branches.\1.0.weight"),
    (rf"prediction_heads\.0\.(\w+)\.0\.bn\.{_NORM}", r"branches.\1.1.\2"),
    (r"prediction_heads\.0\.(\w+)\.1\.(weight|bias)", r"branches.\1.3.\2"),
)


def fold_convolution_biases(state: State) -> State:
    """Return weights without biases of convolutions that a norm follows.

    The norm subtracts its running mean, so a bias before it equals a smaller mean; this is exact.
    """
    folded: State = dict(state)
    for key, bias in state.items():
        if key.endswith(".conv.bias"):
            mean = key.removesuffix(".conv.bias") + ".norm.running_mean"
            folded[mean] = folded[mean] - bias
            del folded[key]
    return folded


def output_channels_first(state: State) -> State:
    """Return sparse convolution weights (kx, ky, kz, in, out) as (out, kx, ky, kz, in)."""
    return {key: _output_first(value) for key, value in state.items()}


def _output_first(value: Tensor) -> Tensor:
    return value.permute(4, 0, 1, 2, 3).contiguous() if value.ndim == 5 else value
