# SPDX-License-Identifier: Apache-2.0
"""What the node adds to inference: six 1600x900 JPEG cameras at 12 Hz over DDS, stub backend.

The node runs in a process of its own; all of it is real, from the subscription to the published
boxes, but the network answers at once. Overhead is the publish time minus the last image's arrival
minus inference, as the node reports it. The rig does little (see `load_rig.py`) and listens between
cycles, because it shares the cores with the node.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage

from benchmarks.bench_detector import jpeg_image
from benchmarks.load_rig import OFFSETS_MS, PERIOD_MS, Rig
from benchmarks.machine import percentiles
from simdistill_ros.polled_subscription import PolledSubscription
from simdistill_ros.process_environment import PROCESS_ENVIRONMENT

DOMAIN = 97
WARM_UP_SETS = 6


@dataclass
class NodeTurn:
    """One run of the node against a rig.

    Attributes:
        seconds: Its length.
        cycles: Sets that were sent.
        stages_ms: Milliseconds of each stage, by set, after a warm-up.
        answered: Sets that were answered after it.
        pictures: Messages on the topics that were listened to besides.
        cores: Processor time of the node after the warm-up over the time that passed.
    """

    seconds: float
    cycles: int
    stages_ms: dict[str, list[float]] = field(default_factory=dict)
    answered: int = 0
    pictures: int = 0
    cores: float = 0.0


def bench_node(seconds: float, jpeg_scaling: str = "exact", kind: str = "jpeg") -> dict[str, Any]:
    """Return percentiles of the node's stages, milliseconds, and how many sets were answered.

    Args:
        seconds: Length of the run.
        jpeg_scaling: The node's `input.jpeg_scaling`.
        kind: Key of `JPEGS`.
    """
    turn = node_turn(seconds, (f"input.jpeg_scaling:={jpeg_scaling}",), kind=kind)
    return {
        "what": "stub backend, six 1600x900 JPEG cameras at 12 Hz, another process",
        "cycles": turn.cycles,
        "answered": turn.answered + WARM_UP_SETS,
        "stages_ms": {stage: percentiles(kept) for stage, kept in turn.stages_ms.items()},
        "jpeg_scaling": jpeg_scaling,
        "jpeg_kB": round(len(jpeg_image(0, kind)) / 1000),
    }


def node_turn(
    seconds: float,
    parameters: Sequence[str] = (),
    pictures: Sequence[str] = (),
    kind: str = "jpeg",
) -> NodeTurn:
    """Run the node against a rig.

    Args:
        seconds: Of images.
        parameters: Of the node, as `name:=value`.
        pictures: Topics of CompressedImage that the rig's process listens to.
        kind: What the rig sends, a key of `JPEGS`.
    """
    environment = {**PROCESS_ENVIRONMENT, **os.environ, "ROS_DOMAIN_ID": str(DOMAIN)}
    command = [sys.executable, "-m", "benchmarks.load_subjects", "node", "jpeg"]
    for parameter in parameters:
        command += ["-p", parameter]
    child = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    try:
        return _drive(seconds, child.pid, pictures, kind)
    finally:
        child.terminate()
        child.wait(10)


def _drive(seconds: float, node_pid: int, pictures: Sequence[str], kind: str) -> NodeTurn:
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=DOMAIN)
    node = rclpy.create_node("rig", context=context)
    listener = _Listener(node, node_pid, pictures)
    cycles = _publish_cycles(Rig(node, kind), listener, seconds)
    node.destroy_node()
    rclpy.shutdown(context=context)
    answered = len(listener.stages_ms.get("total", []))
    if answered <= WARM_UP_SETS:
        raise RuntimeError(f"{answered} of {cycles} sets were answered: the machine is overloaded")
    (first_s, first_cpu_s), (last_s, last_cpu_s) = (
        listener.marks[WARM_UP_SETS - 1],
        listener.marks[-1],
    )
    return NodeTurn(
        seconds=seconds,
        cycles=cycles,
        stages_ms={stage: kept[WARM_UP_SETS:] for stage, kept in listener.stages_ms.items()},
        answered=answered - WARM_UP_SETS,
        pictures=listener.pictures,
        cores=(last_cpu_s - first_cpu_s) / (last_s - first_s),
    )


class _Listener:
    """Takes what the node says, once a cycle, when the node rests."""

    def __init__(self, node: Any, node_pid: int, pictures: Sequence[str]) -> None:
        self._node_pid = node_pid
        self._latency = PolledSubscription(
            node, DiagnosticArray, "/detector/latency", QoSProfile(depth=100)
        )
        self._pictures = [
            PolledSubscription(node, CompressedImage, topic, QoSProfile(depth=10))
            for topic in pictures
        ]
        self.stages_ms: dict[str, list[float]] = {}
        self.marks: list[tuple[float, float]] = []  # when, and the node's processor time by then
        self.pictures = 0

    def listen(self) -> None:
        """Take all that came."""
        self.pictures += sum(1 for topic in self._pictures for _ in topic.take())
        for data in self._latency.take():
            self.marks.append((time.monotonic(), _cpu_s(self._node_pid)))
            for value in deserialize_message(data, DiagnosticArray).status[0].values:
                stage = value.key.removesuffix("_ms")
                self.stages_ms.setdefault(stage, []).append(float(value.value))


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _publish_cycles(rig: Rig, listener: _Listener, seconds: float) -> int:
    rig.wait_for_listeners()
    cycles = int(seconds * 1000 / PERIOD_MS)
    start_s, start_ns = time.monotonic() + 0.5, time.time_ns() + 500_000_000
    for cycle in range(cycles):
        listener.listen()
        for camera, offset_ms in OFFSETS_MS.items():
            after_ms = cycle * PERIOD_MS + offset_ms
            time.sleep(max(0.0, start_s + after_ms / 1000 - time.monotonic()))
            rig.publish(camera, start_ns + round(after_ms * 1e6))
    time.sleep(1.0)
    listener.listen()
    return cycles
