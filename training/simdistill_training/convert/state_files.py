# SPDX-License-Identifier: Apache-2.0
"""Read weights from files without running code that a file may contain."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

STATE_KEYS = ("state_dict", "model")  # where training frameworks put the weights in a file


def read_state(path: str | Path) -> dict[str, Tensor]:
    """Return the weights of a safetensors or PyTorch file, on the CPU.

    Raises:
        ValueError: If the file is missing, is damaged, holds anything but plain data, or has no
            weights.
    """
    file = Path(path)
    if not file.is_file():
        raise ValueError(f"{file}: expected a file with weights, got none")
    content = _content(file)
    for key in STATE_KEYS:
        if isinstance(content.get(key), Mapping):
            content = content[key]
    state = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    if not state:
        raise ValueError(f"{file}: expected weights, got none; top-level keys {sorted(content)}")
    return state


def _content(file: Path) -> Mapping[str, Any]:
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{file}: expected tensors and plain values, got other objects, which could run code: "
            f"{error}"
        ) from error
    except Exception as error:
        raise ValueError(f"{file}: not readable as weights: {error}") from error
    if not isinstance(content, Mapping):
        raise ValueError(f"{file}: expected a dictionary, got {type(content).__name__}")
    return content
