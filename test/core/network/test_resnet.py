# SPDX-License-Identifier: Apache-2.0
import torch

from simdistill_ros.core.network.reference_keys import rename_resnet_keys
from simdistill_ros.core.network.resnet import ResNet

NORM = {"weight": None, "bias": None, "running_mean": None, "running_var": None}


def classifier_shapes(depths: tuple[int, ...], base: int) -> dict[str, tuple[int, ...]]:
    """Return keys and shapes of the classifier that ResNet weights are published for."""
    shapes: dict[str, tuple[int, ...]] = {"conv1.weight": (base, 3, 7, 7)}

    def norm(name: str, channels: int) -> None:
        shapes.update({f"{name}.{part}": (channels,) for part in NORM})
        shapes[f"{name}.num_batches_tracked"] = ()

    norm("bn1", base)
    channels = base
    for stage, depth in enumerate(depths):
        inner = base * 2**stage
        for block in range(depth):
            stem = f"layer{stage + 1}.{block}"
            kernels = ((inner, channels, 1), (inner, inner, 3), (4 * inner, inner, 1))
            for index, (outputs, inputs, kernel) in enumerate(kernels, start=1):
                shapes[f"{stem}.conv{index}.weight"] = (outputs, inputs, kernel, kernel)
                norm(f"{stem}.bn{index}", outputs)
            if block == 0:
                shapes[f"{stem}.downsample.0.weight"] = (4 * inner, channels, 1, 1)
                norm(f"{stem}.downsample.1", 4 * inner)
            channels = 4 * inner
    return shapes | {"fc.weight": (1000, channels), "fc.bias": (1000,)}


def test_classifier_weights_fit_resnet_50():
    shapes = classifier_shapes((3, 4, 6, 3), 64)
    encoder = ResNet((3, 4, 6, 3), 64)
    encoder.load_state_dict(rename_resnet_keys({k: torch.ones(s) for k, s in shapes.items()}))
    parameters = sum(parameter.numel() for parameter in encoder.parameters())
    assert parameters == 23_508_032  # ResNet-50 without its classifier


def test_features_have_strides_8_16_and_32():
    encoder = ResNet((1, 1, 1, 1), 4).eval()
    with torch.no_grad():
        shapes = [tuple(level.shape) for level in encoder(torch.randn(1, 3, 64, 96))]
    assert shapes == [(1, 32, 8, 12), (1, 64, 4, 6), (1, 128, 2, 3)]
