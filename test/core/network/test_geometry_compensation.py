# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch
from torch.nn.functional import conv2d, grid_sample

from simdistill_ros.core.network.geometry_compensation import (
    ConvolutionBlock,
    DeformableAttention,
    DeformableConvolution,
    GeometryCompensation,
)
from simdistill_ros.core.network.reference_keys import (
    CONVOLUTION_BLOCK,
    DEFORMABLE_ATTENTION,
    rename_keys,
)
from simdistill_ros.core.network.sampling import use_sum_form

INITIAL = "__reference_init__."


def published_attention(reference) -> DeformableAttention:
    config = reference.config
    return DeformableAttention(
        config["channels"],
        (config["bev_h"], config["bev_w"]),
        heads=config["nhead"],
        points=config["npoints"],
        corner_reference_points=True,
    ).eval()


@pytest.mark.reference("06_gcm_dfa")
@pytest.mark.parametrize("form", ["bag", "gather", "grid"])
def test_reference_deformable_attention_gives_the_published_map_and_gradient(reference, form):
    block = published_attention(reference)
    use_sum_form(block, form)
    weights = {k: v for k, v in reference.weights().items() if not k.startswith(INITIAL)}
    block.load_state_dict(rename_keys(weights, DEFORMABLE_ATTENTION))
    features = reference["input.src"].requires_grad_()
    output = block(features)
    torch.testing.assert_close(output, reference["output.attn"], atol=2e-5, rtol=2e-5)
    compensated = GeometryCompensation(block)(features)
    torch.testing.assert_close(compensated, reference["output.gcm"], atol=2e-5, rtol=2e-5)
    ramp = torch.linspace(0, 1, output.numel()).view_as(output)
    (gradient,) = torch.autograd.grad((output * ramp).sum(), features)
    expected = reference["output.grad_src_of_weighted_sum"]
    torch.testing.assert_close(gradient, expected, atol=2e-5, rtol=2e-5)


@pytest.mark.reference("06_gcm_dfa")
def test_reference_deformable_attention_looks_at_the_published_places(reference):
    block = published_attention(reference)
    weights = {k: v for k, v in reference.weights().items() if not k.startswith(INITIAL)}
    block.load_state_dict(rename_keys(weights, DEFORMABLE_ATTENTION))
    with torch.no_grad():
        positions_px, attention = block.places(reference["input.src"].flatten(2).transpose(1, 2))
    height, width = block.map_hw
    locations = (positions_px + 0.5) / torch.tensor([width, height])
    expected = reference["output.sampling_locations"][:, :, :, 0]
    torch.testing.assert_close(locations, expected, atol=2e-5, rtol=2e-5)
    expected = reference["output.attention_weights"][:, :, :, 0]
    torch.testing.assert_close(attention, expected, atol=2e-5, rtol=2e-5)


@pytest.mark.reference("06_gcm_dfa")
def test_reference_deformable_attention_starts_with_the_published_offsets(reference):
    block = published_attention(reference)
    own = block.state_dict()
    published = rename_keys(reference.weights(INITIAL), DEFORMABLE_ATTENTION)
    for key in ("offsets.weight", "offsets.bias", "attention.weight", "attention.bias"):
        torch.testing.assert_close(own[key], published[key], atol=1e-6, rtol=0)
    weights = {k: v for k, v in reference.weights().items() if not k.startswith(INITIAL)}
    block.load_state_dict(rename_keys(weights, DEFORMABLE_ATTENTION) | published)
    with torch.no_grad():
        output = block(reference["input.src"])
    expected = reference["output.attn_with_reference_init"]
    torch.testing.assert_close(output, expected, atol=2e-5, rtol=2e-5)


@pytest.mark.reference("06_gcm_deformconv_plain")
def test_reference_plain_convolution_block_gives_the_published_map(reference):
    assert_block_is_published(reference, ConvolutionBlock(80, deformable=False))


@pytest.mark.reference("06_gcm_deformconv_deformable")
@pytest.mark.parametrize("form", ["bag", "gather"])
def test_reference_deformable_convolution_block_gives_the_published_map(reference, form):
    block = ConvolutionBlock(80, deformable=True)
    use_sum_form(block, form)
    assert_block_is_published(reference, block)


def assert_block_is_published(reference, block: ConvolutionBlock) -> None:
    block.load_state_dict(rename_keys(reference.weights(), CONVOLUTION_BLOCK))
    with torch.no_grad():
        output = block(reference["input.src"])
        compensated = GeometryCompensation(block)(reference["input.src"])
    torch.testing.assert_close(output, reference["output.conv"], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(compensated, reference["output.gcm"], atol=1e-4, rtol=1e-4)


def test_deformable_attention_equals_bilinear_grid_sampling():
    torch.manual_seed(1)
    height, width, heads, points = 5, 7, 2, 3
    block = DeformableAttention(8, (height, width), heads=heads, points=points).double()
    torch.nn.init.normal_(block.offsets.weight)
    torch.nn.init.normal_(block.attention.weight)
    features = torch.randn(2, 8, height, width, dtype=torch.float64)
    rows = features.flatten(2).transpose(1, 2)
    positions_px, weights = block.places(rows)
    values = block.value(rows).view(2, -1, heads, 4).permute(0, 2, 3, 1).reshape(-1, 4, 5, 7)
    grid = (2 * positions_px + 1) / torch.tensor([width, height]) - 1
    grid = grid.transpose(1, 2).flatten(0, 1)  # (B * heads, Q, points, 2)
    samples = grid_sample(values, grid, padding_mode="zeros", align_corners=False)
    mixed = (samples * weights.transpose(1, 2).flatten(0, 1)[:, None]).sum(-1)
    expected = block.projection(mixed.view(2, 8, -1).transpose(1, 2)).transpose(1, 2)
    torch.testing.assert_close(block(features), expected.reshape(2, 8, height, width))


def test_house_reference_points_are_the_cells_themselves():
    block = DeformableAttention(4, (3, 5), heads=1, points=1)
    torch.nn.init.zeros_(block.offsets.bias)
    positions_px, _ = block.places(torch.randn(1, 15, 4))
    assert positions_px[0, 7, 0, 0].tolist() == [2.0, 1.0]  # cell 7 of rows of five


def test_first_points_of_each_head_lie_one_cell_away_in_its_direction():
    block = DeformableAttention(8, (9, 9), heads=8, points=2)
    offsets = block.offsets.bias.detach().view(8, 2, 2)
    for head in range(8):
        angle = head * math.pi / 4
        direction = torch.tensor([math.cos(angle), math.sin(angle)])
        expected = (direction / direction.abs().max()).round(decimals=4)
        torch.testing.assert_close(offsets[head, 0].round(decimals=4), expected)
        torch.testing.assert_close(offsets[head, 1].round(decimals=4), 2 * expected)


def test_deformable_convolution_starts_as_a_plain_one():
    torch.manual_seed(2)
    layer = DeformableConvolution(3, 5)
    features = torch.randn(2, 3, 6, 4)
    expected = conv2d(features, layer.conv.weight, layer.conv.bias, padding=1)
    torch.testing.assert_close(layer(features), expected, atol=1e-5, rtol=1e-5)


def test_channels_that_heads_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="multiple of 3 heads, got 8"):
        DeformableAttention(8, (4, 4), heads=3, points=1)
