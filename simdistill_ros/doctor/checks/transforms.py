# SPDX-License-Identifier: Apache-2.0
"""Does TF lead from every camera to the vehicle."""

from __future__ import annotations

import difflib
from collections import defaultdict

from simdistill_ros.doctor.findings import Check, Finding, Kind, Severity, found
from simdistill_ros.doctor.observations import NANOSECONDS, CameraSeen, Edge, Rig
from simdistill_ros.doctor.rhythm import rhythm_of

STALE_NS = NANOSECONDS
SHARE_FAILED = 0.05

TF_NONE = Kind(
    "tf_none",
    Severity.ERROR,
    "No transform was published at all.",
    "Publish the extrinsics: robot_state_publisher with the vehicle's URDF, or "
    "static_transform_publisher.",
    explained_by=("qos_incompatible",),
)
TF_INVALID = Kind(
    "tf_invalid",
    Severity.ERROR,
    "A transform is none: its quaternion is not of length one, or a number is not finite.",
    "Correct the publisher of that frame.",
)
BASE_FRAME_MISSING = Kind(
    "base_frame_missing",
    Severity.ERROR,
    "The vehicle frame base_frame is not in the transform tree.",
    "Set base_frame to the vehicle's frame, or publish it.",
    explained_by=("tf_none", "qos_incompatible"),
)
FRAME_ID_EMPTY = Kind(
    "frame_id_empty",
    Severity.ERROR,
    "Image and CameraInfo name no frame.",
    "Set the driver's frame_id to the camera's optical frame.",
)
FRAME_ID_DIFFERS = Kind(
    "frame_id_differs",
    Severity.WARNING,
    "Image and CameraInfo name different frames; the node takes the image's.",
    "Give both the frame_id of the camera's optical frame.",
)
CAMERA_FRAME_MISSING = Kind(
    "camera_frame_missing",
    Severity.ERROR,
    "A camera's frame is not in the transform tree.",
    "Publish it, or correct the driver's frame_id.",
    explained_by=("tf_none", "frame_id_empty", "tf_invalid", "qos_incompatible"),
)
TF_NOT_CONNECTED = Kind(
    "tf_not_connected",
    Severity.ERROR,
    "Camera frame and vehicle frame are in different trees.",
    "Publish the transform that is missing between the two.",
    explained_by=("base_frame_missing", "camera_frame_missing", "tf_none", "tf_loop",
                  "tf_two_parents", "extrinsics_inverted", "qos_incompatible"),
)  # fmt: skip
TF_TWO_PARENTS = Kind(
    "tf_two_parents",
    Severity.ERROR,
    "A frame has two parents, so look-ups jump between them.",
    "Stop one of the publishers.",
    explained_by=("extrinsics_inverted", "tf_loop"),
)
TF_LOOP = Kind(
    "tf_loop",
    Severity.ERROR,
    "Transforms form a loop, so there is no tree.",
    "Stop the publisher that closes the loop.",
    explained_by=("extrinsics_inverted",),
)
TF_STATIC_AS_DYNAMIC = Kind(
    "tf_static_as_dynamic",
    Severity.WARNING,
    "A camera's mounting never changes but comes on /tf: each image waits for the next sample.",
    "Publish it on /tf_static; until then tf.timeout_s must exceed its period.",
    explained_by=("tf_stale", "tf_late"),
)
TF_BOTH = Kind(
    "tf_both",
    Severity.ERROR,
    "The same transform comes on /tf and on /tf_static; whichever came last holds.",
    "Stop one of the publishers; the fixed mounting belongs on /tf_static.",
)
TF_STALE = Kind(
    "tf_stale",
    Severity.ERROR,
    "A transform between camera and vehicle stopped, so new images find none.",
    "Look at the publisher of that frame; a fixed mounting belongs on /tf_static.",
)
TF_LATE = Kind(
    "tf_late",
    Severity.ERROR,
    "Transforms do not cover the images' stamps, or come later than the node waits.",
    "Publish transforms more often or earlier, or raise tf.timeout_s; a fixed mounting belongs on "
    "/tf_static; compare the clocks of both sources.",
    explained_by=("tf_stale", "tf_both", "tf_not_connected", "stamp_zero",
                  "clock_offset", "tf_two_parents", "tf_loop", "time_jump", "stamp_future"),
)  # fmt: skip
FIXED_FRAME_MISSING = Kind(
    "fixed_frame_missing",
    Severity.ERROR,
    "fixed_frame is set but TF does not lead from it to the vehicle.",
    "Start the odometry or localisation that publishes it, or set fixed_frame to the empty string.",
    explained_by=("base_frame_missing", "tf_none", "stamp_zero"),
)


def _nearest(frame: str, rig: Rig) -> str:
    lowered = {name.lower(): name for name in rig.transforms.frames}
    best = difflib.get_close_matches(frame.lower(), lowered, n=1, cutoff=0.6)
    return f"; did you mean {lowered[best[0]]}?" if best else ""


def check_tree(rig: Rig) -> list[Finding]:
    """Look for an empty tree, bad transforms, loops and frames with two parents."""
    transforms = rig.transforms
    findings = [
        found(TF_INVALID, failure.cause, failure.text, count=failure.count)
        for failure in transforms.failures
    ]
    if not transforms.edges:
        return findings or [found(TF_NONE, (), f"nothing in {rig.duration_ns / 1e9:.1f} s")]
    parents: dict[str, list[str]] = defaultdict(list)
    for edge in transforms.edges:
        parents[edge.child].append(edge.parent)
        if edge.static_count and edge.dynamic_count:
            text = f"{edge.parent} -> {edge.child} comes on /tf and on /tf_static"
            subjects = (edge.parent, edge.child, *_cameras_on(rig, edge.child))
            findings.append(found(TF_BOTH, subjects, text))
    for child, names in parents.items():
        if len(names) > 1:
            text = f"{child} has the parents {' and '.join(sorted(names))}"
            subjects = (child, *sorted(names), *_cameras_on(rig, child))
            findings.append(found(TF_TWO_PARENTS, subjects, text))
    loop = _loop(parents)
    if loop:
        # A loop breaks every look-up, so it is about the whole rig.
        findings.append(found(TF_LOOP, (), " -> ".join((*loop, loop[0]))))
    return findings


def _cameras_on(rig: Rig, frame: str) -> list[str]:
    return [camera.name for camera in rig.cameras if camera.frame == frame]


def _loop(parents: dict[str, list[str]]) -> tuple[str, ...]:
    """Return the frames of one loop, or nothing."""
    for start in parents:
        trail = [start]
        while trail[-1] in parents:
            parent = parents[trail[-1]][-1]
            if parent in trail:
                return tuple(trail[trail.index(parent) :])
            trail.append(parent)
    return ()


def check_frames(rig: Rig) -> list[Finding]:
    """Look for the vehicle's frame and each camera's."""
    findings = []
    base, frames = rig.plan.base_frame, rig.transforms.frames
    if frames and base not in frames:
        text = f"{base} is not in the transform tree{_nearest(base, rig)}"
        findings.append(found(BASE_FRAME_MISSING, (), text))
    for camera in rig.cameras:
        if not len(camera.images) and not len(camera.infos):
            continue
        if not camera.frame:
            findings.append(found(FRAME_ID_EMPTY, camera.name, "frame_id is empty"))
        elif frames and camera.frame not in frames:
            text = f"{camera.frame} is not in the transform tree{_nearest(camera.frame, rig)}"
            subjects = (camera.name, camera.frame)
            findings.append(found(CAMERA_FRAME_MISSING, subjects, text))
        image_frames, info_frames = set(camera.images.frame_ids), set(camera.infos.frame_ids)
        if camera.frame and image_frames and info_frames and image_frames != info_frames:
            text = f"image: {', '.join(image_frames)}; CameraInfo: {', '.join(info_frames)}"
            findings.append(found(FRAME_ID_DIFFERS, camera.name, text))
    return findings


def path_edges(rig: Rig, camera: CameraSeen) -> list[Edge]:
    """Return the edges from a camera's frame up to the vehicle's, or nothing."""
    by_child = {edge.child: edge for edge in rig.transforms.edges}
    path: list[Edge] = []
    frame = camera.frame
    while frame != rig.plan.base_frame:
        edge = by_child.get(frame)
        if edge is None or edge in path:
            return []
        path.append(edge)
        frame = edge.parent
    return path


def check_look_ups(rig: Rig) -> list[Finding]:
    """Look up what the node would, and say what fails."""
    findings = []
    fixed: list[str] = []
    fixed_text = ""
    for camera in rig.cameras:
        failures = {f.cause: f for f in camera.transform_failures}
        if "not_connected" in failures:
            text = failures["not_connected"].text
            subjects = (camera.name, camera.frame, rig.plan.base_frame)
            findings.append(found(TF_NOT_CONNECTED, subjects, text))
        late = [f for f in failures.values() if f.cause in ("future", "past")]
        number = sum(f.count for f in late)
        if number > SHARE_FAILED * camera.transform_lookups:
            text = f"{number} of {camera.transform_lookups} look-ups fail: {late[0].text}"
            findings.append(found(TF_LATE, camera.name, text, failed=number))
        lost = [f for f in failures.values() if f.cause.startswith("fixed_")]
        if sum(f.count for f in lost) > SHARE_FAILED * camera.transform_lookups:
            fixed.append(camera.name)
            fixed_text = lost[0].text
    if fixed:
        findings.append(found(FIXED_FRAME_MISSING, tuple(fixed), fixed_text))
    return findings


def check_mounting_edges(rig: Rig) -> list[Finding]:
    """Look at how the edges between cameras and vehicle are published."""
    findings = []
    newest_ns = max((s for c in rig.cameras for s in c.images.stamps_ns), default=0)
    named: dict[Edge, list[str]] = {}
    for camera in rig.cameras:
        for edge in path_edges(rig, camera):
            if edge.dynamic_count and not edge.static_count:
                named.setdefault(edge, []).append(camera.name)
    for edge, cameras in named.items():
        assert edge.newest_ns is not None
        late_ns = newest_ns - edge.newest_ns
        where = f"{edge.parent} -> {edge.child}"
        if late_ns > STALE_NS:
            text = f"the newest {where} is {late_ns / 1e9:.1f} s older than the newest image"
            findings.append(found(TF_STALE, tuple(cameras), text, late_s=late_ns / 1e9))
        wait_ns = _wait_ns(rig, edge, cameras)
        if wait_ns is not None and wait_ns > rig.plan.tf_timeout_ns:
            assert edge.period_ns is not None
            text = (
                f"{where} comes every {edge.period_ns / 1e6:.0f} ms, {edge.lag_ns / 1e6:.0f} ms "
                f"after its stamp: an image waits up to {wait_ns / 1e6:.0f} ms for it; "
                f"tf.timeout_s allows {rig.plan.tf_timeout_ns / 1e6:.0f} ms"
            )
            findings.append(found(TF_LATE, tuple(cameras), text, wait_ms=wait_ns / 1e6))
        if late_ns <= STALE_NS and not edge.moves and edge.dynamic_count > 1:
            text = f"{where} came {edge.dynamic_count} times on /tf and never changed"
            findings.append(found(TF_STATIC_AS_DYNAMIC, tuple(cameras), text))
    return findings


def _wait_ns(rig: Rig, edge: Edge, cameras: list[str]) -> int | None:
    """Return how long an image waits, at most, until an edge's sample after it is there."""
    ages = [rhythm_of(rig.camera(name).images) for name in cameras]
    latencies = [rhythm.latency_ns for rhythm in ages if rhythm]
    # Simulated time may run at any rate; arrivals then say nothing about stamps.
    if edge.period_ns is None or not latencies or rig.clock_count:
        return None
    return edge.lag_ns + edge.period_ns - min(latencies)


CHECKS = (
    Check(check_tree, (TF_NONE, TF_INVALID, TF_TWO_PARENTS, TF_LOOP, TF_BOTH)),
    Check(
        check_frames, (BASE_FRAME_MISSING, FRAME_ID_EMPTY, FRAME_ID_DIFFERS, CAMERA_FRAME_MISSING)
    ),
    Check(check_look_ups, (TF_NOT_CONNECTED, TF_LATE, FIXED_FRAME_MISSING)),
    Check(check_mounting_edges, (TF_STALE, TF_LATE, TF_STATIC_AS_DYNAMIC)),
)
