# SPDX-License-Identifier: Apache-2.0
"""The node's look at itself when a signal has ended the context."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("rclpy")

import rclpy
from rclpy.context import Context
from rclpy.parameter import Parameter
from rig_bench import OneBoxDetector

from simdistill_ros.detector_node import PATIENCE_S, DetectorNode


@pytest.fixture
def node(ros_domain: int) -> Iterator[DetectorNode]:
    context = Context()
    rclpy.init(context=context, domain_id=ros_domain)
    soon = [Parameter("silence.deadline_s", value=0.1)]
    node = DetectorNode(lambda _: OneBoxDetector(), context=context, parameter_overrides=soon)
    assert node.autostart()
    yield node
    node.close()
    node.destroy_node()
    context.try_shutdown()


def look_at_itself(node: DetectorNode) -> None:
    node._diagnostics_timer.callback()
    node._watch_timer.callback()


def test_a_context_that_was_ended_is_no_error(node: DetectorNode) -> None:
    node.context.shutdown()
    look_at_itself(node)


@pytest.mark.parametrize("timer", ["_diagnostics_timer", "_watch_timer"])
def test_nor_is_one_that_ends_while_the_node_looks_at_itself(
    node: DetectorNode, timer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = node.get_publishers_info_by_topic
    errors: list[Exception] = []

    def end_and_ask(topic: str) -> Any:
        node.context.try_shutdown()
        try:
            return ask(topic)
        except Exception as error:
            errors.append(error)
            raise

    monkeypatch.setattr(node, "get_publishers_info_by_topic", end_and_ask)
    time.sleep(0.1)  # from now on the node is silent and the watch asks for the reason
    getattr(node, timer).callback()
    assert len(errors) == 1


def test_an_error_of_a_living_context_is_raised(
    node: DetectorNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(topic: str) -> Any:
        raise RuntimeError("no graph")

    monkeypatch.setattr(node, "get_publishers_info_by_topic", fail)
    with pytest.raises(RuntimeError, match="no graph"):
        node._diagnostics_timer.callback()


@pytest.mark.parametrize(("looks", "waits_for_ever"), [(3, False), (10**9, True)])
def test_diagnostics_wait_for_a_worker_that_is_at_a_set_but_only_a_moment(
    node: DetectorNode, monkeypatch: pytest.MonkeyPatch, looks: int, waits_for_ever: bool
) -> None:
    asked = 0

    def in_hand_ns() -> int | None:
        nonlocal asked
        asked += 1
        return 1 if asked <= looks else None

    monkeypatch.setattr(node._pipeline, "in_hand_ns", in_hand_ns)
    started_s = time.monotonic()

    node._wait_for_worker()

    waited_s = time.monotonic() - started_s
    assert (waited_s >= PATIENCE_S) == waits_for_ever
    assert waits_for_ever or asked > looks  # the watch of a silent node asks too
