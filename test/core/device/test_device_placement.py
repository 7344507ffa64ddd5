# SPDX-License-Identifier: Apache-2.0
"""A frame on a device that is not the host: what it needs must lie there, and stay there.

Tensors of the device `meta` have a shape and a type but no values. So a frame runs "there" on a
machine without a GPU, and each of its operations is watched for tensors of the host.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.gpu.scene import pictures, ring_tables
from simdistill_ros.core.backends.torch_backend import DTYPES
from simdistill_ros.core.device import decode as device_decode
from simdistill_ros.core.device import frame as device_frame
from simdistill_ros.core.device.frame import DeviceFrame
from simdistill_ros.core.model_card import ModelCard, model_card_from_dict
from simdistill_ros.core.network.build import build_student
from simdistill_ros.core.network.convolutions import fold_norms
from simdistill_ros.core.network.swin import keep_constants

ELSEWHERE, HOST = torch.device("meta"), torch.device("cpu")
IMAGE_HW = (90, 160)


class NothingOfTheHost(TorchDispatchMode):
    """Refuses operations that take or make tensors of the host."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self._check(func, (args, kwargs))
        result = func(*args, **(kwargs or {}))
        self._check(func, result)
        return result

    @staticmethod
    def _check(func: Any, values: Any) -> None:
        for value in tree_leaves(values):
            if isinstance(value, Tensor):
                assert value.device == ELSEWHERE, f"{func} uses a tensor on the {value.device}"


def packed_boxes(card: ModelCard, precision: str, *, warm_up: bool = True) -> Tensor:
    """Return what a frame that is served elsewhere copies to the host."""
    student = build_student(card).eval()
    fold_norms(student)
    keep_constants(student)
    frame = DeviceFrame(student.to(ELSEWHERE, DTYPES[precision]), card, IMAGE_HW, ELSEWHERE)
    frame.load(pictures(card, IMAGE_HW), ring_tables(card, IMAGE_HW), 0.1)
    if warm_up:
        frame.run()  # what is kept from run to run may come from the host
    with NothingOfTheHost():
        _, packed = frame.run()
    return packed


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_frame_needs_nothing_of_the_host(
    card_data: dict[str, Any], encoder: dict[str, Any], precision: str
) -> None:
    quirks = ("squared_circle_distance", "lidar_box_convention", "raised_height")
    card_data |= {"encoder": encoder, "legacy": dict.fromkeys(quirks, True)}

    packed = packed_boxes(model_card_from_dict(card_data), precision)

    assert packed.shape == (1 + 6 * 60, device_decode.BOX_COLUMNS + 1)


def on_the_host(made: Any) -> Any:
    """Return what is made by the same function, left on the host."""
    return lambda *arguments: made(*(HOST if a == ELSEWHERE else a for a in arguments))


@pytest.mark.parametrize(
    ("module", "maker"),
    [
        (device_frame, "_normalisation"),
        (device_frame, "_resize_for"),
        (device_decode, "_tasks_with"),
    ],
)
def test_a_constant_left_on_the_host_is_found(
    card_data: dict[str, Any], module: Any, maker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, maker, on_the_host(getattr(module, maker)))

    with pytest.raises(AssertionError, match="uses a tensor on the cpu"):
        packed_boxes(model_card_from_dict(card_data), "fp32", warm_up=False)
