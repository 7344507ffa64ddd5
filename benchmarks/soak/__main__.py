# SPDX-License-Identifier: Apache-2.0
"""Run the node for long under injected faults and see that every image is accounted for.

Six 1600x900 JPEG cameras at 12 Hz reach a node with a stub in place of the network, in a process of
its own, with lost, late, reordered, duplicated and corrupt images, cameras that crash and clocks
that are off. At the end received = matched + dropped by reason for each camera, every set was
taken, and the memory of the node is flat. Exit status 1 if not.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage
from tf2_msgs.msg import TFMessage

from benchmarks.bench_detector import HEIGHT, WIDTH
from benchmarks.load_rig import OFFSETS_MS, _identity
from benchmarks.machine import describe_machine
from benchmarks.soak.account import account_of, growth, problems
from benchmarks.soak.stream import faults_of_block, hostile_stream
from benchmarks.stub_backend import stub_detector
from simdistill_ros.command_line.parser import command_parser
from simdistill_ros.command_line.run import FINE, FOUND, Outcome, run_command
from simdistill_ros.process_environment import PROCESS_ENVIRONMENT
from simdistill_ros.replay.bag_storage import BagMessage
from simdistill_ros.replay.faults.parse import format_fault

RELIABLE = QoSProfile(depth=20, reliability=ReliabilityPolicy.RELIABLE)
MEMORY_PERIOD_S = 1.0
# Longer than the synchroniser waits for a camera: nothing is left in a queue.
SETTLE_S = 3.0
START_S = 60.0


def run_node() -> None:
    """Run the node with the stub; the child process."""
    from simdistill_ros.detector_node import main as run

    parameters = ("input.compressed:=true", "input.reliability:=reliable", "input.depth:=20",
                  "diagnostics.period_s:=0.5", "log.period_s:=3600.0")  # fmt: skip
    arguments = [part for text in parameters for part in ("-p", text)]
    run([sys.argv[0], "--ros-args", *arguments], lambda _: stub_detector())


class Rig:
    """Sends the hostile stream and listens to `/diagnostics`."""

    def __init__(self, domain: int) -> None:
        """Join the graph."""
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = rclpy.create_node("soak_rig", context=self.context)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self.values: dict[str, dict[str, str]] = {}
        self.sent: Counter[str] = Counter()
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._keep, 50)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._static = self.node.create_publisher(TFMessage, "/tf_static", latched)
        self._static.publish(TFMessage(transforms=[_identity(camera) for camera in OFFSETS_MS]))
        self._publishers = {
            f"/{camera}/{name}": self.node.create_publisher(kind, f"/{camera}/{name}", RELIABLE)
            for camera in OFFSETS_MS
            for name, kind in (
                ("camera_info", CameraInfo),
                ("image_rect_compressed", CompressedImage),
            )
        }

    def _keep(self, message: DiagnosticArray) -> None:
        for status in message.status:
            name = status.name.split(": ", 1)[-1]
            self.values[name] = {value.key: value.value for value in status.values}

    def wait_for_node(self) -> None:
        """Return once the node listens to every camera.

        Raises:
            RuntimeError: If it does not within a minute.
        """
        deadline_s = time.monotonic() + START_S
        while not all(p.get_subscription_count() for p in self._publishers.values()):
            self.spin(0.05)
            if time.monotonic() > deadline_s:
                raise RuntimeError(f"the node did not subscribe within {START_S:g} s")

    def spin(self, seconds: float) -> None:
        """Handle what arrives for a while."""
        until_s = time.monotonic() + seconds
        while (left_s := until_s - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=min(left_s, 0.01))

    def play(self, stream: Iterable[BagMessage], start_ns: int, process: int) -> list[float]:
        """Send the stream at its times; return samples of the process' memory, megabytes."""
        started_s, memory = time.monotonic(), list[float]()
        for message in stream:
            due_s = started_s + (message.stamp_ns - start_ns) / 1e9
            if (left_s := due_s - time.monotonic()) > 0:
                self.spin(left_s)
            self._publishers[message.topic].publish(message.data)
            _, camera, kind = message.topic.split("/")
            self.sent[camera] += int(kind != "camera_info")
            if time.monotonic() - started_s > len(memory) * MEMORY_PERIOD_S:
                memory.append(memory_mb(process))
        return memory

    def close(self) -> None:
        """Leave the graph."""
        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)


def memory_mb(process: int) -> float:
    """Return the resident memory of a process, megabytes."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def soak(
    seconds: float,
    rate: float,
    seed: int,
    domain: int,
    image_hw: tuple[int, int] = (HEIGHT, WIDTH),
) -> dict[str, Any]:
    """Run and return the report; `problems` says what is wrong with it."""
    environment = {**PROCESS_ENVIRONMENT, **os.environ, "ROS_DOMAIN_ID": str(domain)}
    command = [sys.executable, "-c", "from benchmarks.soak.__main__ import run_node as r; r()"]
    child = subprocess.Popen(command, env=environment)
    rig = Rig(domain)
    try:
        rig.wait_for_node()
        start_ns = time.time_ns()
        stream = hostile_stream(start_ns, seconds, rate, seed, image_hw)
        memory = rig.play(stream, start_ns, child.pid)
        rig.spin(SETTLE_S)
        report = _report(rig, memory, rate, seed)
    finally:
        rig.close()
        child.terminate()
        child.wait(20)
    report["problems"] = problems(report)
    return report


def _report(rig: Rig, memory: list[float], rate: float, seed: int) -> dict[str, Any]:
    sync, inference = rig.values["sync"], rig.values["inference"]
    cameras = {}
    for name in OFFSETS_MS:
        account = account_of(sync[name])
        assert account is not None, sync[name]
        cameras[name] = {
            "sent": rig.sent[name],
            "received": account.received,
            "matched": account.matched,
            "dropped": account.dropped,
            "unaccounted": account.unaccounted,
            "causes": {
                key.removeprefix("count."): int(value)
                for key, value in rig.values[name].items()
                if key.startswith("count.")
            },
        }
    taken = int(inference["snapshots_processed"]) + int(inference["snapshots_overtaken"])
    return {
        "faults": [format_fault(fault) for fault in faults_of_block(rate, seed)],
        "cameras": cameras,
        "sets": int(sync["sets"]),
        "snapshots": taken + int(inference["failed"]),
        "published": int(inference["published"]),
        "memory_mb": {"first": round(memory[0], 1), "last": round(memory[-1], 1)},
        "memory_growth": round(growth(memory), 4),
    }


NAME = "python -m benchmarks soak"
EXAMPLES = ((f"{NAME} --minutes 5 --out out/soak.json", "a short run, kept as JSON"),)
OUT_HELP = "also write machine and report as JSON; in benchmarks/results it becomes a table"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = command_parser(NAME, __doc__, EXAMPLES, completes=False)
    parser.add_argument("--minutes", type=float, default=60, help="default %(default)s")
    parser.add_argument("--faults", type=float, default=3, help="times the ordinary rates (3)")
    parser.add_argument("--seed", type=int, default=0, help="default %(default)s")
    parser.add_argument("--domain-id", type=int, default=96, help="DDS domain (%(default)s)")
    parser.add_argument("--out", type=Path, help=OUT_HELP)
    arguments = parser.parse_args(argv)
    return run_command(NAME, arguments, lambda: _soak(arguments))


def _soak(arguments: argparse.Namespace) -> Outcome:
    run: dict[str, Any] = {
        "machine": describe_machine(),
        "date": datetime.date.today().isoformat(),
    }
    report = soak(60 * arguments.minutes, arguments.faults, arguments.seed, arguments.domain_id)
    run["soak"] = {"minutes": arguments.minutes, **report}
    if arguments.out:
        arguments.out.write_text(json.dumps(run, indent=2) + "\n")
    return Outcome(json.dumps(report, indent=2), report, FOUND if report["problems"] else FINE)


if __name__ == "__main__":
    sys.exit(main())
