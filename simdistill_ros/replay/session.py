# SPDX-License-Identifier: Apache-2.0
"""A detector to replay against: its process, its parameters, and the link to it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import rclpy

from simdistill_ros.core.boxes import NUSCENES_CLASSES
from simdistill_ros.core.model_card import load_model_card
from simdistill_ros.replay.detector_link import DetectorLink
from simdistill_ros.replay.node_process import (
    DetectorDiedError,
    NodeProcess,
    dds_environment,
    running_node,
)
from simdistill_ros.replay.nuscenes_reader import CAMERA_CHANNELS
from simdistill_ros.replay.options import ReplayOptions
from simdistill_ros.replay.recording import recorded_topics
from simdistill_ros.resources import model_folder

SETTLE_S = 0.3
# As many as the benchmark takes; the node's own default is meant for a vehicle.
MAX_DETECTIONS = 500
# The limit of the node's parameters.
LONGEST_WAIT_S = 60.0


def model_facts(options: ReplayOptions) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the cameras and classes of what is going to answer."""
    if options.oracle:
        return tuple(channel.lower() for channel in CAMERA_CHANNELS), NUSCENES_CLASSES
    card = load_model_card(model_folder(options.model))
    return tuple(camera.lower() for camera in card.cameras), card.classes


@dataclass(frozen=True)
class Session:
    """A link to the detector, and its process unless somebody else runs it."""

    link: DetectorLink
    process: NodeProcess | None

    def check_alive(self) -> None:
        """Raise DetectorDiedError if the detector's own process has ended."""
        if self.process is not None:
            self.process.check_alive()


@contextlib.contextmanager
def detector_session(options: ReplayOptions) -> Iterator[Session]:
    """Run the detector, or find the one that runs already, until the block ends."""
    external = options.external_node
    environment = dds_environment(options.domain_id)
    if external and options.domain_id is None:
        environment = {k: v for k, v in environment.items() if k.endswith("PROFILES_FILE")}
    with contextlib.ExitStack() as stack:
        stack.enter_context(_environment(environment))
        context = rclpy.Context()
        rclpy.init(context=context)
        stack.callback(context.try_shutdown)
        link = DetectorLink(context, external or "detector", model_facts(options)[1])
        stack.callback(link.close)
        if options.record:
            topics = recorded_topics(external or "detector", overlays=options.overlays)
            link.listen(topics, required=not external)
        process = None
        if not external:
            module, arguments = _command(options)
            log = options.out / "detector.log"
            process = stack.enter_context(running_node(module, arguments, environment, log))
        yield Session(link, process)


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {key: os.environ.get(key) for key in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value


def _command(options: ReplayOptions) -> tuple[str, list[str]]:
    """Return the module of the detector's process and its arguments."""
    parameters = {
        "model.path": options.model,
        "device": options.device,
        "input.compressed": str(options.input == "compressed").lower(),
        "fixed_frame": options.fixed_frame,
        "score_threshold": str(options.score_threshold),
        "max_detections": str(MAX_DETECTIONS),
        **(_recording_parameters(options) if options.record else {}),
        **(_step_parameters(options) if options.mode == "step" else {"use_sim_time": "true"}),
    }
    ros_arguments = ["--ros-args"]
    for key, value in parameters.items():
        if value != "":
            ros_arguments += ["-p", f"{key}:={value}"]
    if options.oracle:
        dataset = ["--dataroot", str(options.dataroot), "--version", options.version]
        return "simdistill_ros.replay.oracle", [*dataset, *ros_arguments]
    return "simdistill_ros.detector_node", ros_arguments


def _recording_parameters(options: ReplayOptions) -> dict[str, str]:
    """Return what makes a recording whole: markers until the next keyframe, every picture."""
    on = str(options.overlays).lower()
    parameters = {"overlay.mosaic": on, "overlay.bev": on, "overlay.rate_hz": "60.0"}
    return {**parameters, "markers.lifetime_s": "1.0"}


def _step_parameters(options: ReplayOptions) -> dict[str, str]:
    """Return what makes a step lossless: nothing is given up that may still come."""
    patience_s = min(options.timeout_s * options.attempts, LONGEST_WAIT_S)
    return {
        "input.reliability": "reliable",
        "sync.timeout_s": str(patience_s),
        "tf.timeout_s": str(patience_s),
        # The clock stands still between steps, and the node's timers with it.
        "use_sim_time": "false",
    }


def wait_for_detector(
    session: Session, options: ReplayOptions, cameras: Sequence[str], timeout_s: float
) -> None:
    """Return once the detector listens to every camera and to TF, and can be heard.

    Raises:
        DetectorDiedError: If its process ends or it does not appear in time.
    """
    suffix = "image_rect_compressed" if options.input == "compressed" else "image_rect"
    topics = [f"/{camera}/{name}" for camera in cameras for name in (suffix, "camera_info")]
    topics += ["/tf", "/tf_static"]

    def is_ready() -> bool:
        session.check_alive()
        return session.link.is_connected(topics)

    if not session.link.spin(is_ready, timeout_s):
        missing = ", ".join(session.link.missing(topics)) or "answers"
        log = f":\n{session.process.log_tail()}" if session.process else ""
        raise DetectorDiedError(
            f"no active detector after {timeout_s:g} s; without listener: {missing}{log}"
        )
    session.link.spin(lambda: False, SETTLE_S)
