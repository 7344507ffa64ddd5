# SPDX-License-Identifier: Apache-2.0
"""Published image encoders → the encoder weights that a training can start from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save_file
from torch import Tensor

from simdistill_ros.core.network.reference_keys import (
    RESNET,
    SWIN,
    Rules,
    State,
    rename_resnet_keys,
)
from simdistill_ros.core.network.resnet import ResNet
from simdistill_ros.core.network.swin import SwinTransformer
from simdistill_training.convert.coverage import Coverage, Part, Reasons, convert
from simdistill_training.convert.state_files import read_state

MergingOrder = Literal["auto", "grouped", "interleaved"]

# The classification form names its parts in its own way; detection toolboxes rename them.
CLASSIFIER_SWIN: Rules = (
    (r"patch_embed\.proj\.(weight|bias)", r"patch_embed.\1"),
    (r"patch_embed\.norm\.(weight|bias)", r"patch_norm.\1"),
    (r"norm1\.(weight|bias)", r"norms.0.\1"),
    (r"norm2\.(weight|bias)", r"norms.1.\1"),
    (r"norm3\.(weight|bias)", r"norms.2.\1"),
    (r"layers\.(\d+)\.blocks\.(\d+)\.(norm[12])\.(weight|bias)", r"stages.\1.\2.\3.\4"),
    (
        r"layers\.(\d+)\.blocks\.(\d+)\.attn\.relative_position_bias_table",
        r"stages.\1.\2.attention.relative_bias",
    ),
    (r"layers\.\d+\.blocks\.\d+\.(attn\.relative_position_index|attn_mask)", None),
    (
        r"layers\.(\d+)\.blocks\.(\d+)\.attn\.qkv\.(weight|bias)",
        r"stages.\1.\2.attention.qkv.\3",
    ),
    (
        r"layers\.(\d+)\.blocks\.(\d+)\.attn\.proj\.(weight|bias)",
        r"stages.\1.\2.attention.projection.\3",
    ),
    (r"layers\.(\d+)\.blocks\.(\d+)\.mlp\.fc1\.(weight|bias)", r"stages.\1.\2.mlp.0.\3"),
    (r"layers\.(\d+)\.blocks\.(\d+)\.mlp\.fc2\.(weight|bias)", r"stages.\1.\2.mlp.2.\3"),
    (r"layers\.(\d+)\.downsample\.(norm|reduction)\.(weight|bias)", r"merges.\1.\2.\3"),
)
BACKBONE = "backbone."
NOT_BACKBONE: Reasons = (
    (r"(norm|norm0|head)\.(weight|bias)", "classifier, or an output that is not used"),
    (r"(neck|rpn_head|roi_head|mask_head|bbox_head)\..*", "2D detector"),
    (r"backbone\.norm0?\.(weight|bias)", "an output that is not used"),
)
OUTPUT_NORMS: Reasons = ((r"norms\.\d\.(weight|bias)", "not published: begins as the identity"),)
GROUP_ORDER = [0, 2, 1, 3]  # (row, column) of the groups is (0,0), (1,0), (0,1), (1,1)


def convert_swin(source: Path, output: Path, *, merging: MergingOrder = "auto") -> Coverage:
    """Write the encoder weights of a published Swin-T as safetensors.

    Args:
        source: An ImageNet classifier or a detector with a Swin-T backbone.
        output: The safetensors file.
        merging: Order of the channels that its patch merging joins; see `swin_state`.

    Raises:
        CoverageError: If a key is unexplained.
        ValueError: If the file is not readable.
    """
    state, coverage = swin_state(read_state(source), merging)
    _save(state, output)
    return coverage


def convert_resnet50(source: Path, output: Path) -> Coverage:
    """Write the encoder weights of torchvision's ResNet-50 as safetensors.

    Raises:
        CoverageError: If a key is unexplained.
        ValueError: If the file is not readable.
    """
    state, coverage = resnet50_state(read_state(source))
    _save(state, output)
    return coverage


def swin_state(
    published: Mapping[str, Tensor], merging: MergingOrder = "auto"
) -> tuple[State, Coverage]:
    """Return a Swin-T encoder's weights and the account of all keys.

    Args:
        published: With the names of the classification form (`layers.0.blocks...`) or of detection
            toolboxes (`stages.0.blocks...`), with or without `backbone.` in front.
        merging: `grouped`: patch merging joins four groups of all channels, as the classification
            form does; `interleaved`: it joins the four positions of each channel, as this project
            does; `auto`: what is usual for the names.

    Raises:
        CoverageError: If a key is unexplained.
    """
    prefix = BACKBONE if any(key.startswith(BACKBONE) for key in published) else ""
    is_classifier = any(key.startswith(f"{prefix}layers.") for key in published)
    is_grouped = is_classifier if merging == "auto" else merging == "grouped"
    expected = SwinTransformer(96, (2, 2, 6, 2), (3, 6, 12, 24)).state_dict()
    part = Part(
        prefix,
        ("",),
        CLASSIFIER_SWIN if is_classifier else SWIN,
        interleaved_merging if is_grouped else None,
    )
    state, coverage = convert(
        published, [part], expected, ignored=NOT_BACKBONE, may_miss=OUTPUT_NORMS
    )
    for key in expected.keys() - state.keys():
        fill = torch.ones if key.endswith("weight") else torch.zeros
        state[key] = fill(expected[key].shape)
    return state, coverage


def interleaved_merging(state: State) -> State:
    """Return weights whose patch merging takes the four positions of each channel in turn."""
    return {
        key: _interleaved(value) if key.startswith("merges.") else value
        for key, value in state.items()
    }


def resnet50_state(published: Mapping[str, Tensor]) -> tuple[State, Coverage]:
    """Return a ResNet-50 encoder's weights and the account of all keys.

    Raises:
        CoverageError: If a key is unexplained.
    """
    expected = ResNet((3, 4, 6, 3), 64).state_dict()
    unused = [rule for rule in RESNET if rule[1] is None]
    inner = (*unused, *_exact_rules(published))
    return convert(published, [Part("", ("",), inner)], expected)


def _exact_rules(published: Mapping[str, Tensor]) -> tuple[tuple[str, str], ...]:
    """Return one rule per key that the two steps of the ResNet's renaming know."""
    rules = []
    for key, value in published.items():
        try:
            renamed = rename_resnet_keys({key: value})
        except ValueError:
            continue
        rules += [(key.replace(".", r"\."), name) for name in renamed]
    return tuple(rules)


def _interleaved(value: Tensor) -> Tensor:
    """Reorder the last axis from (position, channel) to (channel, position)."""
    groups = value.reshape(*value.shape[:-1], 4, -1)[..., GROUP_ORDER, :]
    return groups.transpose(-1, -2).flatten(-2).contiguous()


def _save(state: State, output: Path) -> None:
    output.parent.mkdir(parents=True, exist_ok=True)
    save_file({key: value.contiguous() for key, value in state.items()}, output)
