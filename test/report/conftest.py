# SPDX-License-Identifier: Apache-2.0
"""A small generated data set, two runs on it, and their pages."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("embreex")
pytest.importorskip("nuscenes")
sys.path.insert(0, str(Path(__file__).parent))  # for the modules beside this file

from noisy_run import Noise, write_noisy_run

from simdistill_ros.replay.nuscenes_reader import load_nuscenes
from simdistill_ros.report.page import write_report
from simdistill_ros.scenes.config import GeneratorConfig
from simdistill_ros.scenes.generate import generate_dataroot

VERSION = "v1.0-mini"


@pytest.fixture(scope="session")
def nusc(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report_data")
    sizes = {"scenes": 1, "val_scenes": 1, "width": 320, "height": 180, "duration_s": 2.0}
    generate_dataroot(
        GeneratorConfig(out=folder, sweeps="none", antialias="none", version=VERSION, **sizes)
    )
    return load_nuscenes(folder, VERSION)


@pytest.fixture(scope="session")
def run_folder(nusc, tmp_path_factory):
    return write_noisy_run(nusc, tmp_path_factory.mktemp("run_a"), Noise())


@pytest.fixture(scope="session")
def worse_folder(nusc, tmp_path_factory):
    noise = Noise(offset_m=0.9, missed=0.5, seed=1)
    return write_noisy_run(nusc, tmp_path_factory.mktemp("run_b"), noise)


@pytest.fixture(scope="session")
def page(run_folder, nusc):
    return write_report(run_folder, nusc)
