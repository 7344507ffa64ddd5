# SPDX-License-Identifier: Apache-2.0
"""A generated dataroot, and copies of the exported package."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from simdistill_ros.core.model_card import ModelCard, load_model_card
from simdistill_ros.scenes.config import GeneratorConfig
from simdistill_ros.scenes.generate import generate_dataroot
from simdistill_training.deploy.frames import FrameSource

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

VERSION = "v1.0-mini"


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> FrameSource:
    """Three keyframes of a generated scene, with images twice as wide as the input and more."""
    folder = tmp_path_factory.mktemp("scenes")
    config = GeneratorConfig(
        out=folder,
        scenes=1,
        val_scenes=1,
        width=256,
        height=144,
        duration_s=0.5,
        sweeps="lidar",
        version=VERSION,
        antialias="none",
        traffic=0.6,
    )
    generate_dataroot(config)
    return FrameSource(folder, VERSION)


@pytest.fixture
def package(exported: ModelCard, tmp_path: Path) -> ModelCard:
    """A copy that a test may change."""
    return load_model_card(shutil.copytree(exported.file.parent, tmp_path / "package"))
