# SPDX-License-Identifier: Apache-2.0
"""Is there what the node subscribes to: topics, types, messages, one publisher, a QoS that fits."""

from __future__ import annotations

import difflib

from simdistill_ros.doctor.findings import Check, Finding, Kind, Severity, found
from simdistill_ros.doctor.observations import (
    COMPRESSED_TYPE,
    INFO_TYPE,
    RAW_TYPE,
    CameraPlan,
    Rig,
)

TOPIC_MISSING = Kind(
    "topic_missing",
    Severity.ERROR,
    "Nobody publishes the image topic of a camera.",
    "Set cameras.<name>.image_topic to the topic of the driver, or start the driver.",
)
INFO_TOPIC_MISSING = Kind(
    "info_topic_missing",
    Severity.ERROR,
    "Nobody publishes the CameraInfo topic of a camera.",
    "Set cameras.<name>.camera_info_topic, or let the driver publish its calibration.",
    explained_by=("topic_missing",),
)
TOPIC_TYPE = Kind(
    "topic_type",
    Severity.ERROR,
    "A topic has another message type than the node subscribes to, so nothing is delivered.",
    "Set input.compressed to fit, or choose the topic of the other kind.",
)
NO_MESSAGES = Kind(
    "no_messages",
    Severity.ERROR,
    "A camera's topic has a publisher but not one message came.",
    "Check the driver: is it triggered, activated, connected?",
    explained_by=("topic_missing", "topic_type"),
)
INFO_NO_MESSAGES = Kind(
    "info_no_messages",
    Severity.ERROR,
    "A CameraInfo topic has a publisher but not one message came.",
    "Publish CameraInfo with every image, or latched.",
    explained_by=("info_topic_missing", "topic_type"),
)
TWO_PUBLISHERS = Kind(
    "two_publishers",
    Severity.WARNING,
    "Several publishers share an image topic; their images are taken for one camera's.",
    "Stop one of them: a second driver, a bag that is played on the live vehicle, a bridge.",
)
QOS_INCOMPATIBLE = Kind(
    "qos_incompatible",
    Severity.ERROR,
    "A publisher offers less than the node requests, so nothing is delivered.",
    "Set input.reliability to best_effort, or make the publisher reliable.",
)
NODE_INACTIVE = Kind(
    "node_inactive",
    Severity.ERROR,
    "The detector node runs but is not active, so it has no subscriptions.",
    "ros2 lifecycle set <node> configure, then activate; or start it with autostart:=true.",
)

_TYPES_BY_ROLE = {"image": (COMPRESSED_TYPE, RAW_TYPE), "info": (INFO_TYPE,)}


def check_topics(rig: Rig) -> list[Finding]:
    """Name topics without a publisher, and the nearest that has one."""
    findings = []
    for camera in rig.plan.cameras:
        for kind, topic, role in (
            (TOPIC_MISSING, camera.image_topic, "image"),
            (INFO_TOPIC_MISSING, camera.info_topic, "info"),
        ):
            if rig.publishers.get(topic):
                continue
            nearest = nearest_topic(rig, topic, role)
            hint = f"; did you mean {nearest}?" if nearest else ""
            text = f"nobody publishes {topic}{hint}"
            key = "image_topic" if role == "image" else "camera_info_topic"
            fix = f"Set cameras.{camera.name}.{key}: {nearest}" if nearest else ""
            findings.append(found(kind, camera.name, text, fix, topic=topic, nearest=nearest))
    return findings


def nearest_topic(rig: Rig, topic: str, role: str) -> str | None:
    """Return the published topic of the right kind whose name is most like this one."""
    taken = {t for c in rig.plan.cameras for t in (c.image_topic, c.info_topic)}
    candidates = {
        name.lower(): name
        for name, type_name in rig.topics.items()
        if type_name in _TYPES_BY_ROLE[role] and name not in taken and rig.publishers.get(name)
    }
    best = difflib.get_close_matches(topic.lower(), candidates, n=1, cutoff=0.4)
    return candidates[best[0]] if best else None


def check_types(rig: Rig) -> list[Finding]:
    """Name topics of another type than the node subscribes to."""
    findings = []
    image_type = COMPRESSED_TYPE if rig.plan.compressed else RAW_TYPE
    for camera in rig.plan.cameras:
        for topic, expected in ((camera.image_topic, image_type), (camera.info_topic, INFO_TYPE)):
            offered = sorted({p.type_name for p in rig.publishers.get(topic, ())})
            if not offered or expected in offered:
                continue
            fix = ""
            if offered[0] in (COMPRESSED_TYPE, RAW_TYPE) and expected != INFO_TYPE:
                fix = f"Set input.compressed: {str(offered[0] == COMPRESSED_TYPE).lower()}"
            text = f"{topic} is {offered[0]}, the node subscribes to {expected}"
            findings.append(found(TOPIC_TYPE, camera.name, text, fix, offered=offered[0]))
    return findings


def check_messages(rig: Rig) -> list[Finding]:
    """Name topics with a publisher and no message."""
    findings = []
    for camera in rig.cameras:
        for kind, stream in ((NO_MESSAGES, camera.images), (INFO_NO_MESSAGES, camera.infos)):
            if rig.publishers.get(stream.topic) and not len(stream):
                seconds = rig.duration_ns / 1e9
                text = f"no message on {stream.topic} in {seconds:.1f} s, though it is published"
                findings.append(found(kind, camera.name, text))
    return findings


def check_publishers(rig: Rig) -> list[Finding]:
    """Name image topics with several publishers (a bag does not tell)."""
    findings = []
    for camera in rig.plan.cameras if rig.is_live else ():
        publishers = rig.publishers.get(camera.image_topic, ())
        if len(publishers) > 1:
            nodes = ", ".join(sorted(p.node for p in publishers))
            text = f"{camera.image_topic} has {len(publishers)} publishers: {nodes}"
            findings.append(found(TWO_PUBLISHERS, camera.name, text, publishers=len(publishers)))
    return findings


def check_qos(rig: Rig) -> list[Finding]:
    """Name publishers whose offer is less than the node's request."""
    findings = []
    wants_reliable = rig.plan.reliability == "reliable"
    for camera in rig.plan.cameras if wants_reliable else ():
        topics = [t for t in _topics(camera) if _offers(rig, t, "reliability", "best_effort")]
        if topics:
            text = f"{' and '.join(topics)}: offered best_effort, requested reliable"
            findings.append(found(QOS_INCOMPATIBLE, camera.name, text))
    fix = "Publish it as tf2 does: reliable; /tf_static transient_local as well."
    for topic in ("/tf", "/tf_static"):
        if _offers(rig, topic, "reliability", "best_effort"):
            text = f"{topic}: offered best_effort, requested reliable"
            findings.append(found(QOS_INCOMPATIBLE, (), text, fix, topic=topic))
        elif topic == "/tf_static" and _offers(rig, topic, "durability", "volatile"):
            text = f"{topic}: offered volatile, requested transient_local"
            findings.append(found(QOS_INCOMPATIBLE, (), text, fix, topic=topic))
    return findings


def _topics(camera: CameraPlan) -> tuple[str, str]:
    return camera.image_topic, camera.info_topic


def _offers(rig: Rig, topic: str, policy: str, value: str) -> bool:
    """Tell whether a publisher of a topic offers no more than this."""
    return any(getattr(p, policy) == value for p in rig.publishers.get(topic, ()))


def check_lifecycle(rig: Rig) -> list[Finding]:
    """Name detector nodes that are not active."""
    return [
        found(NODE_INACTIVE, node, f"{node} is {state}", state=state)
        for node, state in rig.detector_states.items()
        if state != "active"
    ]


CHECKS = (
    Check(check_topics, (TOPIC_MISSING, INFO_TOPIC_MISSING)),
    Check(check_types, (TOPIC_TYPE,)),
    Check(check_messages, (NO_MESSAGES, INFO_NO_MESSAGES)),
    Check(check_publishers, (TWO_PUBLISHERS,)),
    Check(check_qos, (QOS_INCOMPATIBLE,)),
    Check(check_lifecycle, (NODE_INACTIVE,)),
)
