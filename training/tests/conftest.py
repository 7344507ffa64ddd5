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

from simdistill_ros.core.boxes import Detections
from simdistill_ros.core.frames import inverse, rigid, rotation_about_z
from simdistill_ros.core.lift_geometry import pooling_tables
from simdistill_ros.core.model_card import ModelCard, load_model_card, model_card_from_dict
from simdistill_ros.core.model_card_parts import TrainingCard
from simdistill_ros.core.network.build import build_student
from simdistill_ros.core.network.view_transform import batch_tables
from simdistill_training.batch import Batch
from simdistill_training.checkpoint import write_package
from simdistill_training.cli import main

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


@pytest.fixture(scope="session")
def small_card(tiny_card: ModelCard) -> ModelCard:
    """Return the tiny model with two cameras, small images, a small grid and a coarser head."""
    data = tiny_card.model_dump(mode="json")
    data["cameras"] = ["cam_front", "cam_back"]
    data["image"] |= {"input_hw": [32, 64], "resized_width_px": 64}
    data["bev"] |= {"x_m": [-12.8, 12.8], "y_m": [-12.8, 12.8]}
    data["lift"]["depth_bins"] = {"start_m": 1.0, "stop_m": 17.0, "step_m": 1.0}
    data["lift"]["downsample_strides"] = [2]
    return model_card_from_dict(data)


@pytest.fixture(scope="session")
def small_batch(small_card: ModelCard) -> Batch:
    """Return two samples of random pixels and points around a few boxes."""
    image_from_cam = np.array([[40.0, 0, 31.5], [0, 40.0, 15.5], [0, 0, 1]])
    forward = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
    bev_from_cam = np.stack(
        [rigid(rotation_about_z(yaw) @ forward, [0, 0, 1.5]) for yaw in (0.0, np.pi)]
    )
    tables = pooling_tables(
        small_card.bev.grid,
        small_card.lift.depth,
        feature_hw=small_card.feature_hw,
        input_hw=small_card.image.input_hw,
        bev_from_cam=bev_from_cam,
        input_from_cam=np.stack([image_from_cam] * 2),
    )
    generator = np.random.default_rng(5)
    input_from_bev = image_from_cam @ inverse(bev_from_cam)[:, :3]
    images = generator.integers(0, 256, (2, 2, 32, 64, 3), dtype=np.uint8)
    return Batch(
        images=torch.from_numpy(images),
        tables=batch_tables([tables] * 2),
        points=tuple(_random_points(generator) for _ in range(2)),
        input_from_bev=torch.from_numpy(np.stack([input_from_bev] * 2)).float(),
        boxes=tuple(_random_boxes(generator, small_card) for _ in range(2)),
        tokens=("first", "second"),
        views=(0, 1),
    )


@pytest.fixture
def normalised_images(small_batch: Batch) -> torch.Tensor:
    """Return the batch's images as a network takes them, (B, N, 3, H, W)."""
    return small_batch.images.permute(0, 1, 4, 2, 3).float() / 128 - 1


def _random_points(generator: np.random.Generator) -> torch.Tensor:
    low, high = (-12, -12, -1, 0, 0), (12, 12, 2, 255, 0.5)
    return torch.from_numpy(generator.uniform(low, high, (600, 5))).float()


def _random_boxes(generator: np.random.Generator, card: ModelCard) -> Detections:
    count = 12
    return Detections(
        frame="bev",
        stamp_ns=0,
        centers_m=generator.uniform((-12, -12, 0), (12, 12, 1), (count, 3)),
        sizes_lwh_m=generator.uniform(0.5, 4, (count, 3)),
        yaws_rad=generator.uniform(-3, 3, count),
        velocities_mps=generator.normal(size=(count, 2)),
        scores=np.ones(count),
        labels=np.arange(count) % len(card.classes),
        class_names=card.classes,
    )


@pytest.fixture(scope="session")
def plain(small_card: ModelCard, tmp_path_factory: pytest.TempPathFactory) -> ModelCard:
    """A package of a small network with seeded weights that see things."""
    student = build_student(small_card)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, weights in student.bev_network.head.tasks.named_parameters():
            if name.endswith(".1.weight"):
                weights.mul_(50)
        for module in student.modules():
            if isinstance(module, torch.nn.BatchNorm2d):  # norms that folding must not forget
                module.running_mean.normal_(0, 0.1, generator=generator)
                module.running_var.uniform_(0.8, 1.2, generator=generator)
        for name, weights in student.named_parameters():
            if name.endswith(("offsets.weight", "attention.weight")):
                weights.normal_(0, 0.3, generator=generator)  # attention that looks elsewhere
    folder = tmp_path_factory.mktemp("plain")
    training = TrainingCard(commit="none", data="seeded", seed=3)
    return write_package(folder, small_card, student, training=training)


@pytest.fixture(scope="session")
def exported(plain: ModelCard, tmp_path_factory: pytest.TempPathFactory) -> ModelCard:
    """The same package, exported by the command."""
    folder = tmp_path_factory.mktemp("exported")
    assert main(["export", str(plain.file.parent), str(folder)]) == 0
    return load_model_card(folder)
