# SPDX-License-Identifier: Apache-2.0
"""A healthy recording of a generated rig, made once."""

from __future__ import annotations

import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for the modules beside this file

pytest.importorskip("rclpy")
pytest.importorskip("rosbags")
pytest.importorskip("embreex")

from recording import CAMERAS, Recording, healthy

from simdistill_ros.doctor.bag import look_at_bag
from simdistill_ros.doctor.checks import picture_evidence
from simdistill_ros.doctor.diagnosis import Diagnosis, diagnose
from simdistill_ros.doctor.overlap import PlacedPicture, count_agreeing
from simdistill_ros.doctor.parameter_file import plan_from_files
from simdistill_ros.scenes.config import GeneratorConfig
from simdistill_ros.scenes.generate import generate_dataroot


@pytest.fixture(scope="session")
def snapshots(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """Return four moments of a generated scene, seen by six cameras."""
    from simdistill_ros.replay.nuscenes_reader import load_nuscenes, snapshot_of_sample

    out = tmp_path_factory.mktemp("generated")
    config = GeneratorConfig(
        out=out,
        scenes=1,
        val_scenes=0,
        seed=11,
        width=352,
        height=198,
        duration_s=1.5,
        antialias="none",
    )
    generate_dataroot(config)
    nusc = load_nuscenes(out, config.version)
    return [
        snapshot_of_sample(nusc, sample["token"], CAMERAS, motion_compensated=False)
        for sample in nusc.sample
    ]


@pytest.fixture(scope="session")
def recording(snapshots: list[Any]) -> Recording:
    return healthy(snapshots)


@pytest.fixture
def examine(tmp_path: Path):
    """Return a function that writes a recording as a bag and diagnoses it."""
    from recording import write_bag

    def run(entries: Recording, parameters: str = "", qos: dict | None = None) -> Diagnosis:
        files = []
        if parameters:
            files = [tmp_path / "rig.yaml"]
            files[0].write_text("/**:\n  ros__parameters:\n" + parameters)
        bag = write_bag(entries, tmp_path / "bag", qos)
        return diagnose(look_at_bag(bag, plan_from_files(files), 10.0))

    return run


@pytest.fixture(autouse=True)
def _remember_matched_features(monkeypatch: pytest.MonkeyPatch) -> None:
    """Match the same two pictures once for all tests; nearly every bag shows the same ones."""
    monkeypatch.setattr(picture_evidence, "count_agreeing", _count_agreeing)


def _key(place: PlacedPicture) -> tuple[Any, ...]:
    pixels = zlib.crc32(np.ascontiguousarray(place.pixels).data)
    return pixels, place.calibration.digest(), place.ego_from_cam.tobytes()


_COUNTS: dict[Any, int | None] = {}


def _count_agreeing(first: PlacedPicture, second: PlacedPicture) -> int | None:
    key = (_key(first), _key(second))
    if key not in _COUNTS:
        _COUNTS[key] = count_agreeing(first, second)
    return _COUNTS[key]
