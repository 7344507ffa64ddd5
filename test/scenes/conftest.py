# SPDX-License-Identifier: Apache-2.0
"""A small generated dataroot, and a street on which single objects can be placed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("embreex")

from simdistill_ros.scenes.config import GeneratorConfig
from simdistill_ros.scenes.generate import generate_dataroot
from simdistill_ros.scenes.ground import make_texture
from simdistill_ros.scenes.light import draw_light
from simdistill_ros.scenes.mesh import ObjectModel
from simdistill_ros.scenes.motion import fixed_track
from simdistill_ros.scenes.stage import Actor
from simdistill_ros.scenes.town import build_town, crop_around
from simdistill_ros.scenes.world import World

Place = tuple[ObjectModel, float, float, float]  # model, metres ahead, metres left, yaw


@pytest.fixture(scope="session")
def config(tmp_path_factory: pytest.TempPathFactory) -> GeneratorConfig:
    return GeneratorConfig(
        out=tmp_path_factory.mktemp("generated"),
        scenes=2,
        val_scenes=1,
        seed=11,
        width=160,
        height=90,
        duration_s=2.0,
        sweeps="lidar",
        antialias="none",
    )


@pytest.fixture(scope="session")
def generated(config: GeneratorConfig) -> Path:
    generate_dataroot(config)
    return config.out


@pytest.fixture(scope="session")
def nusc(generated: Path, config: GeneratorConfig) -> Any:
    devkit = pytest.importorskip("nuscenes.nuscenes")
    return devkit.NuScenes(config.version, str(generated), verbose=False)


@pytest.fixture(scope="session")
def make_street() -> Callable[[list[Place]], World]:
    """Return a function that puts objects on the road, relative to a standing ego vehicle."""
    town = build_town(0)
    s = 60.0
    here, heading = town.main.point(s, -1.7), float(town.main.heading(s))
    ego_track = fixed_track(float(here[0]), float(here[1]), heading)
    crop = crop_around(here[None], 60.0, town.raster.extent)
    texture = make_texture(town.raster, crop, np.random.default_rng(0))

    def make(places: list[Place]) -> World:
        forward = np.array([np.cos(heading), np.sin(heading)])
        left = np.array([-forward[1], forward[0]])
        actors = []
        for model, ahead_m, left_m, yaw_rad in places:
            x, y = here + ahead_m * forward + left_m * left
            actors.append(Actor(model, fixed_track(float(x), float(y), heading + yaw_rad)))
        return World(
            town=town,
            crop=crop,
            texture=texture,
            light=draw_light(np.random.default_rng(1)),
            ego_track=ego_track,
            actors=actors,
        )

    return make
