# SPDX-License-Identifier: Apache-2.0
"""What the node does when a transition fails, and when it is not alone."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("rclpy")

import rclpy
from rig_bench import RigBench

from simdistill_ros.parameters import NodeParameters


def test_an_unexpected_exception_goes_through_errorprocessing_and_back(bench: RigBench) -> None:
    broken = [KeyError("a bug in a backend")]

    def factory(parameters: NodeParameters) -> Any:
        if broken:
            raise broken.pop()
        return bench.detector

    bench.start(activate=False, detector_factory=factory)
    node = bench.node
    assert node is not None

    node.trigger_configure()

    assert node._phase == "unconfigured"
    assert bench.counts("model")["transition_failed"] == 1
    assert node.autostart()
    bench.connect_cameras()
    bench.calibrate()
    bench.detect_one()


def test_an_exception_while_activating_frees_the_model_and_the_node_can_start_again(
    bench: RigBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.start(activate=False)
    node = bench.node
    assert node is not None
    node.trigger_configure()
    with monkeypatch.context() as patched:
        patched.setattr("simdistill_ros.detector_node.CameraInputs", None)
        node.trigger_activate()
    assert bench.detector.closed
    assert bench.counts("model")["transition_failed"] == 1
    assert node.autostart()


def test_a_second_node_of_the_same_name_is_reported_until_it_ends(bench: RigBench) -> None:
    bench.start()
    twin = rclpy.create_node("detector", context=bench.context)
    try:
        bench.wait_for_fault("name", "duplicate_node")
    finally:
        twin.destroy_node()
    assert bench.spin_until(lambda: "duplicate" not in _newest_count(bench))


def _newest_count(bench: RigBench) -> str:
    """Return the cause while the fault lasts."""
    assert bench.node is not None
    record = bench.node.health.snapshot()["name"]
    return record.last_cause if record.is_faulty else ""
