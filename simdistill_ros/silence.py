# SPDX-License-Identifier: Apache-2.0
"""Why no detection leaves the node: one subject, one cause, one sentence.

Pure logic on counters and the state of the graph. A set of images passes through stations: node,
publishers, arrival, stamps, decoding and calibration, transforms, matching, inference. The first
station at which something is wrong is the reason; what is wrong further on is mentioned after it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from simdistill_ros.health import SubjectHealth

# Subjects of health records that are not cameras.
SYNC, INFERENCE, MODEL, OUTPUT = "sync", "inference", "model", "output"
NO_RECORD = SubjectHealth()
# Of cameras in different trouble, the surest cause is told first.
SUREST_FIRST = (
    "no_publisher",
    "wrong_type",
    "incompatible_qos",
    "images_lost",
    "silent",
    "no_image",
    "no_camera_info",
)
# Texts by which drivers and runtimes say that the accelerator is gone, in lower case.
DEVICE_LOST_TEXTS = (
    "device-side assert",
    "illegal memory access",
    "no cuda-capable device",
    "device lost",
    "device is lost",
    "fallen off the bus",
    "cuda driver shutting down",
    "unspecified launch failure",
    "ecc error",
    "cuda error",
)


@dataclass(frozen=True)
class CameraFacts:
    """What is known of a camera's topics beside its health.

    Attributes:
        name: The camera.
        image_topic: Its image topic.
        camera_info_topic: Its calibration's topic.
        image_publishers: Publishers of the image topic, of the expected type, in the graph.
        info_publishers: Publishers of the calibration's topic in the graph.
        has_info: A CameraInfo is there.
        wrong_type: Message type that is published on the image topic in place of the expected one.
        loss: A sentence on images that are lost on the way, or "".
        clock: A sentence on stamps that are out of tolerance, or "".
    """

    name: str
    image_topic: str
    camera_info_topic: str
    image_publishers: int
    info_publishers: int
    has_info: bool
    wrong_type: str = ""
    loss: str = ""
    clock: str = ""


@dataclass(frozen=True)
class Situation:
    """All that a reason is sought in; times are of one monotonic clock.

    Attributes:
        state: Lifecycle state: `active`, `inactive`, `unconfigured` or `finalized`.
        now_ns: The moment.
        quiet_since_ns: The last detections left, or the node became active, at this time.
        silent_after_ns: A camera without an image for longer is silent.
        is_clock_running: False when simulated time is used and no /clock has come.
        cameras: The cameras.
        health: Records of the cameras and of `sync`, `inference` and `model`.
        in_hand_ns: How long the snapshot in hand has been worked on; None when idle.
        inference_ms: Usual duration of a snapshot's inference, or None.
    """

    state: str
    now_ns: int
    quiet_since_ns: int
    silent_after_ns: int
    is_clock_running: bool
    cameras: Sequence[CameraFacts]
    health: Mapping[str, SubjectHealth]
    in_hand_ns: int | None = None
    inference_ms: float | None = None

    @property
    def quiet_s(self) -> float:
        """Seconds without detections."""
        return (self.now_ns - self.quiet_since_ns) / 1e9


@dataclass(frozen=True)
class Reason:
    """Why nothing comes out.

    Attributes:
        subject: Camera names, or the station.
        cause: Short, stable name.
        message: What is wrong and what to do.
    """

    subject: str
    cause: str
    message: str

    def __str__(self) -> str:
        """Return `subject: cause: message`."""
        return f"{self.subject}: {self.cause}: {self.message}"


def reason_of_silence(situation: Situation) -> Reason:
    """Return the reason; there always is one, in the worst case that none was found."""
    node = _node_reason(situation)
    if node is not None:
        return node
    stations = (
        [_arrival_reason(situation, camera) for camera in situation.cameras],
        [_fault_reason(situation, camera) for camera in situation.cameras],
    )
    for found in stations:
        reasons = [reason for reason in found if reason is not None]
        if reasons:
            return _joined(reasons, len(situation.cameras))
    return _later_reason(situation)


def cause_of_error(error: BaseException) -> str:
    """Return the short name of an exception from inference: `device_lost` where it is that."""
    text = f"{type(error).__name__}: {error}".lower()
    if "out of memory" in text:
        return "out_of_memory"
    if any(lost in text for lost in DEVICE_LOST_TEXTS):
        return "device_lost"
    return type(error).__name__


def _node_reason(situation: Situation) -> Reason | None:
    model = situation.health.get(MODEL, NO_RECORD)
    if situation.state != "active":
        detail = f": {model.last_cause}: {model.last_message}" if model.is_faulty else ""
        transition = "activate" if situation.state == "inactive" else "configure and activate"
        return Reason(
            "node",
            "node_inactive",
            f"the node is {situation.state}{detail}; {transition} it, or set autostart",
        )
    if not situation.is_clock_running:
        return Reason("node", "no_clock", "use_sim_time is set, but nothing came on /clock")
    return None


def _arrival_reason(situation: Situation, camera: CameraFacts) -> Reason | None:
    """Return why a camera's images do not arrive, or arrive without a calibration."""
    health, topic = situation.health.get(camera.name, NO_RECORD), camera.image_topic
    newest_ns = health.last_received_ns
    if newest_ns is None or situation.now_ns - newest_ns > situation.silent_after_ns:
        if camera.wrong_type:
            return Reason(camera.name, "wrong_type", wrong_type_message(camera))
        if camera.image_publishers == 0:
            ended = "" if newest_ns is None else " any more"
            return Reason(camera.name, "no_publisher", f"nobody publishes {topic}{ended}")
        if health.counts["incompatible_qos"] and newest_ns is None:
            return Reason(camera.name, "incompatible_qos", _qos_message(health, topic))
        if camera.loss:
            return Reason(camera.name, "images_lost", camera.loss)
        if newest_ns is None:
            text = f"{topic} has {camera.image_publishers} publishers, but no image ever came"
            return Reason(camera.name, "no_image", text)
        age_s = (situation.now_ns - newest_ns) / 1e9
        text = f"no image on {topic} for {age_s:.1f} s, though it still has a publisher"
        return Reason(camera.name, "silent", text)
    if not camera.has_info:
        if health.last_cause == "incompatible_qos":
            return Reason(camera.name, "incompatible_qos", health.last_message)
        topic = camera.camera_info_topic
        publishers = camera.info_publishers
        who = "nobody publishes it" if publishers == 0 else f"it has {publishers} publishers"
        return Reason(camera.name, "no_camera_info", f"no CameraInfo on {topic}: {who}")
    return None


def wrong_type_message(camera: CameraFacts) -> str:
    """Return what to do about a topic that carries the other kind of image."""
    wanted = "false" if camera.wrong_type.endswith("/Image") else "true"
    return (
        f"{camera.image_topic} carries {camera.wrong_type}: set input.compressed to {wanted}, or "
        "another image_topic"
    )


def _qos_message(health: SubjectHealth, topic: str) -> str:
    if health.last_cause == "incompatible_qos":
        return health.last_message
    return f"the publisher of {topic} offers a QoS that this subscription refuses"


def _fault_reason(situation: Situation, camera: CameraFacts) -> Reason | None:
    """Return what was wrong with a camera's images since the last detections left."""
    health = situation.health.get(camera.name, NO_RECORD)
    if not _is_current(situation, health) or health.last_cause in ("missing_in_set", ""):
        return Reason(camera.name, "images_lost", camera.loss) if camera.loss else None
    return Reason(camera.name, health.last_cause, health.last_message)


def _later_reason(situation: Situation) -> Reason:
    """Return the reason when every camera's images arrive and are in order."""
    inference = situation.health.get(INFERENCE, NO_RECORD)
    sync = situation.health.get(SYNC, NO_RECORD)
    if _is_current(situation, inference):
        return Reason(INFERENCE, inference.last_cause, inference.last_message)
    if situation.in_hand_ns is not None and situation.in_hand_ns > situation.silent_after_ns:
        usual_ms = situation.inference_ms
        usual = "" if usual_ms is None else f" (usual: {usual_ms:.0f} ms)"
        text = f"one snapshot has been in hand for {situation.in_hand_ns / 1e9:.1f} s{usual}"
        return Reason(INFERENCE, "inference_slow", text)
    if _is_current(situation, sync):
        return Reason(SYNC, sync.last_cause, sync.last_message)
    text = "images of all cameras arrive, but no set was complete yet; see the sync status"
    return Reason(SYNC, "no_complete_set", text)


def _is_current(situation: Situation, health: SubjectHealth) -> bool:
    fault_ns = health.last_fault_ns
    return fault_ns is not None and fault_ns >= situation.quiet_since_ns


def _rank(reason: Reason) -> int:
    known = reason.cause in SUREST_FIRST
    return SUREST_FIRST.index(reason.cause) if known else len(SUREST_FIRST)


def _joined(reasons: Sequence[Reason], number_of_cameras: int) -> Reason:
    """Return one reason for all cameras that share the surest cause; mention the others."""
    first = min(reasons, key=_rank)
    alike = [reason for reason in reasons if reason.cause == first.cause]
    others = [f"{reason.subject}: {reason.cause}" for reason in reasons if reason not in alike]
    subject = ", ".join(reason.subject for reason in alike)
    if len(alike) == number_of_cameras > 1:
        subject = f"all {number_of_cameras} cameras"
    message = first.message
    if len(alike) > 1:
        message = f"{message} ({first.subject}; the others alike)"
    if others:
        message = f"{message}; also {', '.join(others)}"
    return Reason(subject, first.cause, message)
