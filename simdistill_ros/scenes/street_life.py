# SPDX-License-Identifier: Apache-2.0
"""What stands or walks beside the road: parked rows, work zones, barriers, pedestrians."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simdistill_ros.scenes.catalogue import build_object, build_posed_person
from simdistill_ros.scenes.mesh import ObjectModel
from simdistill_ros.scenes.motion import fixed_track, make_path, track_times
from simdistill_ros.scenes.people import MOVING, SITTING, STANDING
from simdistill_ros.scenes.roads import Road
from simdistill_ros.scenes.stage import Actor, Stage
from simdistill_ros.scenes.town import CURB_HEIGHT_M, Town

_PARKED_MIX = {
    "car": 0.70,
    "truck": 0.10,
    "trailer": 0.05,
    "bus": 0.03,
    "motorcycle": 0.07,
    "bicycle": 0.05,
}


@dataclass(frozen=True)
class Beat:
    """The stretch of the main road that the ego vehicle passes.

    Attributes:
        low_m: Lowest arc length of the road.
        high_m: Highest arc length.
        direction: +1 when the ego vehicle drives towards higher arc lengths.
    """

    low_m: float
    high_m: float
    direction: int


class StreetLife:
    """Fills the sides of the roads near the ego route; every addition passes the stage."""

    def __init__(
        self, town: Town, look: int, rng: np.random.Generator, stage: Stage, duration_s: float
    ) -> None:
        """Work on `stage`; `rng` decides everything that town and look leave open."""
        self.town, self.look, self.rng, self.stage = town, look, rng, stage
        self.times_s = track_times(duration_s)

    def fill(self, beat: Beat, density: float) -> None:
        """Add everything, rare classes first."""
        self._require_each_class(beat)
        for _ in range(1 + int(self.rng.random() < 0.5 * density)):
            self._work_zone(beat, float(self.rng.uniform(beat.low_m, beat.high_m)))
        self._barrier_rows(beat)
        for side in (-1.0, 1.0):
            self._parked_row(self.town.main, side, (beat.low_m - 50, beat.high_m + 60), density)
        for (middle, _), road in zip(self.town.main.crossings, self.town.crossing, strict=True):
            if beat.low_m - 50 < middle < beat.high_m + 50:
                for side in (-1.0, 1.0):
                    self._parked_row(road, side, (25.0, road.length_m - 25.0), density * 0.7)
        self._cycle_stands(beat, density)
        self._pedestrians(beat, density)

    def _pose(
        self, road: Road, s: float, offset: float, turn: float = 0.0
    ) -> tuple[float, float, float]:
        x, y = road.point(s, offset)
        return float(x), float(y), float(road.heading(s)) + turn

    def _park(self, road: Road, s: float, side: float, model: ObjectModel) -> bool:
        """Park a vehicle in the strip on `side`, heading with traffic, flush with the curb."""
        offset = side * (road.profile.curb - 0.25 - model.size_lwh_m[1] / 2)
        turn = np.pi if side > 0 else 0.0
        turn += float(self.rng.normal(0.0, 0.02))
        x, y, yaw = self._pose(road, s, offset, turn)
        return self.stage.add([Actor(model, fixed_track(x, y, yaw), parked=True)])

    def _require_each_class(self, beat: Beat) -> None:
        """Place each rare class about every 70 m of the route, whatever chance does later."""
        rare = ("construction_vehicle", "trailer", "bus", "truck", "motorcycle", "bicycle")
        for name in rare * (1 + int((beat.high_m - beat.low_m) / 70.0)):
            for _ in range(30):
                s = float(self.rng.uniform(beat.low_m, beat.high_m))
                if self.town.main.near_crossing(s, 9.0):
                    continue
                if self._park(
                    self.town.main,
                    s,
                    float(self.rng.choice([-1.0, 1.0])),
                    build_object(name, self.look, self.rng),
                ):
                    break

    def _parked_row(
        self, road: Road, side: float, window: tuple[float, float], density: float
    ) -> None:
        s = max(window[0], 4.0)
        fullness = float(self.rng.uniform(0.35, 0.85)) * min(density, 1.2)
        while s < min(window[1], road.length_m - 4.0):
            name = str(self.rng.choice(list(_PARKED_MIX), p=list(_PARKED_MIX.values())))
            if self.rng.random() < fullness:
                model = build_object(name, self.look, self.rng)
                length = model.size_lwh_m[0]
                if not road.near_crossing(s + length / 2, length / 2 + 5.0):
                    self._park(road, s + length / 2, side, model)
                s += length
            else:
                s += 5.0
            s += float(self.rng.uniform(0.5, 1.8))

    def _work_zone(self, beat: Beat, s: float) -> None:
        """Close a stretch of the parking strip with cones, barriers, a machine and workers."""
        road, side = self.town.main, float(self.rng.choice([-1.0, 1.0]))
        length = float(self.rng.uniform(12.0, 24.0))
        if road.near_crossing(s, length / 2 + 3.0):
            s += length
        inner = road.profile.lane + road.profile.bike * 0.75
        variant = int(self.rng.integers(16))
        count = int(length / float(self.rng.uniform(2.2, 3.6)))
        for index in range(count + 1):
            share = index / max(count, 1)
            taper = 1.0 - min(share, 1.0 - share) * 5.0
            offset = side * (inner + max(taper, 0.0) * 1.6 + float(self.rng.normal(0, 0.08)))
            cone = build_object("traffic_cone", self.look, self.rng, variant)
            x, y, yaw = self._pose(
                road, s + (share - 0.5) * length, offset, float(self.rng.uniform(0, 6.3))
            )
            self.stage.add([Actor(cone, fixed_track(x, y, yaw))])
        end = s + float(self.rng.choice([-1.0, 1.0])) * length * 0.5
        self._barrier_row(road, end, side * (road.profile.curb - 1.2), across=True, count=1)
        machine = build_object("construction_vehicle", self.look, self.rng)
        self._park(road, s, side, machine)
        for _ in range(int(self.rng.integers(1, 4))):
            posture = MOVING if self.rng.random() < 0.3 else STANDING
            worker = build_posed_person(self.look, self.rng, "worker", posture)
            x, y, yaw = self._pose(
                road,
                s + float(self.rng.uniform(-0.5, 0.5)) * length,
                side * (road.profile.curb - float(self.rng.uniform(0.4, 2.0))),
                float(self.rng.uniform(0, 6.3)),
            )
            self.stage.add([Actor(worker, fixed_track(x, y, yaw))])

    def _barrier_row(
        self, road: Road, s: float, offset: float, *, across: bool, count: int
    ) -> None:
        """Add barriers side by side, along the road or across it."""
        variant = int(self.rng.integers(16))
        model = build_object("barrier", self.look, self.rng, variant)
        pitch = model.size_lwh_m[1] + 0.08
        group = []
        on_sidewalk = abs(offset) > road.profile.curb
        for index in range(count):
            model = build_object("barrier", self.look, self.rng, variant)
            shift = (index - (count - 1) / 2) * pitch
            ds, do, turn = (0.0, shift, 0.0) if across else (shift, 0.0, np.pi / 2)
            x, y, yaw = self._pose(
                road, s + ds, offset + do, turn + float(self.rng.normal(0, 0.02))
            )
            group.append(
                Actor(model, fixed_track(x, y, yaw), CURB_HEIGHT_M if on_sidewalk else 0.0)
            )
        self.stage.add(group)

    def _barrier_rows(self, beat: Beat) -> None:
        """Add rows of barriers on the sidewalk's edge and in the parking strip."""
        road = self.town.main
        for _ in range(int(self.rng.integers(4, 8))):
            s, side = (
                float(self.rng.uniform(beat.low_m, beat.high_m)),
                float(self.rng.choice([-1.0, 1.0])),
            )
            count = int(self.rng.integers(2, 7))
            if road.near_crossing(s, count * 1.4 + 2.0):
                continue
            offset = road.profile.edge - 0.4 if self.rng.random() < 0.5 else road.profile.curb - 1.0
            self._barrier_row(road, s, side * offset, across=False, count=count)
        for _ in range(int(self.rng.integers(2, 6))):
            s, side = (
                float(self.rng.uniform(beat.low_m, beat.high_m)),
                float(self.rng.choice([-1.0, 1.0])),
            )
            x, y, yaw = self._pose(
                road, s, side * (road.profile.curb - float(self.rng.uniform(0.3, 2.0)))
            )
            cone = build_object("traffic_cone", self.look, self.rng)
            self.stage.add([Actor(cone, fixed_track(x, y, yaw))])

    def _cycle_stands(self, beat: Beat, density: float) -> None:
        """Lean single cycles and small groups of them on the sidewalk."""
        road = self.town.main
        for _ in range(int(3 + 3 * density)):
            s, side = (
                float(self.rng.uniform(beat.low_m - 10, beat.high_m + 20)),
                float(self.rng.choice([-1.0, 1.0])),
            )
            name = "bicycle" if self.rng.random() < 0.6 else "motorcycle"
            if road.near_crossing(s, 3.0):
                continue
            for index in range(int(self.rng.integers(1, 4))):
                model = build_object(name, self.look, self.rng)
                if model.with_rider:
                    continue
                turn = np.pi / 2 + float(self.rng.normal(0, 0.15))
                x, y, yaw = self._pose(
                    road, s + 0.95 * index, side * (road.profile.curb + 1.15), turn
                )
                self.stage.add([Actor(model, fixed_track(x, y, yaw), CURB_HEIGHT_M)])

    def _pedestrians(self, beat: Beat, density: float) -> None:
        for _ in range(int(16 * density)):
            self._walker(beat)
        for _ in range(int(7 * density)):
            self._crosser(beat)
        for _ in range(int(7 * density)):
            self._standing_group(beat)

    def _walker(self, beat: Beat) -> None:
        """Send somebody along the sidewalk of the main road."""
        road, side = self.town.main, float(self.rng.choice([-1.0, 1.0]))
        start = float(self.rng.uniform(beat.low_m - 20, beat.high_m + 30))
        way = float(self.rng.choice([-1.0, 1.0]))
        kind = "child" if self.rng.random() < 0.12 else "adult"
        model = build_posed_person(self.look, self.rng, kind, MOVING)
        offset = side * (
            road.profile.curb + float(self.rng.uniform(1.2, road.profile.sidewalk - 0.3))
        )
        s = start + way * float(self.rng.uniform(0.8, 1.7)) * self.times_s
        low, high = float(s.min()), float(s.max())
        if low < 2 or high > road.length_m - 2:
            return
        on_crossing = any(low - 3 < m + h and high + 3 > m - h for m, h in road.crossings)
        grid = np.arange(low - 1.0, high + 2.0, 1.0)[:: int(way)]
        path = make_path(road.point(grid, offset))
        arc = np.interp(way * s, way * grid, path.arc_m)
        track = path.follow(self.times_s, arc, 0.3)
        self.stage.add([Actor(model, track, 0.0 if on_crossing else CURB_HEIGHT_M)])

    def _crosser(self, beat: Beat) -> None:
        """Send somebody across the road, at a crosswalk or anywhere."""
        road = self.town.main
        if self.rng.random() < 0.6 and road.crossings:
            middle, half = road.crossings[int(self.rng.integers(len(road.crossings)))]
            s = middle + float(self.rng.choice([-1.0, 1.0])) * (
                half + float(self.rng.uniform(0.6, 2.4))
            )
        else:
            s = float(self.rng.uniform(beat.low_m, beat.high_m + 20))
        way = float(self.rng.choice([-1.0, 1.0]))
        model = build_posed_person(self.look, self.rng, "adult", MOVING)
        begin, speed = (
            float(self.rng.uniform(-4.0, self.times_s[-1])),
            float(self.rng.uniform(0.9, 2.0)),
        )
        edge = road.profile.curb + 0.8
        offset = way * np.clip(-edge + speed * (self.times_s - begin), -edge, edge)
        heading = np.full(len(self.times_s), float(road.heading(s)) + way * np.pi / 2)
        track = fixed_track(0, 0, 0)
        track = type(track)(self.times_s, road.point(np.full(len(offset), s), offset), heading)
        self.stage.add([Actor(model, track)])

    def _standing_group(self, beat: Beat) -> None:
        road, side = self.town.main, float(self.rng.choice([-1.0, 1.0]))
        s = float(self.rng.uniform(beat.low_m - 10, beat.high_m + 20))
        offset = side * (road.profile.curb + float(self.rng.uniform(1.0, road.profile.sidewalk)))
        raised = 0.0 if road.near_crossing(s, 6.0) else CURB_HEIGHT_M
        for _ in range(int(self.rng.integers(1, 4))):
            posture = SITTING if self.rng.random() < 0.15 else STANDING
            model = build_posed_person(self.look, self.rng, "adult", posture)
            x, y, yaw = self._pose(
                road,
                s + float(self.rng.normal(0, 0.9)),
                offset + float(self.rng.normal(0, 0.5)),
                float(self.rng.uniform(0, 6.3)),
            )
            self.stage.add([Actor(model, fixed_track(x, y, yaw), raised)])
