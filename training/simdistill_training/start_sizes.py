# SPDX-License-Identifier: Apache-2.0
"""Weights of a network that saw other image sizes, depths or cells than the one that starts.

Convolutions fit a map of any size. What does not is resampled: learnt positions, one row for each
column or row of a map, and the logits of the lift heads, one row for each depth. A neck that begins
at a coarser map leaves out what was made for the finer ones.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from simdistill_ros.core.lift_geometry import DepthBins
from simdistill_ros.core.network.view_transform import LiftHead

State = dict[str, Tensor]
POSITIONS = ("embedding_u", "embedding_v")
# A part of an image neck that belongs to one of the encoder's maps, 0 being the finest.
NECK_LEVEL = re.compile(
    r"(?P<neck>image_network\.neck\.(?:laterals|outputs)\.)(?P<level>\d+)(?P<rest>\..+)"
)


def fitted(
    network: nn.Module, state: Mapping[str, Tensor], *, own: DepthBins, given: DepthBins
) -> State:
    """Return weights that fit a network which differs in map sizes and depths only.

    Args:
        network: The network that starts.
        state: Weights of the other network.
        own: Depths of the network that starts.
        given: Depths of the other network.
    """
    fitting = with_positions_of(network, with_levels_of(network, state))
    return with_depths_of(network, fitting, own=own, given=given)


def with_levels_of(network: nn.Module, state: Mapping[str, Tensor]) -> State:
    """Return weights whose image neck has no parts for maps finer than the network lifts."""
    left_out = _levels(state) - _levels(network.state_dict())
    result: State = {}
    for key, values in state.items():
        part = NECK_LEVEL.fullmatch(key)
        if part is None or left_out <= 0:
            result[key] = values
        elif (level := int(part["level"]) - left_out) >= 0:
            result[f"{part['neck']}{level}{part['rest']}"] = values
    return result


def _levels(state: Mapping[str, Tensor]) -> int:
    parts = (NECK_LEVEL.fullmatch(key) for key in state)
    return 1 + max((int(part["level"]) for part in parts if part), default=-1)


def with_positions_of(network: nn.Module, state: Mapping[str, Tensor]) -> State:
    """Return weights whose learnt positions fit a network with maps of another size."""
    own = network.state_dict()
    result = dict(state)
    for key, values in state.items():
        size = own[key].shape if key in own else values.shape
        if key.endswith(POSITIONS) and values.shape != size and values.shape[1:] == size[1:]:
            columns = values.float().T[None]
            result[key] = functional.interpolate(
                columns, size=size[0], mode="linear", align_corners=False
            )[0].T.to(values.dtype)
    return result


def with_depths_of(
    network: nn.Module, state: Mapping[str, Tensor], *, own: DepthBins, given: DepthBins
) -> State:
    """Return weights whose lift heads predict other depths: logits between two depths are mixed."""
    result = dict(state)
    if own == given:
        return result
    mix = _mix(own, given)
    heads = [name for name, part in network.named_modules() if isinstance(part, LiftHead)]
    for key in (f"{name}.output.{kind}" for name in heads for kind in ("weight", "bias")):
        if key not in state:
            continue
        rows = state[key]
        depths = torch.einsum("og,g...->o...", mix.to(rows), rows[: given.count])
        result[key] = torch.cat([depths, rows[given.count :]])
    return result


def _mix(own: DepthBins, given: DepthBins) -> Tensor:
    """Return the shares (own count, given count) of the given depths in each own one."""
    place = np.interp(own.values_m(), given.values_m(), np.arange(given.count))
    return torch.from_numpy(np.maximum(0.0, 1.0 - np.abs(place[:, None] - np.arange(given.count))))
