# SPDX-License-Identifier: Apache-2.0
"""Roads as centre lines with a cross-section; right-hand traffic.

Lateral offsets are positive to the left of the direction in which the centre line runs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simdistill_ros.scenes.shapes import FloatArray

STEP_M = 1.0


@dataclass(frozen=True)
class Profile:
    """Cross-section of one half of a road, metres from the centre line outwards.

    Attributes:
        lane: Width of the one lane in each direction.
        bike: Width of the strip between lane and parking.
        parking: Width of the parking strip.
        sidewalk: Width of the sidewalk.
    """

    lane: float
    bike: float
    parking: float
    sidewalk: float

    @property
    def curb(self) -> float:
        """Return the distance from the centre line to the curb."""
        return self.lane + self.bike + self.parking

    @property
    def edge(self) -> float:
        """Return the distance from the centre line to the sidewalk's far side."""
        return self.curb + self.sidewalk


@dataclass(frozen=True)
class Road:
    """A centre line sampled every `STEP_M` with its cross-section and crossings.

    Attributes:
        centre: (S, 2) global metres.
        heading_rad: (S,) direction of the centre line.
        profile: Cross-section, the same on both sides.
        crossings: (s, half_width) of each road that crosses this one, metres along and across.
    """

    centre: FloatArray
    heading_rad: FloatArray
    profile: Profile
    crossings: tuple[tuple[float, float], ...] = ()

    @property
    def length_m(self) -> float:
        """Return the length of the centre line."""
        return (len(self.centre) - 1) * STEP_M

    def point(self, s: FloatArray | float, offset: FloatArray | float) -> FloatArray:
        """Return global positions (..., 2) at arc length `s` and lateral `offset`, metres."""
        along = np.clip(np.asarray(s, dtype=np.float64), 0.0, self.length_m)
        heading = self.heading(along)
        grid = np.arange(len(self.centre)) * STEP_M
        x = np.interp(along, grid, self.centre[:, 0]) - np.sin(heading) * offset
        y = np.interp(along, grid, self.centre[:, 1]) + np.cos(heading) * offset
        return np.stack(np.broadcast_arrays(x, y), axis=-1)

    def heading(self, s: FloatArray | float) -> FloatArray:
        """Return the direction of the centre line at arc length `s`, radians."""
        grid = np.arange(len(self.centre)) * STEP_M
        return np.asarray(np.interp(s, grid, self.heading_rad))

    def near_crossing(self, s: float, margin_m: float) -> bool:
        """Tell whether `s` lies within `margin_m` of a crossing road's sidewalk edge."""
        return any(abs(s - middle) < half + margin_m for middle, half in self.crossings)


def trace_road(
    start: FloatArray, heading_rad: float, curvature: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Integrate a curvature profile (S,) in 1/m into points (S, 2) and headings (S,)."""
    headings = heading_rad + np.concatenate([[0.0], np.cumsum(curvature[:-1])]) * STEP_M
    steps = np.stack([np.cos(headings), np.sin(headings)], 1) * STEP_M
    points = np.asarray(start) + np.concatenate([np.zeros((1, 2)), np.cumsum(steps[:-1], axis=0)])
    return points, headings


def make_main_road(rng: np.random.Generator, length_m: float, profile: Profile) -> Road:
    """Return a road of straights and bends; the tightest bend has a radius of about 55 m."""
    count = int(length_m / STEP_M) + 1
    curvature = np.zeros(count)
    s = float(rng.uniform(30.0, 80.0))
    while s < length_m - 60.0:
        bend = float(rng.uniform(35.0, 80.0))
        window = (np.arange(count) * STEP_M - s) / bend
        shape = np.where((window > 0) & (window < 1), np.sin(np.pi * np.clip(window, 0, 1)) ** 2, 0)
        curvature += shape * float(rng.choice([-1.0, 1.0])) / float(rng.uniform(55.0, 140.0))
        s += bend + float(rng.uniform(25.0, 90.0))
    points, headings = trace_road(np.zeros(2), float(rng.uniform(-0.3, 0.3)), curvature)
    return Road(points, headings, profile)


def make_cross_road(
    rng: np.random.Generator, main: Road, s_m: float, profile: Profile, reach_m: float
) -> Road:
    """Return a straight road across `main` at `s_m`, `reach_m` long to each side."""
    middle = main.point(s_m, 0.0)
    heading = float(main.heading(s_m)) + np.pi / 2 + float(rng.uniform(-0.12, 0.12))
    count = int(2 * reach_m / STEP_M) + 1
    start = middle - reach_m * np.array([np.cos(heading), np.sin(heading)])
    points, headings = trace_road(start, heading, np.zeros(count))
    return Road(points, headings, profile, crossings=((reach_m, main.profile.edge),))
