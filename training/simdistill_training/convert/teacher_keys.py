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
