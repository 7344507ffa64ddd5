# SPDX-License-Identifier: Apache-2.0
"""A running average of a network's weights, which is what is evaluated and shipped."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import nn


class AveragedNetwork(nn.Module):
    """Exponential moving average of all weights and norm statistics.

    The decay grows with the number of updates, (1 + n) / (10 + n) up to `decay`, so that the
    average of a short training is not the initial network.
    """

    updates: torch.Tensor

    def __init__(self, network: nn.Module, decay: float) -> None:
        """Start at the network's weights.

        Raises:
            ValueError: If the decay is outside 0..1.
        """
        super().__init__()
        if not 0 <= decay < 1:
            raise ValueError(f"ema_decay: expected 0 <= decay < 1, got {decay}")
        self.decay = decay
        self.network = deepcopy(network).requires_grad_(False)
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Move the average a little toward the network."""
        self.updates += 1
        count = int(self.updates)
        decay = min(self.decay, (1 + count) / (10 + count))
        new = network.state_dict()
        floats, targets = [], []
        for name, average in self.network.state_dict().items():
            if average.is_floating_point():
                floats.append(average)
                targets.append(new[name])
            else:
                average.copy_(new[name])
        torch._foreach_lerp_(floats, targets, 1 - decay)
