# SPDX-License-Identifier: Apache-2.0
"""Memory over many configure and cleanup cycles of the node: a leak would grow with each.

python -m benchmarks lifecycle_memory --cycles 20
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import rclpy
from rclpy.parameter import Parameter

from simdistill_ros.detector_node import DetectorNode


def resident_mb() -> float:
    """Return the process's resident memory, megabytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise OSError("/proc/self/status has no VmRSS")


def device_mb(device: str) -> float:
    """Return what torch holds on a CUDA device, megabytes; zero on the CPU."""
    if device != "cuda":
        return 0.0
    import torch

    return float(torch.cuda.memory_reserved()) / 2**20


def main(argv: Sequence[str]) -> None:
    """Run the cycles and print memory when configured and after cleanup."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks lifecycle_memory")
    parser.add_argument("--cycles", type=int, default=20)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    arguments = parser.parse_args(argv)
    rclpy.init()
    values = {"model.path": arguments.model, "device": arguments.device, "autostart": False}
    node = DetectorNode(parameter_overrides=[Parameter(k, value=v) for k, v in values.items()])
    print("| cycle | configured, MB | cleaned up, MB | device configured | device cleaned up |")
    print("|---|---|---|---|---|")
    for cycle in range(1, arguments.cycles + 1):
        node.trigger_configure()
        node.trigger_activate()
        configured = (resident_mb(), device_mb(arguments.device))
        node.trigger_deactivate()
        node.trigger_cleanup()
        cleaned = (resident_mb(), device_mb(arguments.device))
        numbers = (configured[0], cleaned[0], configured[1], cleaned[1])
        print(
            f"| {cycle} | " + " | ".join(f"{number:.0f}" for number in numbers) + " |", flush=True
        )
    node.close()
    node.destroy_node()
    rclpy.try_shutdown()
