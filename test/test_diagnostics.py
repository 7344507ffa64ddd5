# SPDX-License-Identifier: Apache-2.0
"""What `/diagnostics` says in each state."""

from dataclasses import replace

import pytest

pytest.importorskip("rclpy")

from simdistill_ros.diagnostics import (
    ERROR,
    OK,
    STALE,
    WARN,
    NodeFacts,
    diagnostics_to_msg,
)
from simdistill_ros.health import SubjectHealth
from simdistill_ros.silence import CameraFacts, Reason

S = 1_000_000_000
CAMERA = CameraFacts("cam_front", "cam_front/image", "cam_front/camera_info", 1, 1, True)
USED = SubjectHealth(received=9, good=9, last_received_ns=100 * S, last_good_ns=100 * S)


def facts(
    record: SubjectHealth = USED, camera: CameraFacts = CAMERA, **changes: object
) -> NodeFacts:
    values: dict[str, object] = {
        "name": "detector",
        "hardware_id": "cam_front",
        "state": "active",
        "now_ns": 100 * S,
        "silent_ns": S,
        "cameras": [camera],
        "health": {"cam_front": record},
        "sync_values": {"sets": 3},
        "inference_values": {},
        "model_values": {"model": "tiny"},
    }
    return NodeFacts(**{**values, **changes})  # type: ignore[arg-type]


def camera_status(node_facts: NodeFacts) -> tuple[bytes, str]:
    status = diagnostics_to_msg(node_facts, 5).status[0]
    assert status.name == "detector: cam_front"
    return status.level, status.message


def test_a_camera_whose_images_are_used_is_ok() -> None:
    assert camera_status(facts())[0] == OK


def test_there_is_one_status_a_camera_and_one_each_for_sync_inference_and_model() -> None:
    names = [status.name for status in diagnostics_to_msg(facts(), 5).status]

    assert names == [
        "detector: cam_front",
        "detector: sync",
        "detector: inference",
        "detector: model",
        "detector: name",
        "detector: output",
        "detector: latency",
        "detector: environment",
    ]


@pytest.mark.parametrize(
    ("record", "camera", "level", "words"),
    [
        (SubjectHealth(), replace(CAMERA, image_publishers=0), ERROR, "no_publisher"),
        (SubjectHealth(), CAMERA, ERROR, "no_image"),
        (replace(USED, last_received_ns=97 * S), CAMERA, ERROR, "silent: no image for 3.0 s"),
        (USED, replace(CAMERA, has_info=False), ERROR, "no_camera_info"),
        (USED, replace(CAMERA, image_publishers=2), WARN, "2 publishers"),
        (USED, replace(CAMERA, loss="9 of 48 lost"), WARN, "images_lost: 9 of 48 lost"),
        (USED, replace(CAMERA, wrong_type="sensor_msgs/msg/Image"), ERROR, "wrong_type"),
        (
            replace(USED, last_fault_ns=100 * S + 1, last_cause="undecodable", last_message="bad"),
            CAMERA,
            ERROR,
            "undecodable: bad",
        ),
        (
            replace(USED, last_fault_ns=99 * S, last_cause="undecodable", last_message="bad"),
            CAMERA,
            WARN,
            "recovered from undecodable",
        ),
    ],
)
def test_a_camera_in_trouble_says_its_cause(
    record: SubjectHealth, camera: CameraFacts, level: bytes, words: str
) -> None:
    actual_level, message = camera_status(facts(record, camera))

    assert actual_level == level
    assert words in message


def test_an_inactive_node_is_stale_and_says_so() -> None:
    assert camera_status(facts(state="inactive")) == (STALE, "node is inactive")


def test_faults_are_counted_in_the_values() -> None:
    record = replace(USED)
    record.counts.update({"undecodable": 4})

    values = {v.key: v.value for v in diagnostics_to_msg(facts(record), 5).status[0].values}

    assert values["count.undecodable"] == "4"
    assert values["images_used"] == "9"


def test_a_model_that_failed_to_load_is_an_error_even_when_the_node_is_not_active() -> None:
    record = SubjectHealth(last_fault_ns=1, last_cause="not_configured", last_message="no file")

    status = diagnostics_to_msg(facts(state="unconfigured", health={"model": record}), 5).status[3]

    assert status.level == ERROR
    assert "no file" in status.message


def status_of(node_facts: NodeFacts, subject: str) -> tuple[bytes, str, dict[str, str]]:
    statuses = {status.name: status for status in diagnostics_to_msg(node_facts, 5).status}
    status = statuses[f"detector: {subject}"]
    return status.level, status.message, {v.key: v.value for v in status.values}


def test_a_camera_that_sends_less_than_half_of_what_another_does_is_slow() -> None:
    records = {
        "cam_front": replace(USED, rate_hz=5.0),
        "cam_back": replace(USED, rate_hz=12.0),
    }
    cameras = [CAMERA, replace(CAMERA, name="cam_back")]

    level, message, values = status_of(facts(cameras=cameras, health=records), "cam_front")

    assert (level, values["rate_hz"]) == (WARN, "5.00")
    assert "5.0 Hz; another camera sends 12.0 Hz" in message
    assert status_of(facts(cameras=cameras, health=records), "cam_back")[0] == OK


def test_a_silence_is_an_error_of_the_output_that_names_subject_and_cause() -> None:
    reason = Reason("cam_front", "no_publisher", "nobody publishes cam_front/image")

    level, message, values = status_of(facts(silence=reason, quiet_ns=7 * S), "output")

    assert level == ERROR
    assert message.startswith("no_publisher: no detections for 7.0 s: cam_front: nobody")
    assert (values["reason"], values["subject"]) == ("no_publisher", "cam_front")


def test_detections_older_than_the_deadline_degrade_the_latency() -> None:
    percentiles = {"total": {"p50": 90.0, "p95": 110.0, "p99": 130.5}}
    late = facts(age_ns=7 * S // 10, latency_deadline_ns=S // 2, percentiles_ms=percentiles)

    level, message, values = status_of(late, "latency")

    assert level == WARN
    assert "0.70 s old when they left; latency.deadline_s is 0.5" in message
    assert values["total_p99_ms"] == "130.500"
    in_time = facts(age_ns=S // 10, latency_deadline_ns=S // 2)
    assert status_of(in_time, "latency")[0] == OK


def test_findings_about_the_environment_are_a_warning() -> None:
    level, message, _ = status_of(facts(environment_findings=["set X", "set Y"]), "environment")

    assert (level, message) == (WARN, "set X")
    assert status_of(facts(), "environment")[0] == OK


def test_a_wrong_clock_is_a_warning_while_its_images_are_matched_and_else_an_error() -> None:
    clock = replace(CAMERA, clock="its stamps are 35.0 ms ahead")
    told = replace(USED, last_fault_ns=100 * S, last_cause="out_of_tolerance", last_message="x")

    assert camera_status(facts(told, clock)) == (
        WARN, "out_of_tolerance: its stamps are 35.0 ms ahead",
    )  # fmt: skip
    unused = replace(told, last_good_ns=98 * S)
    assert camera_status(facts(unused, clock)) == (ERROR, "out_of_tolerance: x")
    assert camera_status(facts(told)) == (WARN, "recovered from out_of_tolerance: x")
