# SPDX-License-Identifier: Apache-2.0
"""What the node adds to inference: six 1600x900 JPEG cameras at 12 Hz over DDS, stub backend.

The node runs in a process of its own; all of it is real, from the subscription to the published
boxes, but the network answers at once. Overhead is the publish time minus the last image's arrival
minus inference, as the node reports it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray

from benchmarks.bench_detector import jpeg_image
from benchmarks.load_rig import OFFSETS_MS, PERIOD_MS, Rig
from benchmarks.machine import percentiles
from simdistill_ros.process_environment import PROCESS_ENVIRONMENT

DOMAIN = 97
WARM_UP_SETS = 6


def bench_node(seconds: float, jpeg_scaling: str = "exact", kind: str = "jpeg") -> dict[str, Any]:
    """Return percentiles of the node's stages, milliseconds, and how many sets were answered.

    Args:
        seconds: Length of the run.
        jpeg_scaling: The node's `input.jpeg_scaling`.
        kind: Key of `JPEGS`.
    """
    environment = {**PROCESS_ENVIRONMENT, **os.environ, "ROS_DOMAIN_ID": str(DOMAIN)}
    command = [sys.executable, "-m", "benchmarks.load_subjects", "node", "jpeg"]
    command += ["-p", f"input.jpeg_scaling:={jpeg_scaling}"]
    child = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    try:
        jpeg_kb = round(len(jpeg_image(0, kind)) / 1000)
        return {**_drive(seconds, kind), "jpeg_scaling": jpeg_scaling, "jpeg_kB": jpeg_kb}
    finally:
        child.terminate()
        child.wait(10)


def _drive(seconds: float, kind: str) -> dict[str, Any]:
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
    cycles = _publish_cycles(Rig(node, kind), executor, seconds)
    answered = len(stages.get("total", []))
    node.destroy_node()
    rclpy.shutdown(context=context)
    if answered <= WARM_UP_SETS:
        raise RuntimeError(f"{answered} of {cycles} sets were answered: the machine is overloaded")
    return {
        "what": "stub backend, six 1600x900 JPEG cameras at 12 Hz, another process",
        "cycles": cycles,
        "answered": answered,
        "stages_ms": {stage: percentiles(kept[WARM_UP_SETS:]) for stage, kept in stages.items()},
    }


def _publish_cycles(rig: Rig, executor: Any, seconds: float) -> int:
    rig.wait_for_listeners()
    cycles = int(seconds * 1000 / PERIOD_MS)
    start_s, start_ns = time.monotonic() + 0.5, time.time_ns() + 500_000_000
    for cycle in range(cycles):
        for camera, offset_ms in OFFSETS_MS.items():
            after_ms = cycle * PERIOD_MS + offset_ms
            due_s = start_s + after_ms / 1000
            while (left_s := due_s - time.monotonic()) > 0:
                executor.spin_once(timeout_sec=min(left_s, 0.002))
            rig.publish(camera, start_ns + round(after_ms * 1e6))
    end_s = time.monotonic() + 1.0
    while time.monotonic() < end_s:
        executor.spin_once(timeout_sec=0.05)
    return cycles
