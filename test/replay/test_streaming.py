# SPDX-License-Identifier: Apache-2.0
"""The streaming score, with answers whose every box and time is chosen."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from simdistill_ros.core.boxes import NUSCENES_CLASSES, empty_detections
from simdistill_ros.replay.answers import Answer
from simdistill_ros.replay.playback import BagClock
from simdistill_ros.replay.pose_track import PoseTrack
from simdistill_ros.replay.sample_record import SampleRecord
from simdistill_ros.replay.streaming import (
    SUMMARY,
    finished_after,
    finished_by_clock,
    newest_finished,
    streaming_facts,
)

MS = 1_000_000


def answer(stamp_ns, received_ns=0):
    return Answer(empty_detections("base_link", stamp_ns, NUSCENES_CLASSES), received_ns)


def scene(*sample_stamps_ms):
    samples = [SampleRecord(f"at {t}", "s", t * MS, {}) for t in sample_stamps_ms]
    poses = PoseTrack(np.array([0, 10_000 * MS]), np.tile(np.eye(4), (2, 1, 1)))
    return SimpleNamespace(samples=samples, poses=poses)


def chosen_ms(scene_, finished):
    found = newest_finished(scene_, finished)
    return {token: a.detections.stamp_ns // MS for token, (_, a) in found.items()}


def test_the_newest_answer_that_is_finished_counts_and_not_one_that_is_still_under_way():
    answers = {t * MS: answer(t * MS) for t in (0, 100, 200, 300)}
    assert chosen_ms(scene(250, 350), finished_after(answers, 0.08)) == {
        "at 250": 100,
        "at 350": 200,
    }
    assert chosen_ms(scene(250, 350), finished_after(answers, 0.0)) == {
        "at 250": 200,
        "at 350": 300,
    }


def test_before_the_first_answer_is_finished_there_is_none():
    answers = {100 * MS: answer(100 * MS)}
    assert chosen_ms(scene(100, 199, 200), finished_after(answers, 0.1)) == {"at 200": 100}


def test_an_older_answer_that_finishes_later_does_not_replace_a_newer_one():
    clock = BagClock(start_ns=0, started_ns=0, rate=1.0)
    answers = {100 * MS: answer(100 * MS, 240 * MS), 200 * MS: answer(200 * MS, 220 * MS)}
    assert chosen_ms(scene(250), finished_by_clock(answers, clock)) == {"at 250": 200}


def test_the_clock_of_a_slow_replay_is_the_bags():
    clock = BagClock(start_ns=1000 * MS, started_ns=5000 * MS, rate=0.5)
    answers = {1100 * MS: answer(1100 * MS, 5300 * MS)}  # 300 ms of wall time are 150 of the bag's
    (finished,) = finished_by_clock(answers, clock)
    assert finished.finished_ns == 1150 * MS


def test_an_answer_that_no_pose_belongs_to_is_not_used():
    answers = {-5 * MS: answer(-5 * MS), 20_000 * MS: answer(20_000 * MS)}
    assert chosen_ms(scene(100, 30_000), finished_after(answers, 0.0)) == {}


def test_facts_hold_the_score_and_how_old_the_answers_were():
    scores = dict.fromkeys(SUMMARY, 0.5)
    answers = {100 * MS: answer(100 * MS)}
    found = newest_finished(scene(150, 250), finished_after(answers, 0.01))
    facts = streaming_facts(found, {**scores, "per_class": {}}, 0.01)
    assert facts["age_ms"] == {"median": 100.0, "p95": 145.0}
    assert (facts["answered"], facts["NDS"], facts["given_latency_s"]) == (2, 0.5, 0.01)
    assert streaming_facts({}, {**scores, "per_class": {}}, None)["age_ms"] == {}
