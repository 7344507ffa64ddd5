# SPDX-License-Identifier: Apache-2.0
"""The node's state as `/diagnostics`: one status a camera, and sync, inference and model.

A camera is OK while its images are used, WARN when something is odd but works, ERROR when its input
cannot be used and STALE when nothing arrives; every status says the cause and what was counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from simdistill_ros.conversions import header_to_msg
from simdistill_ros.health import SubjectHealth

OK, WARN = DiagnosticStatus.OK, DiagnosticStatus.WARN
ERROR, STALE = DiagnosticStatus.ERROR, DiagnosticStatus.STALE
# A fault stays visible this long after the input became good again.
RECENT_NS = 5_000_000_000


@dataclass(frozen=True)
class CameraFacts:
    """What is known of a camera's topics beside its health."""

    name: str
    image_topic: str
    camera_info_topic: str
    image_publishers: int
    has_info: bool


@dataclass(frozen=True)
class NodeFacts:
    """Everything a round of diagnostics is made from.

    Attributes:
        name: The node's full name.
        hardware_id: Stable name of the sensor set.
        state: Lifecycle state label.
        now_ns: Monotonic clock, the one that `health` uses.
        silent_ns: A camera is silent when its last image is older.
        cameras: Topics of each camera; empty when the node is not configured.
        health: Records by subject.
        sync_values: Counters of the synchroniser.
        inference_values: Counters and durations of the worker.
        model_values: Facts of the model.
    """

    name: str
    hardware_id: str
    state: str
    now_ns: int
    silent_ns: int
    cameras: Sequence[CameraFacts]
    health: Mapping[str, SubjectHealth]
    sync_values: Mapping[str, object]
    inference_values: Mapping[str, object]
    model_values: Mapping[str, object]


def diagnostics_to_msg(facts: NodeFacts, stamp_ns: int) -> DiagnosticArray:
    """Return the statuses of one round."""
    statuses = [_camera_status(facts, camera) for camera in facts.cameras]
    for subject, values in (
        ("sync", facts.sync_values),
        ("inference", facts.inference_values),
        ("model", facts.model_values),
    ):
        record = facts.health.get(subject, SubjectHealth())
        level, text = _subject_level(facts, subject, record)
        statuses.append(_status(facts, subject, level, text, {**values, **_counts(record)}))
    return DiagnosticArray(header=header_to_msg("", stamp_ns), status=statuses)


def _camera_status(facts: NodeFacts, camera: CameraFacts) -> DiagnosticStatus:
    record = facts.health.get(camera.name, SubjectHealth())
    level, text = _camera_level(facts, camera, record)
    values: dict[str, object] = {
        "image_topic": camera.image_topic,
        "camera_info_topic": camera.camera_info_topic,
        "image_publishers": camera.image_publishers,
        "images_received": record.received,
        "images_used": record.good,
    }
    if record.last_received_ns is not None:
        values["last_image_age_s"] = f"{(facts.now_ns - record.last_received_ns) / 1e9:.2f}"
    if record.last_cause:
        values["last_cause"] = record.last_cause
    return _status(facts, camera.name, level, text, {**values, **_counts(record)})


def _counts(record: SubjectHealth) -> dict[str, object]:
    return {f"count.{cause}": number for cause, number in sorted(record.counts.items())}


def _camera_level(
    facts: NodeFacts, camera: CameraFacts, record: SubjectHealth
) -> tuple[bytes, str]:
    if facts.state != "active":
        return STALE, f"node is {facts.state}"
    if camera.image_publishers == 0 and record.last_received_ns is None:
        return ERROR, f"no_publisher: nobody publishes {camera.image_topic}"
    if record.last_received_ns is None:
        return ERROR, f"no_image: no image on {camera.image_topic} yet; check QoS and rate"
    age_ns = facts.now_ns - record.last_received_ns
    if age_ns > facts.silent_ns:
        publishers = camera.image_publishers
        return ERROR, f"silent: no image for {age_ns / 1e9:.1f} s; {publishers} publishers"
    if record.is_faulty:
        return ERROR, f"{record.last_cause}: {record.last_message}"
    if not camera.has_info:
        return ERROR, f"no_camera_info: no CameraInfo on {camera.camera_info_topic}"
    if camera.image_publishers > 1:
        topic, count = camera.image_topic, camera.image_publishers
        return WARN, f"duplicate_publisher: {count} publishers on {topic}; their images interleave"
    if record.last_fault_ns is not None and facts.now_ns - record.last_fault_ns < RECENT_NS:
        return WARN, f"recovered from {record.last_cause}: {record.last_message}"
    return OK, "images are used"


def _subject_level(facts: NodeFacts, subject: str, record: SubjectHealth) -> tuple[bytes, str]:
    if record.is_faulty:
        return ERROR, f"{record.last_cause}: {record.last_message}"
    if subject != "model" and facts.state != "active":
        return STALE, f"node is {facts.state}"
    if record.last_fault_ns is not None and facts.now_ns - record.last_fault_ns < RECENT_NS:
        return WARN, f"recovered from {record.last_cause}: {record.last_message}"
    return OK, "ok"


def _status(
    facts: NodeFacts, subject: str, level: bytes, text: str, values: Mapping[str, object]
) -> DiagnosticStatus:
    return DiagnosticStatus(
        level=level,
        name=f"{facts.name}: {subject}",
        message=text,
        hardware_id=facts.hardware_id,
        values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
    )
