# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from simdistill_ros.core.network.bev_encoder import BevResNet, ConvFuser
from simdistill_ros.core.network.feature_pyramid import ConcatBevNeck
from simdistill_ros.core.network.reference_keys import BEV_ENCODER, BEV_NECK, FUSER, rename_keys


@pytest.mark.reference("04_generalizedresnet_lssfpn")
def test_reference_bev_encoder_gives_the_published_maps_and_gradient(reference):
    encoder_config, neck_config = reference.config["backbone"], reference.config["neck"]
    encoder = BevResNet(encoder_config["in_channels"], encoder_config["blocks"]).eval()
    encoder.load_state_dict(rename_keys(reference.weights("backbone."), BEV_ENCODER))
    last, first = neck_config["in_indices"]
    last_channels, first_channels = neck_config["in_channels"]
    neck = ConcatBevNeck(
        first_channels, last_channels, neck_config["out_channels"], neck_config["scale_factor"]
    ).eval()
    neck.load_state_dict(rename_keys(reference.weights("neck."), BEV_NECK))
    bev = reference["input.bev"].requires_grad_()
    stages = encoder(bev)
    output = neck([stages[first], stages[last]])
    for index, features in enumerate(stages):
        expected = reference[f"output.stage{index}"]
        torch.testing.assert_close(features, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(output, reference["output.neck"], atol=1e-5, rtol=1e-5)
    ramp = torch.linspace(0, 1, output.numel()).view_as(output)
    (gradient,) = torch.autograd.grad((output * ramp).sum(), bev)
    expected = reference["output.grad_bev_of_weighted_sum"]
    torch.testing.assert_close(gradient, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.reference("05_fusers")
def test_reference_fusers_give_the_published_maps(reference):
    roles = {
        "fuser": ("input.camera", "input.lidar"),
        "fuser_student": ("input.student_lift1", "input.student_lift2"),
        "trans_student": ("input.student_lift1",),
    }
    for role, inputs in roles.items():
        fuser = ConvFuser(reference.config[role], reference.config["out_channels"]).eval()
        fuser.load_state_dict(rename_keys(reference.weights(f"{role}."), FUSER))
        with torch.no_grad():
            fused = fuser(*(reference[name] for name in inputs))
        torch.testing.assert_close(fused, reference[f"output.{role}"], atol=1e-5, rtol=1e-5)


@pytest.mark.reference("05_fusers")
def test_reference_mean_of_single_fusers_is_the_published_add_fuser(reference):
    adapted = []
    for index, name in enumerate(("input.camera", "input.lidar")):
        weights = reference.weights(f"add_fuser.transforms.{index}.")
        fuser = ConvFuser([reference[name].shape[1]], reference.config["out_channels"]).eval()
        fuser.load_state_dict(rename_keys(weights, FUSER))
        with torch.no_grad():
            adapted.append(fuser(reference[name]))
    mean = torch.stack(adapted).mean(0)
    torch.testing.assert_close(mean, reference["output.add_fuser"], atol=1e-5, rtol=1e-5)
