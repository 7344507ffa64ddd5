# SPDX-License-Identifier: Apache-2.0
"""How things move: paths, tracks over time, and car following along a lane.

Time is seconds since the scene's first keyframe; tracks also cover a little time before and after
the scene.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simdistill_ros.scenes.shapes import FloatArray

LEAD_S = 0.5
TICK_S = 0.04


def track_times(duration_s: float) -> FloatArray:
    """Return the times (T,) at which tracks are sampled."""
    count = int(np.ceil((duration_s + 2 * LEAD_S) / TICK_S)) + 1
    return np.arange(count) * TICK_S - LEAD_S


@dataclass(frozen=True)
class Track:
    """Planar pose over time, linear between samples.

    Attributes:
        times_s: (T,) ascending.
        xy: (T, 2) global metres.
        yaw_rad: (T,) continuous, not wrapped.
    """

    times_s: FloatArray
    xy: FloatArray
    yaw_rad: FloatArray

    def pose(self, time_s: float) -> tuple[float, float, float]:
        """Return (x, y, yaw) at a time; held constant outside the samples."""
        return (
            float(np.interp(time_s, self.times_s, self.xy[:, 0])),
            float(np.interp(time_s, self.times_s, self.xy[:, 1])),
            float(np.interp(time_s, self.times_s, self.yaw_rad)),
        )

    def velocity(self, time_s: float, span_s: float = 0.2) -> tuple[float, float]:
        """Return the velocity (vx, vy) in m/s, averaged over `span_s` around the time."""
        before, after = self.pose(time_s - span_s / 2), self.pose(time_s + span_s / 2)
        return (after[0] - before[0]) / span_s, (after[1] - before[1]) / span_s

    def speed(self, time_s: float) -> float:
        """Return the speed in m/s."""
        return float(np.hypot(*self.velocity(time_s)))


def fixed_track(x: float, y: float, yaw_rad: float) -> Track:
    """Return a track that never moves."""
    return Track(np.zeros(1), np.array([[x, y]]), np.array([yaw_rad]))


@dataclass(frozen=True)
class Path:
    """A polyline with arc length."""

    points: FloatArray
    arc_m: FloatArray

    def at(self, s: FloatArray) -> FloatArray:
        """Return positions (..., 2); beyond either end the path goes on straight."""
        x = np.interp(s, self.arc_m, self.points[:, 0])
        y = np.interp(s, self.arc_m, self.points[:, 1])
        positions = np.stack([x, y], axis=-1)
        first, last = self.points[1] - self.points[0], self.points[-1] - self.points[-2]
        first, last = first / np.linalg.norm(first), last / np.linalg.norm(last)
        positions = positions + np.minimum(s - self.arc_m[0], 0.0)[..., None] * first
        return np.asarray(positions + np.maximum(s - self.arc_m[-1], 0.0)[..., None] * last)

    def follow(self, times_s: FloatArray, s: FloatArray, wheelbase_m: float) -> Track:
        """Return the track of a body with its middle at `s` (T,) and its axles on the path."""
        front = self.at(s + wheelbase_m / 2)
        rear = self.at(s - wheelbase_m / 2)
        yaw = np.unwrap(np.arctan2(front[:, 1] - rear[:, 1], front[:, 0] - rear[:, 0]))
        return Track(times_s, (front + rear) / 2, yaw)

    def follow_rear(self, times_s: FloatArray, s: FloatArray, wheelbase_m: float) -> Track:
        """Return the track of a rear axle at `s` (T,) whose front axle stays on the path."""
        rear, front = self.at(s), self.at(s + wheelbase_m)
        yaw = np.unwrap(np.arctan2(front[:, 1] - rear[:, 1], front[:, 0] - rear[:, 0]))
        return Track(times_s, rear, yaw)


def make_path(points: FloatArray) -> Path:
    """Return a path through points (P, 2), repeated points dropped."""
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    kept = points[np.concatenate([[True], steps > 1e-6])]
    lengths = np.linalg.norm(np.diff(kept, axis=0), axis=1)
    return Path(kept, np.concatenate([[0.0], np.cumsum(lengths)]))


def bezier(start: FloatArray, start_yaw: float, end: FloatArray, end_yaw: float) -> FloatArray:
    """Return 24 points of a smooth turn between two oriented positions."""
    reach = 0.55 * float(np.linalg.norm(end - start))
    handle_0 = start + reach * np.array([np.cos(start_yaw), np.sin(start_yaw)])
    handle_1 = end - reach * np.array([np.cos(end_yaw), np.sin(end_yaw)])
    t = np.linspace(0.0, 1.0, 24)[:, None]
    return np.asarray(
        (1 - t) ** 3 * start
        + 3 * (1 - t) ** 2 * t * handle_0
        + 3 * (1 - t) * t**2 * handle_1
        + t**3 * end
    )


@dataclass(frozen=True)
class Signal:
    """A stop line at arc length `s_m` that is closed during [closed_from_s, closed_until_s)."""

    s_m: float
    closed_from_s: float
    closed_until_s: float


@dataclass(frozen=True)
class Driver:
    """One vehicle of a lane at the start of the scene.

    Attributes:
        s_m: Where its middle is.
        length_m: Bumper to bumper.
        speed_mps: The speed it wants.
        slow_zone: (from, to, limit) arc lengths and speed limit of a turn, or None.
    """

    s_m: float
    length_m: float
    speed_mps: float
    slow_zone: tuple[float, float, float] | None = None


def drive_lane(
    drivers: list[Driver], signals: list[Signal], times_s: FloatArray, rng: np.random.Generator
) -> FloatArray:
    """Simulate car following (an intelligent-driver model) along one lane.

    Args:
        drivers: The lane's vehicles in any order.
        signals: Stop lines of the lane.
        times_s: (T,) sample times, evenly spaced.
        rng: Source of the drivers' mild changes of speed.

    Returns:
        Arc lengths (T, n) of the vehicles' middles, in the order of `drivers`.
    """
    order = np.argsort([-driver.s_m for driver in drivers])
    chosen = [drivers[int(index)] for index in order]
    s = np.array([driver.s_m for driver in chosen])
    lengths = np.array([driver.length_m for driver in chosen])
    wanted = np.array([driver.speed_mps for driver in chosen])
    phase, period = rng.uniform(0, 6.28, len(s)), rng.uniform(6.0, 14.0, len(s))
    v = wanted * 0.9
    if _all_closed(signals, float(times_s[0])):
        v = np.minimum(
            v, np.sqrt(np.maximum(2 * 2.0 * _gap_to_signals(s, lengths, signals, times_s[0]), 0))
        )
    history = np.empty((len(times_s), len(s)))
    step = float(times_s[1] - times_s[0])
    for index, time_s in enumerate(times_s):
        history[index] = s
        target = wanted * (1.0 + 0.12 * np.sin(2 * np.pi * time_s / period + phase))
        target = np.minimum(target, _zone_limits(chosen, s))
        gap, closing = _leader_gap(s, v, lengths)
        stop_gap = _gap_to_signals(s, lengths, signals, float(time_s))
        blocked = stop_gap < gap
        gap, closing = np.where(blocked, stop_gap, gap), np.where(blocked, v, closing)
        desired = 2.0 + np.maximum(1.1 * v + v * closing / (2 * np.sqrt(1.6 * 2.5)), 0.0)
        drive = 1.0 - (v / np.maximum(target, 0.1)) ** 4
        accel = 1.6 * (drive - (desired / np.maximum(gap, 0.1)) ** 2)
        v = np.clip(v + np.clip(accel, -6.0, 1.6) * step, 0.0, None)
        s = s + v * step
    result = np.empty_like(history)
    result[:, order] = history
    return result


def _all_closed(signals: list[Signal], time_s: float) -> bool:
    return any(signal.closed_from_s <= time_s < signal.closed_until_s for signal in signals)


def _zone_limits(drivers: list[Driver], s: FloatArray) -> FloatArray:
    limits = np.full(len(drivers), np.inf)
    for index, driver in enumerate(drivers):
        if driver.slow_zone is not None:
            start, end, limit = driver.slow_zone
            if s[index] < end:
                ahead = max(start - float(s[index]), 0.0)
                limits[index] = np.sqrt(limit**2 + 2 * 1.5 * ahead)
    return limits


def _leader_gap(s: FloatArray, v: FloatArray, lengths: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return bumper gap and closing speed to the vehicle ahead; front vehicles come first."""
    gap, closing = np.full(len(s), np.inf), np.zeros(len(s))
    gap[1:] = s[:-1] - s[1:] - (lengths[:-1] + lengths[1:]) / 2
    closing[1:] = v[1:] - v[:-1]
    return np.maximum(gap, 0.05), closing


def _gap_to_signals(
    s: FloatArray, lengths: FloatArray, signals: list[Signal], time_s: float
) -> FloatArray:
    """Return the distance from each front bumper to the nearest closed stop line ahead."""
    gap = np.full(len(s), np.inf)
    for signal in signals:
        if signal.closed_from_s <= time_s < signal.closed_until_s:
            ahead = signal.s_m - (s + lengths / 2)
            gap = np.where(ahead > -0.3, np.minimum(gap, np.maximum(ahead, 0.05)), gap)
    return gap
