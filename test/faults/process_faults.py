# SPDX-License-Identifier: Apache-2.0
"""Faults of inference, of transitions and of the node itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import rclpy
from faults.fault_bench import FaultBench
from faults.planted_fault import STALE, WARN, Fault


def raising(error: Exception) -> Callable[[FaultBench], None]:
    def plant(bench: FaultBench) -> None:
        bench.detector.failures.append(error)
        for _ in range(20):
            bench.cycles(count=1)
            if not bench.detector.failures:
                break

    return plant


def slow_inference(seconds: float, subject: str, cause: str) -> Callable[[FaultBench], None]:
    def plant(bench: FaultBench) -> None:
        bench.detector.delay_s = seconds
        for _ in range(100):
            bench.cycles(count=1)
            if bench.new_count(subject, cause):
                break

    return plant


def fast_inference(bench: FaultBench) -> None:
    bench.detector.delay_s = 0.0


def deactivated(bench: FaultBench) -> None:
    assert bench.node is not None
    bench.node.trigger_deactivate()
    for _ in range(100):
        bench.cycles(count=1)
        if bench.new_count("output", "node_inactive"):
            break


def active_again(bench: FaultBench) -> None:
    assert bench.node is not None
    bench.node.trigger_activate()
    bench.connect_cameras()
    bench.calibrate()


def failed_configure(error: Exception) -> Callable[[FaultBench], None]:
    def fail(parameters: object) -> Any:
        raise error

    def plant(bench: FaultBench) -> None:
        node = bench.node
        assert node is not None
        node.trigger_deactivate()
        node.trigger_cleanup()
        node._detector_factory = fail
        node.trigger_configure()
        bench.spin_until(lambda: bench.statuses_of("model", ""))

    return plant


def configured_again(bench: FaultBench) -> None:
    assert bench.node is not None
    bench.node._detector_factory = lambda parameters: bench.detector
    assert bench.node.autostart()
    bench.connect_cameras()
    bench.calibrate()


def twin_node(bench: FaultBench) -> None:
    twin = rclpy.create_node("detector", context=bench.context)
    bench.spin_until(lambda: bench.statuses_of("name", "duplicate_node"))
    twin.destroy_node()


PROCESS_FAULTS: tuple[Fault, ...] = (
    Fault(
        "inference raises (device lost)", "process", raising(RuntimeError("device lost")),
        "device_lost", subject="inference", words=("device lost",), is_silent=False,
        recovery="with the next set",
    ),
    Fault(
        "inference runs out of memory", "process", raising(MemoryError("no room")),
        "MemoryError", subject="inference", words=("no room",), is_silent=False,
        recovery="with the next set",
    ),
    Fault(
        "inference that does not come back", "process",
        slow_inference(1.6, "output", "inference_slow"), "inference_slow", subject="output",
        words=("has been in hand for",), is_silent=False, is_passing=True, heal=fast_inference,
        recovery="when it comes back",
    ),
    Fault(
        "inference slower than its deadline", "process",
        slow_inference(0.6, "latency", "deadline_missed"), "deadline_missed", subject="latency",
        words=("latency.deadline_s is 0.5",), level=WARN, is_silent=False, is_passing=True,
        heal=fast_inference, recovery="with the next detections in time",
    ),
    Fault(
        "node deactivated while images arrive", "process", deactivated, "node_inactive",
        subject="output", words=("activate it",), level=STALE, is_passing=True, heal=active_again,
        recovery="when it is activated",
    ),
    Fault(
        "configuring fails", "process", failed_configure(RuntimeError("no room on the device")),
        "not_configured", subject="model", words=("no room on the device",), heal=configured_again,
        recovery="when it is configured again",
    ),
    Fault(
        "exception in a transition", "process", failed_configure(KeyError("a bug")),
        "transition_failed", subject="model", words=("see the log",), heal=configured_again,
        recovery="through errorprocessing; when it is configured again",
    ),
    Fault(
        "second node of the same name", "process", twin_node, "duplicate_node", subject="name",
        words=("1 more named /detector",), is_silent=False, recovery="when one of them ends",
    ),
)  # fmt: skip
