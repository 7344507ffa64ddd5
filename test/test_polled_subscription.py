# SPDX-License-Identifier: Apache-2.0
"""Calibrations are taken when they are wanted; the executor never sees them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from std_msgs.msg import Int32

from simdistill_ros.polled_subscription import PolledSubscription

RELIABLE = QoSProfile(depth=3, reliability=ReliabilityPolicy.RELIABLE)
BEST_EFFORT = QoSProfile(depth=3, reliability=ReliabilityPolicy.BEST_EFFORT)


@pytest.fixture
def nodes() -> Iterator[tuple[Any, Any, SingleThreadedExecutor]]:
    context = rclpy.Context()
    rclpy.init(context=context)
    talker = rclpy.create_node("talker", context=context)
    listener = rclpy.create_node("listener", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(listener)
    yield talker, listener, executor
    executor.shutdown()
    rclpy.shutdown(context=context)


def until(condition: Any, timeout_s: float = 10.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "it did not happen in time"
        time.sleep(0.02)


def numbers(subscription: PolledSubscription) -> list[int]:
    return [deserialize_message(data, Int32).data for data in subscription.take()]


def test_messages_wait_until_they_are_taken_and_come_in_order(nodes: Any) -> None:
    talker, listener, _ = nodes
    publisher = talker.create_publisher(Int32, "numbers", RELIABLE)
    subscription = PolledSubscription(listener, Int32, "numbers", RELIABLE)
    until(lambda: publisher.get_subscription_count() == 1)

    for number in (1, 2, 3):
        publisher.publish(Int32(data=number))
    taken: list[int] = []
    until(lambda: taken.extend(numbers(subscription)) or len(taken) == 3)

    assert taken == [1, 2, 3]
    assert numbers(subscription) == []


def test_only_as_many_wait_as_the_depth_allows(nodes: Any) -> None:
    talker, listener, _ = nodes
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    publisher = talker.create_publisher(Int32, "numbers", RELIABLE)
    marker = talker.create_publisher(Int32, "marker", latched)
    subscription = PolledSubscription(listener, Int32, "numbers", RELIABLE)
    seen = PolledSubscription(listener, Int32, "marker", latched)
    until(lambda: publisher.get_subscription_count() == 1)

    for number in range(8):
        publisher.publish(Int32(data=number))
    marker.publish(Int32(data=0))
    until(lambda: numbers(seen) == [0])
    time.sleep(0.2)

    assert numbers(subscription) == [5, 6, 7]


def test_a_message_that_waits_does_not_wake_the_executor(nodes: Any) -> None:
    talker, listener, executor = nodes
    publisher = talker.create_publisher(Int32, "numbers", RELIABLE)
    subscription = PolledSubscription(listener, Int32, "numbers", RELIABLE)
    until(lambda: publisher.get_subscription_count() == 1)
    publisher.publish(Int32(data=1))
    time.sleep(0.3)
    used_s, end_s = time.thread_time(), time.monotonic() + 1.0

    while time.monotonic() < end_s:
        executor.spin_once(timeout_sec=0.5)

    assert time.thread_time() - used_s < 0.3  # a busy executor takes the whole second
    assert numbers(subscription) == [1]


def test_a_publisher_that_offers_too_little_is_found(nodes: Any) -> None:
    talker, listener, _ = nodes
    subscription = PolledSubscription(listener, Int32, "numbers", RELIABLE)
    assert subscription.refusal() == ""

    talker.create_publisher(Int32, "numbers", BEST_EFFORT)
    until(lambda: subscription.refusal() != "")

    assert "reliab" in subscription.refusal().lower()
