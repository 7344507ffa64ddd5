# SPDX-License-Identifier: Apache-2.0
"""Declare the detector node's ROS parameters and read them into frozen dataclasses.

What the operator of a vehicle decides stands here, once: name, default, unit, range. What belongs
to the weights stands in the model card.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

from simdistill_ros.core.calibration_change import JumpBounds
from simdistill_ros.core.missing_cameras import MissingCameras, MissingPolicy

NANOSECONDS = 1_000_000_000


GIVEN_UP = MissingCameras()  # sets that lack cameras are given up


class ParameterError(ValueError):
    """A parameter's value cannot be used; the message names the parameter and the fix."""


@dataclass(frozen=True)
class CameraTopics:
    """Where one camera's messages come from."""

    name: str
    image_topic: str
    camera_info_topic: str


@dataclass(frozen=True)
class InputParameters:
    """How camera messages are received and read."""

    compressed: bool
    rectified: bool
    ignore_r: bool
    reliability: str
    depth: int
    decode_threads: int
    jpeg_scaling: str


@dataclass(frozen=True)
class SyncParameters:
    """How images are matched into snapshots."""

    policy: str
    tolerance_ns: int
    timeout_ns: int
    queue_size: int
    anchor: str
    missing: MissingCameras = GIVEN_UP


@dataclass(frozen=True)
class OverlayParameters:
    """Pictures of what the node sees and says.

    Attributes:
        mosaic: Publish all cameras in one picture, with boxes.
        bev: Publish the view from above.
        period_ns: Shortest time between two pictures.
        width_px: Width of the mosaic; the view from above is half as wide.
        quality: Of the JPEGs, 1 to 100.
        min_score: Boxes below are not drawn.
    """

    mosaic: bool = False
    bev: bool = False
    period_ns: int = 200_000_000
    width_px: int = 1280
    quality: int = 80
    min_score: float = 0.25


@dataclass(frozen=True)
class LiveParameters:
    """What may change while the node runs.

    Attributes:
        score_threshold: Detections below are not published; None: the model card decides.
        max_detections: Most detections in a message.
        marker_lifetime_ns: Lifetime of markers.
        missing: What becomes of sets that lack cameras.
        suppresses_blind: Boxes in directions that no image shows are left out, not only marked.
    """

    score_threshold: float | None
    max_detections: int
    marker_lifetime_ns: int
    missing: MissingCameras
    suppresses_blind: bool


@dataclass(frozen=True)
class NodeParameters:
    """What the node was told and keeps until it is cleaned up."""

    model_path: str
    backend: str
    precision: str
    device: str
    engine_folder: str
    base_frame: str
    output_frame: str
    fixed_frame: str
    input: InputParameters
    sync: SyncParameters
    overlay: OverlayParameters
    calibration_jump: JumpBounds
    tf_timeout_ns: int
    tf_cache_ns: int
    hardware_id: str
    silence_ns: int
    latency_deadline_ns: int
    diagnostics_period_ns: int
    log_period_ns: int


@dataclass(frozen=True)
class _Spec:
    name: str
    default: Any
    description: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    read_at: str = "configure"  # or "start", or "any time"


_SPECS = (
    _Spec("autostart", True, "Configure and activate at start-up, without a lifecycle manager",
          read_at="start"),
    _Spec("model.path", "", "Folder of the model package (model.yaml and weights); empty: `small`"),
    _Spec("backend", "auto", "What runs the network; auto: the best that passes its self-test",
          choices=("auto", "tensorrt", "torch", "onnxruntime")),
    _Spec("precision", "auto", "Arithmetic; auto: the fastest that the model package has",
          choices=("auto", "fp32", "fp16", "int8")),
    _Spec("device", "cpu", "Device of the backend", choices=("auto", "cpu", "cuda")),
    _Spec("engine_folder", "", "Where TensorRT's engines are kept; empty: the user's cache"),
    _Spec("base_frame", "base_link", "Vehicle frame: x forward, y left, z up (REP-103)"),
    _Spec("output_frame", "base_link", "Frame the detections are published in"),
    _Spec("fixed_frame", "", "Frame to undo ego motion between cameras in (odom, map); empty: off"),
    _Spec("cameras.names", "", "Comma-separated cameras, in any order; empty: the model card's"),
    _Spec("input.compressed", True, "CompressedImage (jpeg, png) instead of Image"),
    _Spec("input.rectified", False, "Images are rectified: use P and R of CameraInfo, not K and D"),
    _Spec("input.ignore_r", False, "Take CameraInfo.r as the identity when a publisher spoils it"),
    _Spec("input.reliability", "best_effort", "QoS of camera topics",
          choices=("best_effort", "reliable")),
    _Spec("input.depth", 2, "QoS history depth of camera topics, messages", 1, 100),
    _Spec("input.decode_threads", 2, "Threads that decode and resize images", 1, 64),
    _Spec("input.jpeg_scaling", "exact", "Decode JPEGs at full size (exact), or at the fraction "
          "that is at least twice (near) or once (fast) what is resized to",
          choices=("exact", "near", "fast")),
    _Spec("sync.policy", "native", "Synchroniser", choices=("native", "message_filters")),
    _Spec("sync.tolerance_s", 0.06, "Largest stamp spread within a snapshot, s", 0.0, 10.0),
    _Spec("sync.timeout_s", 0.5, "Wait for a camera before its snapshot is given up, s", 0.0, 60.0),
    _Spec("sync.queue_size", 8, "Images held per camera while waiting", 1, 100),
    _Spec("sync.anchor", "", "Camera whose stamp a snapshot takes; empty: the newest image's"),
    _Spec("sync.missing.policy", "drop", "What becomes of a set that lacks cameras",
          choices=("drop", "blank", "hold"), read_at="any time"),
    _Spec("sync.missing.min_cameras", 0, "Images of its own cycle a set needs; 0: more than half",
          0, 64, read_at="any time"),
    _Spec("sync.missing.hold_s", 0.25, "Greatest age of an image that is held, s", 0.0, 10.0,
          read_at="any time"),
    _Spec("blind_detections", "flag", "Boxes where no image of an incomplete set looks",
          choices=("flag", "suppress"), read_at="any time"),
    _Spec("calibration.max_jump_deg", 1.0, "Turn of a live calibration that is reported, degrees",
          0.0, 180.0),
    _Spec("calibration.max_jump_m", 0.05, "Shift of a live calibration that is reported, m",
          0.0, 100.0),
    _Spec("tf.timeout_s", 0.2, "Wait for a transform, s", 0.0, 60.0),
    _Spec("tf.cache_s", 10.0, "Age of transforms that are kept, s", 0.1, 600.0, read_at="start"),
    _Spec("score_threshold", -1.0, "Detections below are not published; negative: the model card's",
          -1.0, 1.0, read_at="any time"),
    _Spec("max_detections", 300, "Most detections in a message, best first", 1, 5000,
          read_at="any time"),
    _Spec("markers.lifetime_s", 0.5, "Lifetime of markers, s", 0.0, 60.0, read_at="any time"),
    _Spec("overlay.mosaic", False, "Publish all cameras in one picture, with boxes"),
    _Spec("overlay.bev", False, "Publish the view from above as a picture"),
    _Spec("overlay.rate_hz", 5.0, "Most pictures a second", 0.1, 60.0),
    _Spec("overlay.width_px", 1280, "Width of the mosaic; from above: half of it", 192, 7680),
    _Spec("overlay.quality", 80, "Quality of the pictures' JPEGs", 1, 100),
    _Spec("overlay.min_score", 0.25, "Boxes below are not drawn", 0.0, 1.0),
    _Spec("hardware_id", "", "Name of the sensor set in /diagnostics; empty: the cameras"),
    _Spec("silence.deadline_s", 2.0, "Say why when no detections have left for longer, s",
          0.1, 600.0),
    _Spec("latency.deadline_s", 0.5, "Warn when detections are older than this when they leave, s",
          0.001, 60.0),
    _Spec("diagnostics.period_s", 1.0, "Period of /diagnostics, s", 0.05, 60.0, read_at="start"),
    _Spec("log.period_s", 5.0, "Shortest time between two equal warnings, s", 0.0, 3600.0,
          read_at="start"),
)  # fmt: skip


READ_WHEN = {"start": "started", "configure": "configured"}
OURS = frozenset(spec.name for spec in _SPECS)
LIVE_PARAMETERS = frozenset(spec.name for spec in _SPECS if spec.read_at == "any time")
START_PARAMETERS = frozenset(spec.name for spec in _SPECS if spec.read_at == "start")


def choices_of(name: str) -> tuple[str, ...]:
    """Return the words that a parameter may be, or nothing where it is no choice of words."""
    return next((spec.choices for spec in _SPECS if spec.name == name), ())


def _descriptor(spec: _Spec) -> ParameterDescriptor:
    # Not `read_only`: rclpy would refuse changes without a reason. See `parameter_changes.py`.
    descriptor = ParameterDescriptor(description=spec.description)
    constraints = ["one of " + ", ".join(spec.choices)] if spec.choices else []
    if spec.read_at != "any time":
        constraints.append(f"read when the node is {READ_WHEN[spec.read_at]}")
    descriptor.additional_constraints = "; ".join(constraints)
    if spec.low is not None and spec.high is not None:
        if isinstance(spec.default, int):
            limits = IntegerRange(from_value=int(spec.low), to_value=int(spec.high), step=0)
            descriptor.integer_range = [limits]
        else:
            bounds = FloatingPointRange(from_value=spec.low, to_value=spec.high, step=0.0)
            descriptor.floating_point_range = [bounds]
    return descriptor


def declare_parameters(node: Any) -> None:
    """Declare every parameter but the per-camera topics, which need the camera names."""
    for spec in _SPECS:
        node.declare_parameter(spec.name, spec.default, _descriptor(spec))


def read_parameters(node: Any) -> NodeParameters:
    """Read the declared parameters.

    Raises:
        ParameterError: If a value is none of its choices.
    """
    values: dict[str, Any] = {spec.name: node.get_parameter(spec.name).value for spec in _SPECS}
    for spec in _SPECS:
        if spec.choices and values[spec.name] not in spec.choices:
            expected = ", ".join(spec.choices)
            raise ParameterError(f"{spec.name}: expected {expected}; got {values[spec.name]!r}")
    return NodeParameters(
        model_path=values["model.path"],
        backend=values["backend"],
        precision=values["precision"],
        device=values["device"],
        engine_folder=values["engine_folder"],
        base_frame=values["base_frame"],
        output_frame=values["output_frame"],
        fixed_frame=values["fixed_frame"],
        input=InputParameters(
            compressed=values["input.compressed"],
            rectified=values["input.rectified"],
            ignore_r=values["input.ignore_r"],
            reliability=values["input.reliability"],
            depth=values["input.depth"],
            decode_threads=values["input.decode_threads"],
            jpeg_scaling=values["input.jpeg_scaling"],
        ),
        sync=SyncParameters(
            policy=values["sync.policy"],
            tolerance_ns=_nanoseconds(values["sync.tolerance_s"]),
            timeout_ns=_nanoseconds(values["sync.timeout_s"]),
            queue_size=values["sync.queue_size"],
            anchor=values["sync.anchor"],
            missing=_missing_cameras(values),
        ),
        overlay=OverlayParameters(
            mosaic=values["overlay.mosaic"],
            bev=values["overlay.bev"],
            period_ns=_nanoseconds(1.0 / values["overlay.rate_hz"]),
            width_px=values["overlay.width_px"],
            quality=values["overlay.quality"],
            min_score=float(values["overlay.min_score"]),
        ),
        calibration_jump=JumpBounds(
            turn_rad=math.radians(values["calibration.max_jump_deg"]),
            shift_m=float(values["calibration.max_jump_m"]),
        ),
        tf_timeout_ns=_nanoseconds(values["tf.timeout_s"]),
        tf_cache_ns=_nanoseconds(values["tf.cache_s"]),
        hardware_id=values["hardware_id"],
        silence_ns=_nanoseconds(values["silence.deadline_s"]),
        latency_deadline_ns=_nanoseconds(values["latency.deadline_s"]),
        diagnostics_period_ns=_nanoseconds(values["diagnostics.period_s"]),
        log_period_ns=_nanoseconds(values["log.period_s"]),
    )


def read_live_parameters(node: Any) -> LiveParameters:
    """Read the parameters that may change while the node runs."""
    values: dict[str, Any] = {name: node.get_parameter(name).value for name in LIVE_PARAMETERS}
    threshold = float(values["score_threshold"])
    return LiveParameters(
        score_threshold=None if threshold < 0 else threshold,
        max_detections=int(values["max_detections"]),
        marker_lifetime_ns=_nanoseconds(values["markers.lifetime_s"]),
        missing=_missing_cameras(values),
        suppresses_blind=values["blind_detections"] == "suppress",
    )


def _missing_cameras(values: Mapping[str, Any]) -> MissingCameras:
    return MissingCameras(
        MissingPolicy(values["sync.missing.policy"]),
        int(values["sync.missing.min_cameras"]),
        _nanoseconds(values["sync.missing.hold_s"]),
    )


def camera_names(node: Any, model_cameras: tuple[str, ...]) -> tuple[str, ...]:
    """Return the cameras to listen to: `cameras.names`, or the model card's.

    Raises:
        ParameterError: If the names are not the model's.
    """
    text = str(node.get_parameter("cameras.names").value)
    names = tuple(name.strip() for name in text.split(",") if name.strip()) or model_cameras
    if sorted(names) != sorted(model_cameras):
        raise ParameterError(
            f"cameras.names: expected the model's cameras {', '.join(model_cameras)}; "
            f"got {', '.join(names)}"
        )
    return names


def camera_topics(node: Any, names: tuple[str, ...], *, compressed: bool) -> list[CameraTopics]:
    """Declare and read `cameras.<name>.image_topic` and `.camera_info_topic`.

    The defaults are relative names that can be remapped: `<name>/image_rect_compressed` (or
    `<name>/image_rect`) and `<name>/camera_info`.

    Raises:
        ParameterError: If two cameras share a topic.
    """
    suffix = "image_rect_compressed" if compressed else "image_rect"
    topics = []
    for name in names:
        image = _topic(node, f"cameras.{name}.image_topic", f"{name}/{suffix}", "Image topic")
        info = _topic(
            node, f"cameras.{name}.camera_info_topic", f"{name}/camera_info", "Info topic"
        )
        topics.append(CameraTopics(name, image, info))
    _refuse_shared_topics([(t.name, t.image_topic) for t in topics], "image_topic")
    _refuse_shared_topics([(t.name, t.camera_info_topic) for t in topics], "camera_info_topic")
    return topics


def _topic(node: Any, parameter: str, default: str, what: str) -> str:
    if not node.has_parameter(parameter):
        descriptor = ParameterDescriptor(description=f"{what} of this camera")
        node.declare_parameter(parameter, default, descriptor)
    return str(node.get_parameter(parameter).value) or default


def _refuse_shared_topics(topics: list[tuple[str, str]], key: str) -> None:
    seen: dict[str, str] = {}
    for name, topic in topics:
        if topic in seen:
            raise ParameterError(
                f"cameras.{name}.{key}: {topic!r} is already the topic of {seen[topic]}; "
                "every camera needs a topic of its own"
            )
        seen[topic] = name


def _nanoseconds(seconds: float) -> int:
    return round(float(seconds) * NANOSECONDS)
