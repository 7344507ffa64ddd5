# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import copy
import json

import pytest

pytest.importorskip("rclpy")

from benchmarks.soak.account import account_of, growth, problems
from benchmarks.soak.stream import hostile_stream
from benchmarks.tables import render

CAMERA = {"sent": 10, "received": 9, "matched": 8, "dropped": {"late": 1}, "unaccounted": 0}
SMALL = (90, 160)
REPORT = {
    "cameras": {"cam_back": CAMERA},
    "sets": 8,
    "snapshots": 8,
    "published": 8,
    "memory_growth": 0.01,
}


def test_the_account_of_a_camera_is_read_from_its_status():
    account = account_of("received 12, matched 8, dropped: late 1, timeout 2")
    assert account is not None
    assert (account.received, account.matched) == (12, 8)
    assert account.dropped == {"late": 1, "timeout": 2}
    assert account.unaccounted == 1
    assert account_of("received 3, matched 3").unaccounted == 0
    assert account_of("native") is None


def test_a_run_whose_images_are_all_accounted_for_has_no_problem():
    assert problems(REPORT) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"cameras": {"cam_back": {**CAMERA, "unaccounted": 2}}}, "2 images"),
        ({"cameras": {"cam_back": {**CAMERA, "received": 11}}}, "received 11 of 10"),
        ({"snapshots": 7}, "8 sets were handed out, 7 taken"),
        ({"published": 0}, "no detection"),
        ({"memory_growth": 0.2}, "20.0%"),
    ],
)
def test_what_is_wrong_with_a_run_is_named(change, words):
    (problem,) = problems({**copy.deepcopy(REPORT), **change})
    assert words in problem


def test_a_kept_run_becomes_a_table_of_its_cameras(tmp_path):
    machine = dict.fromkeys(
        ("processor", "cores", "memory", "system", "python", "torch", "load_at_start"), "x"
    )
    report = {**REPORT, "minutes": 60.0, "memory_mb": {"first": 380.5, "last": 384}, "problems": []}
    run = {"machine": machine, "date": "2026-01-02", "soak": report}
    (tmp_path / "x-soak.json").write_text(json.dumps(run))

    page = render(tmp_path)

    assert "### Soak: 60 minutes of faults" in page
    assert "8 sets, 8 taken, 8 published; the node's memory 380.5 to 384 MB, +1.0 %" in page
    assert "| cam_back | 10 | 9 | 8 | 0 | late 1 |" in page


def test_memory_that_settles_is_flat_and_memory_that_leaks_is_not():
    assert growth([50, 90, *[100] * 30]) == pytest.approx(0.0)
    assert growth([100.0 + second for second in range(400)]) > 0.5
    assert growth([100.0]) == 0.0


def test_the_hostile_stream_is_in_order_the_same_again_and_has_every_camera():
    first = list(hostile_stream(10**18, 3.0, 3.0, 1, SMALL))
    assert [m.stamp_ns for m in first] == sorted(m.stamp_ns for m in first)
    assert [(m.topic, m.stamp_ns) for m in first] == [
        (m.topic, m.stamp_ns) for m in hostile_stream(10**18, 3.0, 3.0, 1, SMALL)
    ]
    assert len({m.topic for m in first}) == 12
    images = [m for m in first if "image" in m.topic]
    assert len(images) != 6 * 36  # some are lost, some come twice


def test_a_node_accounts_for_every_image_of_a_hostile_stream(ros_domain):
    from benchmarks.soak.__main__ import soak

    report = soak(5.0, rate=3.0, seed=2, domain=ros_domain, image_hw=SMALL)
    assert [p for p in report["problems"] if "memory" not in p] == [], report
    dropped = sum(sum(c["dropped"].values()) for c in report["cameras"].values())
    causes = set().union(*(camera["causes"] for camera in report["cameras"].values()))
    assert dropped > 0
    assert "undecodable" in causes
    assert report["sets"] > 0, report
