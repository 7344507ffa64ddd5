# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from simdistill_ros.core.network.reference_keys import SWIN, rename_keys
from simdistill_ros.core.network.swin import PatchMerging, SwinTransformer


@pytest.mark.reference("01_swin_tiny")
def test_reference_swin_gives_the_published_features(reference):
    config = reference.config
    encoder = SwinTransformer(
        config["embed_dims"],
        config["depths"],
        config["num_heads"],
        window=config["window_size"],
        mlp_ratio=config["mlp_ratio"],
        drop_path=config["drop_path_rate"],
    ).eval()
    encoder.load_state_dict(rename_keys(reference.weights(), SWIN))
    for image, prefix in (("input.img", "output."), ("input.img_odd", "output.odd.")):
        with torch.no_grad():
            stages = encoder(reference[image])
        for stage, features in zip(config["out_indices"], stages, strict=True):
            expected = reference[f"{prefix}stage{stage}"]
            torch.testing.assert_close(features, expected, atol=2e-4, rtol=1e-4)


def test_patch_merging_orders_channels_before_positions():
    merging = PatchMerging(2)
    tokens = torch.arange(8.0).view(1, 2, 2, 2)  # value = 4 * row + 2 * column + channel
    with torch.no_grad():
        merging.norm = torch.nn.Identity()
        merging.reduction = torch.nn.Identity()
        merged = merging(tokens)
    assert merged.flatten().tolist() == [0, 2, 4, 6, 1, 3, 5, 7]


def test_drop_path_acts_in_training_only():
    torch.manual_seed(0)
    encoder = SwinTransformer(8, (1, 1, 1, 1), (1, 1, 1, 1), drop_path=0.9)
    images = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        assert not torch.equal(encoder(images)[2], encoder(images)[2])
        encoder.eval()
        assert torch.equal(encoder(images)[2], encoder(images)[2])


def test_a_network_that_ran_in_inference_mode_can_still_be_trained():
    encoder = SwinTransformer(8, (2, 2, 1, 1), (1, 1, 1, 1), window=5)  # a window of no other test
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        encoder(images)
    sum(features.sum() for features in encoder(images)).backward()
    assert encoder.stages[0][1].attention.relative_bias.grad.abs().sum() > 0
