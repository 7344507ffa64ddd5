# SPDX-License-Identifier: Apache-2.0
"""Every silence has one reason, and it is the first thing that went wrong."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import pytest

from simdistill_ros.health import SubjectHealth
from simdistill_ros.silence import CameraFacts, Situation, cause_of_error, reason_of_silence

S = 1_000_000_000
NOW = 100 * S
FINE = SubjectHealth(received=9, good=9, last_received_ns=NOW, last_good_ns=97 * S)
NEVER = SubjectHealth()


@dataclass(frozen=True)
class Camera:
    """A camera and its record."""

    facts: CameraFacts
    health: SubjectHealth


def camera(name: str = "cam_a", health: SubjectHealth = FINE, **changes: Any) -> Camera:
    values = {
        "image_topic": f"/{name}/image",
        "camera_info_topic": f"/{name}/camera_info",
        "image_publishers": 1,
        "info_publishers": 1,
        "has_info": True,
        **changes,
    }
    return Camera(CameraFacts(name=name, **values), health)


def situation(*cameras: Camera, **changes: Any) -> Situation:
    cameras = cameras or (camera("cam_a"), camera("cam_b"))
    records = {one.facts.name: one.health for one in cameras}
    values: dict[str, Any] = {
        "state": "active",
        "now_ns": NOW,
        "quiet_since_ns": 98 * S,
        "silent_after_ns": S,
        "is_clock_running": True,
        "cameras": [one.facts for one in cameras],
        **changes,
        "health": {**records, **changes.get("health", {})},
    }
    return Situation(**values)


def faulty(cause: str, message: str, at_s: float = 99.5, **changes: Any) -> SubjectHealth:
    changes.setdefault("last_received_ns", NOW)
    return SubjectHealth(
        counts=Counter({cause: 3}),
        received=9,
        last_fault_ns=int(at_s * S),
        last_cause=cause,
        last_message=message,
        **changes,
    )


def test_an_inactive_node_is_the_reason_whatever_else_is_wrong() -> None:
    reason = reason_of_silence(situation(camera(image_publishers=0), state="inactive"))

    assert (reason.subject, reason.cause) == ("node", "node_inactive")
    assert "activate" in reason.message


def test_a_model_that_did_not_load_is_told_with_the_inactive_node() -> None:
    health = {"model": faulty("not_configured", "no model at 'x'")}

    reason = reason_of_silence(situation(state="unconfigured", health=health))

    assert "no model at 'x'" in reason.message


def test_simulated_time_without_a_clock_is_named() -> None:
    assert reason_of_silence(situation(is_clock_running=False)).cause == "no_clock"


@pytest.mark.parametrize(
    ("bad", "cause", "words"),
    [
        (camera("cam_b", NEVER, image_publishers=0), "no_publisher", "nobody publishes /cam_b"),
        (
            camera("cam_b", replace(FINE, last_received_ns=95 * S), image_publishers=0),
            "no_publisher",
            "any more",
        ),
        (
            camera("cam_b", faulty("incompatible_qos", "policy 11", last_received_ns=None)),
            "incompatible_qos",
            "policy 11",
        ),
        (camera("cam_b", NEVER), "no_image", "no image ever came"),
        (
            camera("cam_b", NEVER, image_publishers=0, wrong_type="sensor_msgs/msg/Image"),
            "wrong_type",
            "set input.compressed to false",
        ),
        (camera("cam_b", NEVER, loss="48 of 48 lost"), "images_lost", "48 of 48"),
        (camera("cam_b", replace(FINE, last_received_ns=95 * S)), "silent", "for 5.0 s"),
        (camera("cam_b", has_info=False), "no_camera_info", "/cam_b/camera_info"),
        (camera("cam_b", has_info=False, info_publishers=0), "no_camera_info", "nobody publishes"),
        (camera("cam_b", faulty("zero_stamp", "header.stamp is 0")), "zero_stamp", "is 0"),
        (camera("cam_b", faulty("future_stamp", "3 s ahead")), "future_stamp", "3 s ahead"),
        (camera("cam_b", faulty("uncalibrated", "k[0] is 0")), "uncalibrated", "k[0]"),
        (camera("cam_b", faulty("undecodable", "no JPEG")), "undecodable", "no JPEG"),
        (camera("cam_b", faulty("unknown_frame", "no x to y")), "unknown_frame", "x to y"),
        (camera("cam_b", loss="20 of 48 lost"), "images_lost", "20 of 48"),
    ],
)
def test_a_camera_in_trouble_is_named_with_its_cause(bad: Camera, cause: str, words: str) -> None:
    reason = reason_of_silence(situation(camera("cam_a"), bad))

    assert (reason.subject, reason.cause) == ("cam_b", cause)
    assert words in reason.message


def test_a_fault_from_before_the_last_detections_is_no_reason() -> None:
    old = camera("cam_b", faulty("undecodable", "no JPEG", at_s=97.0))

    assert reason_of_silence(situation(camera("cam_a"), old)).cause == "no_complete_set"


def test_an_image_that_only_misses_in_sets_does_not_hide_the_synchronisers_reason() -> None:
    health = {"sync": faulty("out_of_tolerance", "spread 71.2 ms")}
    late = camera("cam_b", faulty("missing_in_set", "a set was given up"))

    reason = reason_of_silence(situation(camera("cam_a"), late, health=health))

    assert (reason.subject, reason.cause) == ("sync", "out_of_tolerance")
    assert "71.2 ms" in reason.message


def test_cameras_that_share_a_cause_are_told_together_and_the_others_mentioned() -> None:
    cameras = [camera(f"cam_{n}", NEVER, image_publishers=0) for n in "abc"]

    some = reason_of_silence(situation(*cameras[:2], camera("cam_x", NEVER), camera("cam_y")))
    everyone = reason_of_silence(situation(*cameras))

    assert some.subject == "cam_a, cam_b"
    assert some.message.endswith("also cam_x: no_image")
    assert everyone.subject == "all 3 cameras"


def test_the_surest_cause_is_told_first() -> None:
    quiet, absent = camera("cam_a", NEVER), camera("cam_b", NEVER, image_publishers=0)

    reason = reason_of_silence(situation(quiet, absent))

    assert (reason.subject, reason.cause) == ("cam_b", "no_publisher")
    assert reason.message.endswith("also cam_a: no_image")


def test_a_dead_camera_comes_before_another_ones_bad_image() -> None:
    bad = camera("cam_a", faulty("undecodable", "no JPEG"))
    dead = camera("cam_b", NEVER, image_publishers=0)

    assert reason_of_silence(situation(bad, dead)).cause == "no_publisher"


def test_a_failing_network_is_named() -> None:
    health = {"inference": faulty("device_lost", "CUDA error: unspecified launch failure")}

    reason = reason_of_silence(situation(health=health))

    assert (reason.subject, reason.cause) == ("inference", "device_lost")


def test_a_slow_network_is_named_with_how_long_and_what_is_usual() -> None:
    reason = reason_of_silence(situation(in_hand_ns=3 * S, inference_ms=112.4))

    assert (reason.subject, reason.cause) == ("inference", "inference_slow")
    assert "3.0 s (usual: 112 ms)" in reason.message


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (RuntimeError("CUDA error: an illegal memory access was encountered"), "device_lost"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "out_of_memory"),
        (ValueError("expected 6 images"), "ValueError"),
    ],
)
def test_an_exception_of_the_network_gets_a_short_name(error: Exception, cause: str) -> None:
    assert cause_of_error(error) == cause
