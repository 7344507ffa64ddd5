# SPDX-License-Identifier: Apache-2.0
"""The streaming score: at each ground-truth time, the newest answer that was finished by then.

The ordinary score gives a detector all the time it wants. A vehicle acts on what it has: this score
asks what was there at the very time of the ground truth, so an answer that comes late is judged
against a world that has moved on. The vehicle's own motion is undone (its pose is known), that of
the objects is not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from simdistill_ros.replay.answers import Answer
from simdistill_ros.replay.playback import NANOSECONDS, BagClock
from simdistill_ros.replay.sample_record import SampleRecord
from simdistill_ros.replay.scene_bags import Scene

SUMMARY = ("mAP", "NDS", "mATE", "mASE", "mAOE", "mAVE", "mAAE", "mAP_of_present_classes")


@dataclass(frozen=True)
class FinishedAnswer:
    """An answer and the bag time at which it was there."""

    answer: Answer
    finished_ns: int


def finished_by_clock(answers: Mapping[int, Answer], clock: BagClock) -> list[FinishedAnswer]:
    """Return when answers were there, by the clock of a realtime replay."""
    return [FinishedAnswer(one, clock.bag_ns(one.received_ns)) for one in answers.values()]


def finished_after(answers: Mapping[int, Answer], latency_s: float) -> list[FinishedAnswer]:
    """Return when answers were there if each takes as long after its own stamp."""
    latency_ns = round(latency_s * NANOSECONDS)
    return [FinishedAnswer(one, stamp_ns + latency_ns) for stamp_ns, one in answers.items()]


def newest_finished(
    scene: Scene, finished: Sequence[FinishedAnswer]
) -> dict[str, tuple[SampleRecord, Answer]]:
    """Return sample token -> sample and the newest answer that was there at its time.

    Samples before the first answer are left out, and answers outside the bag's poses are not used.
    """
    first_ns, last_ns = scene.poses.stamps_ns[0], scene.poses.stamps_ns[-1]
    placed = [f for f in finished if first_ns <= f.answer.detections.stamp_ns <= last_ns]
    chosen = {}
    for sample in scene.samples:
        there = [f.answer for f in placed if f.finished_ns <= sample.stamp_ns]
        if there:
            chosen[sample.token] = (sample, max(there, key=lambda a: a.detections.stamp_ns))
    return chosen


def streaming_facts(
    chosen: Mapping[str, tuple[SampleRecord, Answer]],
    scores: Mapping[str, Any],
    latency_s: float | None,
) -> dict[str, Any]:
    """Return what `metrics.json` holds about the streaming score.

    Args:
        chosen: As `newest_finished` returns it.
        scores: As `evaluate_submission` returns them.
        latency_s: The latency that was given; None where it was measured.
    """
    ages_ms = [(s.stamp_ns - a.detections.stamp_ns) / 1e6 for s, a in chosen.values()]
    age = {}
    if ages_ms:
        median, p95 = np.percentile(ages_ms, [50, 95])
        age = {"median": round(float(median), 2), "p95": round(float(p95), 2)}
    return {
        **{name: scores[name] for name in SUMMARY},
        "per_class": scores["per_class"],
        "answered": len(chosen),
        "age_ms": age,
        "given_latency_s": latency_s,
    }
