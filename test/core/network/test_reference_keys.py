# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from simdistill_ros.core.network.reference_keys import FUSER, rename_keys


def test_unknown_key_is_refused_by_name():
    with pytest.raises(ValueError, match=r"expected known keys, got \['2.weight'\]"):
        rename_keys({"0.weight": torch.zeros(1), "2.weight": torch.zeros(1)}, FUSER)


def test_values_are_kept():
    value = torch.arange(3.0)
    assert rename_keys({"1.bias": value}, FUSER) == {"conv.norm.bias": value}
