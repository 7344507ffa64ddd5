# SPDX-License-Identifier: Apache-2.0
"""Memory over many configure and cleanup cycles of the node: a leak would grow with each."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import rclpy
from rclpy.parameter import Parameter

from simdistill_ros.command_line.parser import command_parser
from simdistill_ros.command_line.run import Outcome, run_command
from simdistill_ros.command_line.terminal import say
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


NAME = "python -m benchmarks lifecycle_memory"
EXAMPLES = ((f"{NAME} --cycles 20", "a leak would make the last rows larger than the first"),)


def main(argv: Sequence[str]) -> int:
    """Run the cycles and print memory when configured and after cleanup; return the exit status."""
    parser = command_parser(NAME, __doc__, EXAMPLES, completes=False)
    parser.add_argument("--cycles", type=int, default=20, help="default %(default)s")
    parser.add_argument("--model", default="tiny", help="default %(default)s")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="default cpu")
    arguments = parser.parse_args(argv)
    return run_command(NAME, arguments, lambda: _run_cycles(arguments))


def _run_cycles(arguments: argparse.Namespace) -> Outcome:
    rclpy.init()
    values = {"model.path": arguments.model, "device": arguments.device, "autostart": False}
    node = DetectorNode(parameter_overrides=[Parameter(k, value=v) for k, v in values.items()])
    say("| cycle | configured, MB | cleaned up, MB | device configured | device cleaned up |")
    say("|---|---|---|---|---|")
    cycles = []
    for cycle in range(1, arguments.cycles + 1):
        node.trigger_configure()
        node.trigger_activate()
        configured = (resident_mb(), device_mb(arguments.device))
        node.trigger_deactivate()
        node.trigger_cleanup()
        cleaned = (resident_mb(), device_mb(arguments.device))
        cycles.append({"configured_mb": configured, "cleaned_mb": cleaned})
        numbers = (configured[0], cleaned[0], configured[1], cleaned[1])
        say(f"| {cycle} | " + " | ".join(f"{number:.0f}" for number in numbers) + " |")
    node.close()
    node.destroy_node()
    rclpy.try_shutdown()
    return Outcome(data=cycles)
