# SPDX-License-Identifier: Apache-2.0
"""A small card, and golden numbers of the published code, for tests marked `reference(pattern)`.

Such a test runs once for every fixture whose file name begins with the pattern, in the folder that
the environment variable SIMDISTILL_REFERENCE_DIR names. Files that differ in a final `_part<n>`
only are one fixture.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

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


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "reference(pattern): runs for each golden fixture named so")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    mark = metafunc.definition.get_closest_marker("reference")
    if mark is None:
        return
    folder = Path(os.environ.get("SIMDISTILL_REFERENCE_DIR", DEFAULT_FOLDER))
    groups: dict[str, list[Path]] = {}
    for file in sorted(folder.glob(f"{mark.args[0]}*.safetensors")):
        groups.setdefault(re.sub(r"_part\d+$", "", file.stem), []).append(file)
    reason = f"no {mark.args[0]}*.safetensors in {folder}; set SIMDISTILL_REFERENCE_DIR"
    skipped = [pytest.param([], marks=pytest.mark.skip(reason=reason), id="absent")]
    params = [pytest.param(files, id=name) for name, files in groups.items()]
    metafunc.parametrize("reference", params or skipped, indirect=True)


@pytest.fixture
def reference(request: pytest.FixtureRequest) -> Reference:
    """Return the golden fixture that this run of the test is for."""
    tensors: dict[str, torch.Tensor] = {}
    for file in request.param:
        tensors |= load_file(file)
    info = json.loads(request.param[0].with_suffix(".json").read_text(encoding="utf-8"))
    return Reference(tensors, info["config"], info)


@pytest.fixture
def models_folder() -> Path:
    """Return the folder of the shipped model cards."""
    return REPOSITORY / "models"


@pytest.fixture(autouse=True)
def _two_threads() -> None:
    torch.set_num_threads(2)


@pytest.fixture
def small_data(models_folder) -> dict[str, Any]:
    """Return the data of `tiny` at a fraction of its sizes: two cameras, 32 x 64 pixels."""
    data = yaml.safe_load((models_folder / "tiny" / "model.yaml").read_text())
    data["cameras"] = ["front", "back"]
    data["image"] |= {"input_hw": [32, 64], "resized_width_px": 64}
    data["lift"]["depth_bins"] = {"start_m": 1.0, "stop_m": 12.0, "step_m": 1.0}
    data["bev"] |= {"x_m": [-12.8, 12.8], "y_m": [-6.4, 6.4]}
    data["weights"] = None
    return data
