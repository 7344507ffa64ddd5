# SPDX-License-Identifier: Apache-2.0

import numpy as np

from simdistill_ros.scenes.catalogue import build_object, build_posed_person
from simdistill_ros.scenes.mesh import ObjectModel
from simdistill_ros.scenes.motion import Track, fixed_track
from simdistill_ros.scenes.stage import Actor, Stage


def _model(class_name: str) -> ObjectModel:
    return build_object(class_name, 0, np.random.default_rng(3), 0)


def _driving(start_x: float, speed_mps: float, y: float = 0.0) -> Track:
    times = np.arange(-0.5, 11.0, 0.04)
    xy = np.stack([start_x + speed_mps * times, np.full(len(times), y)], 1)
    return Track(times, xy, np.zeros(len(times)))


def test_actor_on_top_of_another_is_refused() -> None:
    stage, car = Stage(10.0), _model("car")
    assert stage.add([Actor(car, fixed_track(0, 0, 0))])
    assert not stage.add([Actor(car, fixed_track(1.5, 0.5, 1.0))])
    assert stage.add([Actor(car, fixed_track(0, 3.0, 0))])
    assert len(stage.actors) == 2


def test_actor_that_would_be_run_over_later_is_refused() -> None:
    stage, car = Stage(10.0), _model("car")
    assert stage.add([Actor(car, _driving(-40.0, 8.0))])
    assert not stage.add([Actor(car, fixed_track(20.0, 0.0, 0.0))])
    assert stage.add([Actor(car, fixed_track(70.0, 0.0, 0.0))])


def test_group_is_added_whole_or_not_at_all() -> None:
    stage, car = Stage(5.0), _model("car")
    assert stage.add([Actor(car, fixed_track(0, 0, 0))])
    assert not stage.add([Actor(car, fixed_track(20, 0, 0)), Actor(car, fixed_track(1, 0, 0))])
    assert len(stage.actors) == 1


def test_members_of_a_group_may_stand_close_together() -> None:
    stage, barrier = Stage(5.0), _model("barrier")
    pitch = barrier.size_lwh_m[1] + 0.05
    assert stage.add([Actor(barrier, fixed_track(0, index * pitch, 0)) for index in range(4)])


def test_reserved_space_is_kept_clear() -> None:
    stage, car = Stage(10.0), _model("car")
    stage.reserve((4.6, 1.9), _driving(0.0, 5.0))
    stage.reserve_circles(np.array([[0.0, 20.0]]), np.array([2.0]))
    assert not stage.add([Actor(car, fixed_track(30.0, 0.0, 0.0))])
    assert not stage.add([Actor(car, fixed_track(0.0, 21.0, 0.0))])
    assert not stage.actors


def test_vehicle_attribute_tells_moving_stopped_and_parked() -> None:
    car = _model("car")
    assert Actor(car, _driving(0, 5)).attribute(1.0) == "vehicle.moving"
    assert Actor(car, fixed_track(0, 0, 0)).attribute(1.0) == "vehicle.stopped"
    assert Actor(car, fixed_track(0, 0, 0), parked=True).attribute(1.0) == "vehicle.parked"


def test_pedestrian_attribute_follows_motion_and_posture() -> None:
    rng = np.random.default_rng(0)
    walker = build_posed_person(0, rng, "adult", "moving")
    sitter = build_posed_person(0, rng, "adult", "sitting")
    assert Actor(walker, _driving(0, 1.2)).attribute(1.0) == "pedestrian.moving"
    assert Actor(walker, fixed_track(0, 0, 0)).attribute(1.0) == "pedestrian.standing"
    assert Actor(sitter, fixed_track(0, 0, 0)).attribute(1.0) == "pedestrian.sitting_lying_down"


def test_cones_and_barriers_have_no_attribute() -> None:
    for name in ("traffic_cone", "barrier"):
        assert Actor(_model(name), fixed_track(0, 0, 0)).attribute(0.0) == ""


def test_cycle_attribute_tells_whether_somebody_rides() -> None:
    seen = [
        Actor(build_object("bicycle", 0, np.random.default_rng(seed)), fixed_track(0, 0, 0))
        for seed in range(10)
    ]
    expected = {True: "cycle.with_rider", False: "cycle.without_rider"}
    assert {actor.attribute(0.0) for actor in seen} == set(expected.values())
    assert all(actor.attribute(0.0) == expected[actor.model.with_rider] for actor in seen)
