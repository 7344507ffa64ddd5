# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from simdistill_ros.core.network import sampling
from simdistill_ros.core.network.sampling import bilinear_corners, weighted_row_sums


def sample(values: torch.Tensor, u: float, v: float, form: str = "bag") -> float:
    index, weight = bilinear_corners(torch.tensor([[u]]), torch.tensor([[v]]), tuple(values.shape))
    return weighted_row_sums(values.reshape(-1, 1), index, weight, form).item()


VALUES = torch.tensor([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]])


@pytest.mark.parametrize("form", ["bag", "gather"])
def test_samples_lie_between_the_four_pixels_around(form):
    assert sample(VALUES, 1.0, 0.0, form) == 2.0
    assert sample(VALUES, 1.5, 0.0, form) == 2.5
    assert sample(VALUES, 0.25, 0.5, form) == pytest.approx((1.25 + 12.5) / 2)


@pytest.mark.parametrize("form", ["bag", "gather"])
def test_pixels_outside_count_as_zero(form):
    assert sample(VALUES, -0.5, 0.0, form) == 0.5
    assert sample(VALUES, 2.0, 1.75, form) == pytest.approx(0.25 * 30)
    assert sample(VALUES, -1.0, 0.0, form) == 0.0
    assert sample(VALUES, 7.0, -9.0, form) == 0.0


@pytest.mark.parametrize("max_bytes", [0, sampling.MAX_GATHERED_BYTES])
def test_both_forms_agree_with_gradients(max_bytes, monkeypatch):
    monkeypatch.setattr(sampling, "MAX_GATHERED_BYTES", max_bytes)
    generator = torch.Generator().manual_seed(4)
    rows = torch.randn(12, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    positions = 5 * torch.rand(7, 2, 2, generator=generator, dtype=torch.float64) - 1
    positions.requires_grad_()
    gradients = []
    for form in ("bag", "gather"):
        index, weight = bilinear_corners(*positions.unbind(-1), (3, 4))
        sums = weighted_row_sums(rows, index, weight, form)
        ramp = torch.linspace(0, 1, sums.numel(), dtype=torch.float64).view_as(sums)
        gradients.append(torch.autograd.grad((sums * ramp).sum(), (rows, positions)))
    for bag, gather in zip(*gradients, strict=True):
        torch.testing.assert_close(bag, gather)
