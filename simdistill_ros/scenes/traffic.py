# SPDX-License-Identifier: Apache-2.0
"""The ego vehicle's route and everything that drives: lanes, signals, car following, cycles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simdistill_ros.scenes.catalogue import build_object, build_tractor
from simdistill_ros.scenes.mesh import ObjectModel
from simdistill_ros.scenes.motion import (
    Driver,
    Path,
    Signal,
    Track,
    bezier,
    drive_lane,
    make_path,
    track_times,
)
from simdistill_ros.scenes.roads import STEP_M, Road
from simdistill_ros.scenes.shapes import FloatArray
from simdistill_ros.scenes.stage import Actor, Stage
from simdistill_ros.scenes.town import Town

EGO_SIZE_LW_M = (4.6, 1.9)
EGO_WHEELBASE_M = 2.7
EGO_MIDDLE_AHEAD_OF_REAR_AXLE_M = 1.35
_TRAFFIC_MIX = {
    "car": 0.60,
    "truck": 0.12,
    "bus": 0.08,
    "trailer": 0.08,
    "motorcycle": 0.10,
    "construction_vehicle": 0.02,
}


@dataclass(frozen=True)
class Lane:
    """One direction of a road as a path, with the map from road arc length to path arc length."""

    road: Road
    direction: int
    path: Path
    road_s_m: FloatArray

    def arc(self, road_s_m: float) -> float:
        """Return the path's arc length at the road's arc length `road_s_m`."""
        order = np.argsort(self.road_s_m)
        return float(np.interp(road_s_m, self.road_s_m[order], self.path.arc_m[order]))

    def signals(self, closed: tuple[float, float]) -> list[Signal]:
        """Return the stop lines of the lane's crossings, closed during `closed` (from, until) s."""
        found = []
        for middle, half in self.road.crossings:
            stop = middle - self.direction * (half + 4.2)
            found.append(Signal(self.arc(stop), *closed))
        return found


def make_lane(road: Road, direction: int, offset_m: float) -> Lane:
    """Return the lane driven in `direction` (+1, -1), `offset_m` right of the centre line."""
    s = np.arange(0.0, road.length_m + 1e-6, STEP_M)
    if direction < 0:
        s = s[::-1]
    return Lane(road, direction, make_path(road.point(s, -direction * offset_m)), s)


@dataclass(frozen=True)
class Route:
    """How the ego vehicle drives.

    Attributes:
        track: Pose of the rear axle over time.
        middle_track: Pose of the body's middle, for clearance.
        lane: The lane of the main road that it starts in.
        start_arc_m: Where on that lane its middle starts.
        reach_m: How far along the lane it comes, at least roughly.
        closed: (from, until) seconds during which main road and cross roads have red.
    """

    track: Track
    middle_track: Track
    lane: Lane
    start_arc_m: float
    reach_m: float
    closed: tuple[tuple[float, float], tuple[float, float]]


@dataclass
class _LanePlan:
    """Vehicles of a lane before simulation; a model of None is the ego vehicle."""

    lane: Lane
    drivers: list[Driver]
    models: list[list[ObjectModel] | None]


def _draw_signals(rng: np.random.Generator) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the red intervals of main road and cross roads; at most one change per scene."""
    always, never = (-10.0, 100.0), (200.0, 200.0)
    pick = float(rng.random())
    if pick < 0.5:
        return never, always
    change = float(rng.uniform(2.0, 9.0))
    if pick < 0.8:
        return (-10.0, change + 2.5), (change, 100.0)
    return (change, 100.0), (-10.0, change + 2.5)


def drive(
    town: Town, look: int, rng: np.random.Generator, duration_s: float, density: float
) -> tuple[Route, list[list[Actor]]]:
    """Draw the ego route and simulate all lanes.

    Returns:
        The route and groups of moving actors (a tractor and its trailer form one group) that still
        have to pass
        `Stage.add`, most important first.
    """
    times_s = track_times(duration_s)
    closed = _draw_signals(rng)
    direction = int(rng.choice([-1, 1]))
    lane = make_lane(town.main, direction, town.main.profile.lane / 2)
    speed = float(rng.uniform(6.0, 10.5))
    travel = speed * duration_s
    room = lane.path.arc_m[-1] - travel - 70.0
    start = float(rng.uniform(55.0, max(room, 60.0)))
    path, slow_zone = _route_path(town, lane, start, travel, rng)
    plan = _LanePlan(lane, [Driver(start, EGO_SIZE_LW_M[0], speed, slow_zone)], [None])
    _fill_lane(plan, look, rng, (start - 70.0, start + travel + 90.0), density)
    arcs = drive_lane(plan.drivers, lane.signals(closed[0]), times_s, rng)
    rear = arcs[:, 0] - EGO_MIDDLE_AHEAD_OF_REAR_AXLE_M
    route = Route(
        track=path.follow_rear(times_s, rear, EGO_WHEELBASE_M),
        middle_track=path.follow(times_s, arcs[:, 0], EGO_WHEELBASE_M),
        lane=lane,
        start_arc_m=start,
        reach_m=float(arcs[-1, 0] - start),
        closed=closed,
    )
    groups = _lane_actors(plan, arcs, times_s)
    groups += _other_lanes(town, look, rng, route, times_s, density)
    return route, groups


def _route_path(
    town: Town, lane: Lane, start: float, travel: float, rng: np.random.Generator
) -> tuple[Path, tuple[float, float, float] | None]:
    """Return the ego path: along the lane, or (one time in three) turning into a cross road."""
    options = [
        (index, lane.arc(middle))
        for index, (middle, _) in enumerate(town.main.crossings)
        if start + 30.0 < lane.arc(middle) < start + 0.75 * travel
    ]
    if not options or rng.random() > 0.4:
        return lane.path, None
    index, arc = options[int(rng.integers(len(options)))]
    cross, left = town.crossing[index], bool(rng.random() < 0.5)
    turn_direction = lane.direction if left else -lane.direction
    exit_lane = make_lane(cross, turn_direction, cross.profile.lane / 2)
    approach = cross.profile.edge - (0.0 if left else 1.0)
    begin = arc - approach
    exit_arc = (
        exit_lane.arc(cross.crossings[0][0]) + town.main.profile.edge - (0.0 if left else 1.0)
    )
    ahead = lane.path.points[lane.path.arc_m < begin - 0.5]
    after = exit_lane.path.points[exit_lane.path.arc_m > exit_arc + 0.5]
    entry, leave = (
        lane.path.at(np.array([begin, begin + 1.0])),
        exit_lane.path.at(np.array([exit_arc, exit_arc + 1.0])),
    )
    yaws = [float(np.arctan2(*(pair[1] - pair[0])[::-1])) for pair in (entry, leave)]
    curve = bezier(entry[0], yaws[0], leave[0], yaws[1])
    path = make_path(np.concatenate([ahead, curve, after]))
    return path, (begin - 2.0, begin + 16.0, float(rng.uniform(3.5, 5.0)))


def _draw_vehicle(look: int, rng: np.random.Generator) -> list[ObjectModel]:
    """Return a vehicle, as a list because a trailer comes with its tractor in front."""
    name = str(rng.choice(list(_TRAFFIC_MIX), p=list(_TRAFFIC_MIX.values())))
    if name == "trailer":
        for _ in range(12):
            trailer = build_object("trailer", look, rng)
            if trailer.variant != "goods":
                return [build_tractor(look, rng), trailer]
    for _ in range(12):
        model = build_object(name, look, rng)
        if model.class_name != "motorcycle" or model.with_rider:
            return [model]
    return [build_object("car", look, rng)]


def train_length_m(models: list[ObjectModel]) -> float:
    """Return the length of a vehicle with what it pulls; a semi-trailer overlaps its tractor."""
    return sum(model.size_lwh_m[0] for model in models) - (0.3 - _COUPLING_M) * (len(models) - 1)


_COUPLING_M = 0.55


def _fill_lane(
    plan: _LanePlan,
    look: int,
    rng: np.random.Generator,
    window: tuple[float, float],
    density: float,
) -> None:
    """Add vehicles over the arc window with random gaps, clear of those already there."""
    arc = max(window[0], 5.0)
    taken = [(driver.s_m, driver.length_m) for driver in plan.drivers]
    while arc < min(window[1], float(plan.lane.path.arc_m[-1]) - 5.0):
        models = _draw_vehicle(look, rng)
        length = train_length_m(models)
        middle = arc + length / 2
        if all(abs(middle - s) > (length + other) / 2 + 7.0 for s, other in taken):
            speed = float(rng.uniform(5.5, 11.0))
            plan.drivers.append(Driver(middle, length, speed))
            plan.models.append(models)
            taken.append((middle, length))
        arc = middle + length / 2 + float(rng.exponential(24.0 / density)) + 8.0


def _lane_actors(plan: _LanePlan, arcs: FloatArray, times_s: FloatArray) -> list[list[Actor]]:
    """Turn simulated arc lengths (T, n) into groups of actors; the ego vehicle is left out."""
    groups = []
    for column, models in enumerate(plan.models):
        if models is None:
            continue
        front = arcs[:, column] + train_length_m(models) / 2
        group = []
        for model in models:
            length = model.size_lwh_m[0]
            middle = front - length / 2
            track = plan.lane.path.follow(times_s, middle, 0.62 * length)
            group.append(Actor(model, track))
            front = front - length - (_COUPLING_M - 0.3)
        groups.append(group)
    return groups


def _other_lanes(
    town: Town,
    look: int,
    rng: np.random.Generator,
    route: Route,
    times_s: FloatArray,
    density: float,
) -> list[list[Actor]]:
    """Simulate the opposite lane, the cross roads and the cycle strips."""
    main, lane = town.main, route.lane
    here = float(lane.road_s_m[int(np.searchsorted(lane.path.arc_m, route.start_arc_m))])
    low, high = sorted((here, here + lane.direction * route.reach_m))
    groups: list[list[Actor]] = []
    opposite = make_lane(main, -lane.direction, main.profile.lane / 2)
    ends = sorted((opposite.arc(low - 80.0), opposite.arc(high + 80.0)))
    groups += _simulate(
        opposite, look, rng, (ends[0] - 60.0, ends[1] + 60.0), route.closed[0], times_s, density
    )
    for direction in (-1, 1):
        strip = make_lane(main, direction, main.profile.lane + 0.30)
        ends = sorted((strip.arc(low - 40.0), strip.arc(high + 40.0)))
        groups += _cycle_strip(
            strip, look, rng, (ends[0], ends[1]), route.closed[0], times_s, density
        )
    for (middle, _), cross in zip(main.crossings, town.crossing, strict=True):
        if low - 60.0 < middle < high + 60.0:
            for direction in (-1, 1):
                side = make_lane(cross, direction, cross.profile.lane / 2)
                window = (10.0, float(side.path.arc_m[-1]))
                groups += _simulate(
                    side, look, rng, window, route.closed[1], times_s, density * 0.8
                )
    return groups


def _simulate(
    lane: Lane,
    look: int,
    rng: np.random.Generator,
    window: tuple[float, float],
    closed: tuple[float, float],
    times_s: FloatArray,
    density: float,
) -> list[list[Actor]]:
    plan = _LanePlan(lane, [], [])
    _fill_lane(plan, look, rng, window, density)
    if not plan.drivers:
        return []
    arcs = drive_lane(plan.drivers, lane.signals(closed), times_s, rng)
    return _lane_actors(plan, arcs, times_s)


def _cycle_strip(
    lane: Lane,
    look: int,
    rng: np.random.Generator,
    window: tuple[float, float],
    closed: tuple[float, float],
    times_s: FloatArray,
    density: float,
) -> list[list[Actor]]:
    """Send ridden bicycles, and a few motorcycles, along the edge of the road."""
    plan = _LanePlan(lane, [], [])
    arc = window[0] + float(rng.uniform(0.0, 20.0))
    while arc < window[1]:
        name = "bicycle" if rng.random() < 0.75 else "motorcycle"
        model = build_object(name, look, rng)
        if model.with_rider:
            plan.drivers.append(Driver(arc, model.size_lwh_m[0], float(rng.uniform(2.5, 6.0))))
            plan.models.append([model])
        arc += 9.0 + float(rng.exponential(26.0 / density))
    if not plan.drivers:
        return []
    arcs = drive_lane(plan.drivers, lane.signals(closed), times_s, rng)
    return _lane_actors(plan, arcs, times_s)


def reserve_ego(stage: Stage, route: Route) -> None:
    """Keep the ego vehicle's space clear, with a margin around it."""
    length, width = EGO_SIZE_LW_M
    stage.reserve((length + 0.8, width + 0.5), route.middle_track)
