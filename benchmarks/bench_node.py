# SPDX-License-Identifier: Apache-2.0
"""What the node adds to inference: six 1600x900 JPEG cameras at 12 Hz over DDS, stub network.

The node runs in a process of its own with a detector that returns nothing at once. Overhead is the
publish time minus the last image's arrival minus the detector's time, as the node reports it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, CompressedImage
from tf2_msgs.msg import TFMessage

from benchmarks.bench_detector import HEIGHT, WIDTH, K, jpeg_image
from benchmarks.machine import percentiles
from simdistill_ros.conversions import header_to_msg, info_to_msg
from simdistill_ros.core.boxes import NUSCENES_CLASSES, Detections, empty_detections
from simdistill_ros.core.camera import CameraCalibration
from simdistill_ros.core.snapshot import Snapshot

# Offsets of nuScenes' cameras within a cycle, milliseconds.
OFFSETS_MS = {
    "cam_front_left": 0,
    "cam_front": 8,
    "cam_front_right": 16,
    "cam_back_right": 23,
    "cam_back": 33,
    "cam_back_left": 43,
}
PERIOD_MS = 1000 / 12
DOMAIN = 97


class StubDetector:
    """Finds nothing, at once."""

    cameras = tuple(OFFSETS_MS)
    class_names = NUSCENES_CLASSES
    description = "stub"
    input_rule = None
    durations_ns: dict[str, int] = {}  # noqa: RUF012 - never written

    def detect(self, snapshot: Snapshot, score_threshold: float | None = None) -> Detections:
        """Return no boxes."""
        return empty_detections("base_link", snapshot.stamp_ns, NUSCENES_CLASSES)

    def close(self) -> None:
        """Do nothing."""


def run_stub_node() -> None:
    """Run the node with the stub; the child process of `bench_node`."""
    from simdistill_ros.detector_node import main

    main([sys.argv[0], "--ros-args", "-p", "input.compressed:=true"], lambda _: StubDetector())


def bench_node(seconds: float) -> dict[str, Any]:
    """Return percentiles of the node's stages, milliseconds, and how many sets were answered."""
    environment = {**os.environ, "ROS_DOMAIN_ID": str(DOMAIN)}
    command = [sys.executable, "-c", "from benchmarks.bench_node import run_stub_node as r; r()"]
    child = subprocess.Popen(command, env=environment)
    try:
        return _drive(seconds)
    finally:
        child.terminate()
        child.wait(10)


def _drive(seconds: float) -> dict[str, Any]:
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=DOMAIN)
    node = rclpy.create_node("rig", context=context)
    executor = rclpy.executors.SingleThreadedExecutor(context=context)
    executor.add_node(node)
    stages: dict[str, list[float]] = {}

    def keep(message: DiagnosticArray) -> None:
        for value in message.status[0].values:
            stages.setdefault(value.key.removesuffix("_ms"), []).append(float(value.value))

    node.create_subscription(DiagnosticArray, "/detector/latency", keep, 100)
    publish = _publishers(node)
    cycles = _publish_cycles(publish, executor, seconds)
    answered = len(stages.get("total", []))
    node.destroy_node()
    rclpy.shutdown(context=context)
    return {
        "what": "stub detector, six 1600x900 JPEG cameras at 12 Hz, another process",
        "cycles": cycles,
        "answered": answered,
        "stages_ms": {stage: percentiles(values[6:]) for stage, values in stages.items()},
    }


def _publishers(node: Any) -> dict[str, Any]:
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    static = node.create_publisher(TFMessage, "/tf_static", latched)
    static.publish(TFMessage(transforms=[_identity(camera) for camera in OFFSETS_MS]))
    return {
        camera: (
            node.create_publisher(
                CompressedImage, f"{camera}/image_rect_compressed", qos_profile_sensor_data
            ),
            node.create_publisher(CameraInfo, f"{camera}/camera_info", qos_profile_sensor_data),
            jpeg_image(index),
        )
        for index, camera in enumerate(OFFSETS_MS)
    }


def _identity(camera: str) -> Any:
    from geometry_msgs.msg import TransformStamped

    message = TransformStamped(header=header_to_msg("base_link", 1), child_frame_id=camera)
    message.transform.rotation.w = 1.0
    return message


def _publish_cycles(publish: dict[str, Any], executor: Any, seconds: float) -> int:
    calibration = CameraCalibration(WIDTH, HEIGHT, K)
    deadline = time.monotonic() + 20
    while not all(p[0].get_subscription_count() for p in publish.values()):
        executor.spin_once(timeout_sec=0.05)
        if time.monotonic() > deadline:
            raise RuntimeError("the node did not subscribe within 20 s")
    cycles = int(seconds * 1000 / PERIOD_MS)
    start_s = time.monotonic() + 0.5
    for cycle in range(cycles):
        for camera, offset_ms in OFFSETS_MS.items():
            due_s = start_s + (cycle * PERIOD_MS + offset_ms) / 1000
            while (left_s := due_s - time.monotonic()) > 0:
                executor.spin_once(timeout_sec=min(left_s, 0.002))
            image, info, jpeg = publish[camera]
            stamp_ns = time.time_ns()
            info.publish(info_to_msg(calibration, camera, stamp_ns))
            message = CompressedImage(header=header_to_msg(camera, stamp_ns), format="jpeg")
            message.data = jpeg
            image.publish(message)
    end_s = time.monotonic() + 1.0
    while time.monotonic() < end_s:
        executor.spin_once(timeout_sec=0.05)
    return cycles
