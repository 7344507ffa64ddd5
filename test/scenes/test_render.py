# SPDX-License-Identifier: Apache-2.0

from collections.abc import Callable

import numpy as np
import pytest

from simdistill_ros.core.boxes import NUSCENES_CLASSES
from simdistill_ros.core.frames import inverse, transform_points
from simdistill_ros.scenes.catalogue import build_object
from simdistill_ros.scenes.lidar import beam_directions, points_in_box, scan, sweep_in_global
from simdistill_ros.scenes.mesh import ObjectModel
from simdistill_ros.scenes.motion import Track
from simdistill_ros.scenes.render import Picture, Renderer
from simdistill_ros.scenes.rig import Camera, make_rig
from simdistill_ros.scenes.stage import Actor
from simdistill_ros.scenes.town import build_town
from simdistill_ros.scenes.visibility import surface_points, visibility_token, visible_fractions
from simdistill_ros.scenes.world import World

SIZE_WH = (320, 180)
RIG = make_rig(np.random.default_rng(0), *SIZE_WH)
FRONT = RIG.cameras[0]
Street = Callable[[list[tuple[ObjectModel, float, float, float]]], World]


def _model(class_name: str, variant: int = 0) -> ObjectModel:
    return build_object(class_name, 0, np.random.default_rng(4), variant)


def _render(world: World, antialias: str = "none", camera: Camera = FRONT) -> Picture:
    noise = np.zeros((64, 64), np.float32)
    renderer = Renderer(SIZE_WH, antialias, noise, np.random.default_rng(0))
    return renderer.render(world.at(0.0), camera, np.random.default_rng(1))


def _box_corners(world: World, index: int) -> np.ndarray:
    actor = world.actors[index]
    x, y, z, yaw = actor.centre(0.0, world.terrain)
    signs = np.array([[a, b, c] for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)])
    local = signs * np.asarray(actor.model.size_lwh_m) / 2
    rotation = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
    return local @ rotation.T + [x, y, z]


def _project(world: World, points: np.ndarray) -> np.ndarray:
    cam_from_global = inverse(world.global_from_ego(0.0) @ FRONT.ego_from_cam)
    local = transform_points(cam_from_global, points)
    homogeneous = local @ FRONT.image_from_cam.T
    return homogeneous[:, :2] / homogeneous[:, 2:]


@pytest.mark.parametrize("class_name", NUSCENES_CLASSES)
def test_projected_box_encloses_the_pixels_of_its_object(
    make_street: Street, class_name: str
) -> None:
    ahead = 9.0 if class_name in ("traffic_cone", "barrier", "bicycle", "pedestrian") else 18.0
    world = make_street([(_model(class_name), ahead, 0.3, 0.5)])
    rows, columns = np.nonzero(_render(world).owner == 0)
    assert len(rows) > 30
    pixels = _project(world, _box_corners(world, 0))
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    assert low[0] - 0.5 <= columns.min()
    assert columns.max() <= high[0] + 0.5
    assert low[1] - 0.5 <= rows.min()
    assert rows.max() <= high[1] + 0.5
    # The pixels also reach across most of the box: it is not much too large.
    assert np.ptp(columns) > 0.5 * min(high[0] - low[0], SIZE_WH[0])


def test_owner_and_depth_show_the_nearest_object(make_street: Street) -> None:
    car, truck = _model("car"), _model("truck", 2)
    world = make_street([(car, 10.0, 0.0, 0.0), (truck, 25.0, 0.0, 0.0)])
    picture = _render(world)
    middle = _project(world, np.array([world.actors[0].centre(0.0, world.terrain)[:3]]))[0]
    column, row = np.round(middle).astype(int)
    assert picture.owner[row, column] == 0
    assert 4.0 < picture.depth_m[row, column] < 10.0


def test_sky_is_empty_and_brighter_than_the_shadow_under_a_car(make_street: Street) -> None:
    picture = _render(make_street([(_model("car"), 9.0, 0.0, 0.0)]))
    sky = picture.depth_m > 1e29
    assert sky.any()
    assert (picture.owner[sky] == -1).all()
    assert picture.rgb[sky].mean() > picture.rgb[picture.owner == 0].mean()


@pytest.mark.parametrize("antialias", ["edges", "full"])
def test_antialiasing_softens_edges_and_keeps_the_picture(
    make_street: Street, antialias: str
) -> None:
    world = make_street([(_model("car"), 9.0, 0.0, 0.4)])
    plain, smooth = _render(world), _render(world, antialias)
    difference = plain.rgb.astype(float) - smooth.rgb.astype(float)
    assert np.abs(difference).mean() < 8.0
    row_steps = [np.abs(np.diff(p.rgb.astype(float), axis=1)).max(axis=2) for p in (plain, smooth)]
    assert (row_steps[1] > 60).sum() < (row_steps[0] > 60).sum()
    assert (plain.owner == smooth.owner).mean() > 0.97


@pytest.mark.parametrize(("ahead_m", "kept"), [(50.0, True), (-50.0, False), (-20.0, True)])
def test_moving_actor_is_left_out_only_when_far_and_out_of_the_sector(
    make_street: Street, ahead_m: float, kept: bool
) -> None:
    street = make_street([(_model("car"), ahead_m, 0.0, 0.0)])
    fixed = street.actors[0].track
    moving = Track(np.array([0.0, 1.0]), np.repeat(fixed.xy, 2, axis=0), fixed.yaw_rad.repeat(2))
    world = make_street([])
    world = World(
        town=build_town(0),
        crop=world.texture.extent,
        texture=world.texture,
        light=world.light,
        ego_track=world.ego_track,
        actors=[Actor(_model("car"), moving)],
    )
    assert world.at(0.0).moving_scene is not None
    facing = FRONT.facing(SIZE_WH[0], 0.35)
    assert (world.at(0.0, facing).moving_scene is not None) is kept


def test_same_generator_state_gives_the_same_image(make_street: Street) -> None:
    world = make_street([(_model("bus"), 12.0, 3.0, 0.1)])
    np.testing.assert_array_equal(_render(world).rgb, _render(world).rgb)


def _visible(world: World) -> np.ndarray:
    rng = np.random.default_rng(0)
    points = []
    for actor in world.actors:
        x, y, z, yaw = actor.centre(0.0, world.terrain)
        c, s = np.cos(yaw), np.sin(yaw)
        rotation = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
        points.append(surface_points(actor.model.mesh, rng) @ rotation.T + [x, y, z])
    indices = list(range(len(points)))
    return visible_fractions(world.at(0.0), RIG.cameras, SIZE_WH, indices, np.stack(points))


def test_object_in_the_open_is_fully_visible_and_behind_a_bus_hardly(make_street: Street) -> None:
    car, bus = _model("car"), _model("bus")
    alone = _visible(make_street([(car, 24.0, 0.0, 0.0)]))
    hidden = _visible(make_street([(car, 24.0, 0.0, 0.0), (bus, 13.0, 0.0, 0.0)]))
    assert alone[0] > 0.9
    assert hidden[0] < 0.2
    assert hidden[1] > 0.9


def test_half_hidden_object_gets_a_middle_fraction(make_street: Street) -> None:
    car, bus = _model("car"), _model("bus")
    fraction = _visible(make_street([(car, 26.0, 5.4, 0.0), (bus, 13.0, 0.0, 0.0)]))[0]
    assert 0.1 < fraction < 0.9


def test_visibility_tokens_follow_the_bounds_of_nuscenes() -> None:
    tokens = [visibility_token(fraction) for fraction in (0.0, 0.39, 0.41, 0.61, 0.81, 1.0)]
    assert tokens == ["1", "1", "2", "3", "4", "4"]


def test_lidar_has_32_rings_between_its_elevation_limits() -> None:
    directions = beam_directions()
    elevation = np.degrees(np.arcsin(directions[:, 2])).reshape(-1, 32)
    assert len(directions) == 1084 * 32
    np.testing.assert_allclose(elevation[0], np.linspace(-30.67, 10.67, 32), atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1.0, atol=1e-6)


def test_lidar_points_that_hit_an_object_lie_in_its_box(make_street: Street) -> None:
    world = make_street([(_model("car"), 12.0, 0.0, 0.3)])
    moment = world.at(0.0)
    sweep = scan(moment, RIG.ego_from_lidar, np.random.default_rng(0))
    points = sweep_in_global(sweep, world.global_from_ego(0.0) @ RIG.ego_from_lidar)
    x, y, z, yaw = world.actors[0].centre(0.0, world.terrain)
    size = world.actors[0].model.size_lwh_m
    larger = tuple(extent + 0.12 for extent in size)
    inside = points_in_box(points, np.array([x, y, z]), size, yaw).sum()
    around = points_in_box(points, np.array([x, y, z]), larger, yaw).sum()  # noise, and the ground
    assert inside > 60
    assert inside > 0.7 * around
    empty = make_street([])
    ground = scan(empty.at(0.0), RIG.ego_from_lidar, np.random.default_rng(0))
    points = sweep_in_global(ground, empty.global_from_ego(0.0) @ RIG.ego_from_lidar)
    assert points_in_box(points, np.array([x, y, z + 0.1]), size, yaw).sum() < 5


def test_lidar_columns_are_in_range(make_street: Street) -> None:
    world = make_street([(_model("truck"), 15.0, 3.0, 0.0)])
    sweep = scan(world.at(0.0), RIG.ego_from_lidar, np.random.default_rng(0))
    assert sweep.dtype == np.float32
    assert sweep.shape[1] == 5
    distance = np.linalg.norm(sweep[:, :3], axis=1)
    assert distance.min() > 1.0
    assert 40.0 < distance.max() < 100.2
    assert (sweep[:, 3] >= 0).all()
    assert (sweep[:, 3] <= 255).all()
    assert set(np.unique(sweep[:, 4])) <= set(range(32))


def test_ego_vehicle_stands_on_the_slope_of_the_ground(make_street: Street) -> None:
    world = make_street([])
    global_from_ego = world.global_from_ego(0.0)
    front = transform_points(global_from_ego, np.array([[2.7, 0.0, 0.0]]))[0]
    assert front[2] == pytest.approx(float(world.terrain.height(front[:2])), abs=0.02)
