# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from simdistill_ros.core.network.feature_pyramid import ConcatNeck, SumNeck
from simdistill_ros.core.network.reference_keys import IMAGE_NECK, rename_keys


@pytest.mark.reference("02_generalized_lssfpn")
def test_reference_image_neck_gives_the_published_levels(reference):
    config = reference.config
    neck = ConcatNeck(
        config["in_channels"],
        config["out_channels"],
        align_corners=config["upsample_cfg"]["align_corners"],
    ).eval()
    neck.load_state_dict(rename_keys(reference.weights(), IMAGE_NECK))
    levels = [reference[f"input.level{i}"] for i in range(len(config["in_channels"]))]
    with torch.no_grad():
        fused = neck.fused_levels(levels)
        assert torch.equal(neck(levels), fused[0])
    assert len(fused) == len(levels) - 1
    for index, features in enumerate(fused):
        expected = reference[f"output.level{index}"]
        torch.testing.assert_close(features, expected, atol=1e-5, rtol=1e-5)


def test_sum_neck_mixes_every_level_at_the_finest_size():
    torch.manual_seed(0)
    neck = SumNeck([4, 6, 8], 5).eval()
    levels = [torch.randn(1, 4, 8, 12), torch.randn(1, 6, 4, 6), torch.randn(1, 8, 2, 3)]
    with torch.no_grad():
        base = neck(levels)
        assert base.shape == (1, 5, 8, 12)
        for index in range(3):
            changed = list(levels)
            changed[index] = changed[index] + 1
            assert not torch.allclose(neck(changed), base)
