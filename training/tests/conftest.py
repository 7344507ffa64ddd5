# SPDX-License-Identifier: Apache-2.0
"""Golden numbers of the published code, for tests marked `reference(pattern)`.

Such a test runs once for every fixture whose file name matches the pattern, in the folder that the
environment variable SIMDISTILL_REFERENCE_DIR names, and skips where there is none.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from simdistill_ros.core.model_card import ModelCard, load_model_card

REPOSITORY = Path(__file__).resolve().parents[2]
DEFAULT_FOLDER = REPOSITORY.parent / "shared" / "reference"


@dataclass(frozen=True)
class Reference:
    """Tensors by their published names, and the sizes they were made with."""

    tensors: dict[str, torch.Tensor]
    config: dict[str, Any]
    info: dict[str, Any]

    def __getitem__(self, name: str) -> torch.Tensor:
        return self.tensors[name]

    def array(self, name: str) -> np.ndarray:
        """Return a tensor as float64 or integers in numpy."""
        values = self.tensors[name].numpy()
        return values.astype(np.float64) if values.dtype == np.float32 else values

    def weights(self, prefix: str = "") -> dict[str, torch.Tensor]:
        """Return the weights that begin with a prefix, without it."""
        whole = f"weights.{prefix}"
        return {k.removeprefix(whole): v for k, v in self.tensors.items() if k.startswith(whole)}


def load_reference(name: str) -> Reference:
    """Return the golden fixture of this name, or skip the test."""
    file = reference_folder() / f"{name}.safetensors"
    if not file.is_file():
        pytest.skip(f"no {file.name} in {file.parent}; set SIMDISTILL_REFERENCE_DIR")
    info = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
    return Reference(load_file(file), info["config"], info)


def reference_folder() -> Path:
    return Path(os.environ.get("SIMDISTILL_REFERENCE_DIR", DEFAULT_FOLDER))


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "reference(pattern): runs for each matching golden fixture")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    mark = metafunc.definition.get_closest_marker("reference")
    if mark is None:
        return
    names = [file.stem for file in sorted(reference_folder().glob(f"{mark.args[0]}*.safetensors"))]
    metafunc.parametrize("reference", names or [mark.args[0]], indirect=True)


@pytest.fixture
def reference(request: pytest.FixtureRequest) -> Reference:
    """Return the golden fixture that this run of the test is for."""
    return load_reference(request.param)


@pytest.fixture
def golden():
    """Return a function that loads a further golden fixture by name."""
    return load_reference


@pytest.fixture(scope="session")
def tiny_card() -> ModelCard:
    """Return the card of the shipped tiny model."""
    return load_model_card(REPOSITORY / "models" / "tiny")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
