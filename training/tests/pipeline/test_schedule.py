# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch import nn

from simdistill_training.ema import AveragedNetwork
from simdistill_training.schedule import ScheduleConfig, learning_rate_factor, momentum_factor

COSINE = ScheduleConfig(steps=110, kind="cosine", warmup_steps=10)
CYCLIC = ScheduleConfig(steps=100, kind="cyclic", warmup_steps=0)


@pytest.mark.parametrize(("step", "factor"), [(0, 0.05), (5, 0.525), (10, 1), (60, 0.5), (110, 0)])
def test_cosine_rises_linearly_and_falls_to_zero(step, factor):
    assert learning_rate_factor(COSINE, step) == pytest.approx(factor)


@pytest.mark.parametrize(("step", "factor"), [(0, 1.0), (20, 3.0), (40, 5.0), (100, 5e-5)])
def test_cyclic_rises_fivefold_in_the_first_two_fifths(step, factor):
    assert learning_rate_factor(CYCLIC, step) == pytest.approx(factor)


def test_cyclic_momentum_is_lowest_where_the_rate_is_highest():
    assert momentum_factor(CYCLIC, 0) == pytest.approx(1.0)
    assert momentum_factor(CYCLIC, 40) == pytest.approx(0.85 / 0.95)
    assert momentum_factor(CYCLIC, 100) == pytest.approx(1.0)
    assert momentum_factor(COSINE, 40) == 1.0


def test_average_follows_weights_and_norm_statistics():
    network = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1))
    nn.init.zeros_(network[0].weight)
    average = AveragedNetwork(network, 0.9)
    nn.init.ones_(network[0].weight)
    network[1].running_mean.fill_(1.0)
    network[1].num_batches_tracked.fill_(7)
    average.update(network)  # the first decay is 2 / 11
    assert average.network[0].weight.item() == pytest.approx(1 - 2 / 11)
    assert average.network[1].running_mean.item() == pytest.approx(1 - 2 / 11)
    assert average.network[1].num_batches_tracked == 7
    for _ in range(200):
        average.update(network)
    assert average.network[0].weight.item() == pytest.approx(1.0, abs=1e-6)
    assert not any(p.requires_grad for p in average.parameters())


def test_average_is_not_the_network_itself():
    network = nn.Linear(1, 1)
    average = AveragedNetwork(network, 0.99)
    with torch.no_grad():
        network.weight += 5
    assert average.network.weight.item() != network.weight.item()
