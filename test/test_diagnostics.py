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
    CameraFacts,
    NodeFacts,
    diagnostics_to_msg,
)
from simdistill_ros.health import SubjectHealth

S = 1_000_000_000
CAMERA = CameraFacts("cam_front", "cam_front/image", "cam_front/camera_info", 1, True)
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
    ]


@pytest.mark.parametrize(
    ("record", "camera", "level", "words"),
    [
        (SubjectHealth(), replace(CAMERA, image_publishers=0), ERROR, "no_publisher"),
        (SubjectHealth(), CAMERA, ERROR, "no_image"),
        (replace(USED, last_received_ns=97 * S), CAMERA, ERROR, "silent: no image for 3.0 s"),
        (USED, replace(CAMERA, has_info=False), ERROR, "no_camera_info"),
        (USED, replace(CAMERA, image_publishers=2), WARN, "2 publishers"),
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

    status = diagnostics_to_msg(facts(state="unconfigured", health={"model": record}), 5).status[-1]

    assert status.level == ERROR
    assert "no file" in status.message
