# SPDX-License-Identifier: Apache-2.0
"""One scene: town, route, actors and light put together from its plan."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simdistill_ros.scenes.config import GeneratorConfig, ScenePlan
from simdistill_ros.scenes.ground import make_texture, noise_tile
from simdistill_ros.scenes.light import Float32, draw_light
from simdistill_ros.scenes.rig import Rig, make_rig
from simdistill_ros.scenes.stage import Stage
from simdistill_ros.scenes.street_life import Beat, StreetLife
from simdistill_ros.scenes.town import Town, build_town, crop_around
from simdistill_ros.scenes.traffic import Route, drive, reserve_ego
from simdistill_ros.scenes.world import World

_REACH_M = 105.0
_SMALL_OBSTACLE_M = 3.0


@dataclass(frozen=True)
class Scene:
    """A scene ready to be recorded.

    Attributes:
        plan: Which scene it is.
        town: Where it takes place.
        rig: The vehicle's sensors.
        world: Geometry, light and actors.
        cloud_noise: Tileable noise for the sky.
    """

    plan: ScenePlan
    town: Town
    rig: Rig
    world: World
    cloud_noise: Float32


def build_scene(config: GeneratorConfig, plan: ScenePlan) -> Scene:
    """Draw everything about a scene from its seeds."""
    town = build_town(plan.town)
    traffic_rng, life_rng, light_rng, rig_rng, texture_rng = (
        np.random.default_rng([config.seed, plan.index, plan.town, part]) for part in range(5)
    )
    route, groups = drive(town, plan.look, traffic_rng, config.duration_s, config.traffic)
    stage = Stage(config.duration_s)
    reserve_ego(stage, route)
    obstacles = [placed for placed in town.scenery if placed.radius_m < _SMALL_OBSTACLE_M]
    stage.reserve_circles(
        np.array([placed.xy for placed in obstacles]),
        np.array([placed.radius_m for placed in obstacles]),
    )
    for group in groups:
        stage.add(group)
    life = StreetLife(town, plan.look, life_rng, stage, config.duration_s)
    life.fill(_beat(town, route), config.traffic)
    crop = crop_around(route.track.xy, _REACH_M, town.raster.extent)
    actors = [actor for actor in stage.actors if _comes_near(actor.track.xy, route, 90.0)]
    world = World(
        town=town,
        crop=crop,
        texture=make_texture(town.raster, crop, texture_rng),
        light=draw_light(light_rng),
        ego_track=route.track,
        actors=actors,
    )
    rig = make_rig(rig_rng, config.width, config.height)
    return Scene(plan, town, rig, world, noise_tile(texture_rng))


def _beat(town: Town, route: Route) -> Beat:
    """Return the stretch of main road along the route, with some road ahead."""
    arcs = np.array([route.start_arc_m, route.start_arc_m + max(route.reach_m, 20.0)])
    s = np.interp(arcs, route.lane.path.arc_m, route.lane.road_s_m)
    low, high = float(s.min()), float(s.max())
    ahead, behind = 30.0, 10.0
    if route.lane.direction > 0:
        low, high = low - behind, high + ahead
    else:
        low, high = low - ahead, high + behind
    return Beat(max(low, 8.0), min(high, town.main.length_m - 8.0), route.lane.direction)


def _comes_near(
    xy: np.ndarray[tuple[int, int], np.dtype[np.float64]], route: Route, reach_m: float
) -> bool:
    ego = route.track.xy[::10]
    points = xy[:: max(len(xy) // 60, 1)]
    return bool((np.linalg.norm(points[:, None] - ego[None], axis=2) < reach_m).any())
