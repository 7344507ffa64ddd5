# SPDX-License-Identifier: Apache-2.0
"""The node's state as `/diagnostics`: one status a camera, and one for each part of the node.

The parts are sync, inference, model, name (who else has it), output (why nothing comes out),
latency and environment.

A camera is OK while its images are used, WARN when something is odd but works, ERROR when its input
cannot be used and STALE when nothing arrives; every status says the cause and what was counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from simdistill_ros.conversions import header_to_msg
from simdistill_ros.health import SubjectHealth
from simdistill_ros.outputs import percentile_values
from simdistill_ros.silence import OUTPUT, CameraFacts, Reason, wrong_type_message

OK, WARN = DiagnosticStatus.OK, DiagnosticStatus.WARN
ERROR, STALE = DiagnosticStatus.ERROR, DiagnosticStatus.STALE
# A fault stays visible this long after the input became good again.
RECENT_NS = 5_000_000_000
# A camera is slow when it sends less than this share of what the fastest one does.
SLOW_SHARE = 0.5


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
        silence: Why nothing comes out, or None.
        quiet_ns: Time since the last detections left.
        percentiles_ms: p50, p95 and p99 of each stage.
        age_ns: Age of the last detections when they left, or None.
        latency_deadline_ns: Detections that are older when they leave are late.
        environment_findings: What to change about the environment of the process.
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
    silence: Reason | None = None
    quiet_ns: int = 0
    percentiles_ms: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    age_ns: int | None = None
    latency_deadline_ns: int = 0
    environment_findings: Sequence[str] = ()


def diagnostics_to_msg(facts: NodeFacts, stamp_ns: int) -> DiagnosticArray:
    """Return the statuses of one round."""
    statuses = [_camera_status(facts, camera) for camera in facts.cameras]
    for subject, values in (
        ("sync", facts.sync_values),
        ("inference", facts.inference_values),
        ("model", facts.model_values),
        ("name", {}),
    ):
        record = facts.health.get(subject, SubjectHealth())
        level, text = _subject_level(facts, subject, record)
        statuses.append(_status(facts, subject, level, text, {**values, **_counts(record)}))
    statuses += [_output_status(facts), _latency_status(facts), _environment_status(facts)]
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
        "rate_hz": f"{record.rate_hz:.2f}",
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
    if camera.wrong_type:
        return ERROR, f"wrong_type: {wrong_type_message(camera)}"
    if camera.image_publishers == 0 and record.last_received_ns is None:
        return ERROR, f"no_publisher: nobody publishes {camera.image_topic}"
    if record.last_received_ns is None:
        return ERROR, f"no_image: no image on {camera.image_topic} yet; check QoS and rate"
    age_ns = facts.now_ns - record.last_received_ns
    if age_ns > facts.silent_ns:
        publishers = camera.image_publishers
        return ERROR, f"silent: no image for {age_ns / 1e9:.1f} s; {publishers} publishers"
    if camera.clock and _is_used(facts, record) and record.last_cause == "out_of_tolerance":
        return WARN, f"out_of_tolerance: {camera.clock}"
    if record.is_faulty:
        return ERROR, f"{record.last_cause}: {record.last_message}"
    if not camera.has_info:
        return ERROR, f"no_camera_info: no CameraInfo on {camera.camera_info_topic}"
    if camera.loss:
        return WARN, f"images_lost: {camera.loss}"
    if camera.image_publishers > 1:
        topic, count = camera.image_topic, camera.image_publishers
        return WARN, f"duplicate_publisher: {count} publishers on {topic}; their images interleave"
    fastest_hz = max(facts.health[c.name].rate_hz for c in facts.cameras if c.name in facts.health)
    if record.rate_hz < SLOW_SHARE * fastest_hz:
        return WARN, f"slow: {record.rate_hz:.1f} Hz; another camera sends {fastest_hz:.1f} Hz"
    if record.last_fault_ns is not None and facts.now_ns - record.last_fault_ns < RECENT_NS:
        return WARN, f"recovered from {record.last_cause}: {record.last_message}"
    return OK, "images are used"


def _is_used(facts: NodeFacts, record: SubjectHealth) -> bool:
    good_ns = record.last_good_ns
    return good_ns is not None and facts.now_ns - good_ns <= facts.silent_ns


def _output_status(facts: NodeFacts) -> DiagnosticStatus:
    record = facts.health.get(OUTPUT, SubjectHealth())
    level, text = OK, f"detections leave at {record.rate_hz:.1f} Hz"
    if facts.state != "active":
        level, text = STALE, f"node is {facts.state}"
    elif facts.silence is not None:
        reason, quiet_s = facts.silence, facts.quiet_ns / 1e9
        level = ERROR
        text = (
            f"{reason.cause}: no detections for {quiet_s:.1f} s: {reason.subject}: {reason.message}"
        )
    elif record.last_received_ns is None:
        text = "waiting for the first set"
    values: dict[str, object] = {
        "silent_s": f"{facts.quiet_ns / 1e9:.2f}",
        "reason": facts.silence.cause if facts.silence else "none",
        "subject": facts.silence.subject if facts.silence else "none",
        "rate_hz": f"{record.rate_hz:.2f}",
    }
    return _status(facts, OUTPUT, level, text, {**values, **_counts(record)})


def _latency_status(facts: NodeFacts) -> DiagnosticStatus:
    record = facts.health.get("latency", SubjectHealth())
    level, text = OK, "detections leave in time"
    if facts.state != "active":
        level, text = STALE, f"node is {facts.state}"
    elif facts.age_ns is None:
        text = "no detections yet"
    elif facts.age_ns > facts.latency_deadline_ns:
        level = WARN
        text = (
            f"degraded: the last detections were {facts.age_ns / 1e9:.2f} s old when they left; "
            f"latency.deadline_s is {facts.latency_deadline_ns / 1e9:g}"
        )
    elif record.last_fault_ns is not None and facts.now_ns - record.last_fault_ns < RECENT_NS:
        level, text = WARN, f"degraded a moment ago: {record.last_message}"
    values = {**percentile_values(facts.percentiles_ms), **_counts(record)}
    return _status(facts, "latency", level, text, values)


def _environment_status(facts: NodeFacts) -> DiagnosticStatus:
    findings = facts.environment_findings
    text = findings[0] if findings else "set for images"
    values = {f"finding_{number}": finding for number, finding in enumerate(findings)}
    return _status(facts, "environment", WARN if findings else OK, text, values)


def _subject_level(facts: NodeFacts, subject: str, record: SubjectHealth) -> tuple[bytes, str]:
    if record.is_faulty:
        return ERROR, f"{record.last_cause}: {record.last_message}"
    if subject in ("sync", "inference") and facts.state != "active":
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
