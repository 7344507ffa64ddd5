# SPDX-License-Identifier: Apache-2.0
"""Messages of a few subscriptions come to a thread of their own, whatever the executor does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("rclpy")

import rclpy
from rclpy.context import Context
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from std_msgs.msg import Int32

from simdistill_ros.message_thread import MessageThread
from simdistill_ros.polled_subscription import PolledSubscription

RELIABLE = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
TOPICS = ("numbers", "others")


class Talk:
    """A talker and a listening thread in a context of their own."""

    def __init__(self, domain: int, on_number: Callable[[int], None]) -> None:
        self.context = Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = rclpy.create_node("talk", context=self.context)
        self.publishers = {t: self.node.create_publisher(Int32, t, RELIABLE) for t in TOPICS}
        self.heard: list[tuple[str, int]] = []
        self.errors: list[tuple[str, BaseException]] = []
        self.subscriptions = {
            topic: PolledSubscription(self.node, Int32, topic, RELIABLE) for topic in TOPICS
        }

        self.rounds = 0
        self._on_number = on_number
        self.thread = MessageThread(self.context, [self], "listener")
        self.thread.start()
        self.until(lambda: all(p.get_subscription_count() for p in self.publishers.values()))

    def on_message(self, topic: str, data: bytes) -> None:
        number = deserialize_message(data, Int32).data
        self._on_number(number)
        self.heard.append((topic, number))

    def on_error(self, topic: str, error: BaseException) -> None:
        self.errors.append((topic, error))

    def after_round(self) -> None:
        self.rounds += 1

    def say(self, topic: str, number: int) -> None:
        self.publishers[topic].publish(Int32(data=number))

    def until(self, condition: Callable[[], Any]) -> None:
        deadline_s = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < deadline_s, "it did not happen in time"
            time.sleep(0.01)

    def close(self) -> None:
        self.thread.stop()
        for polled in self.subscriptions.values():
            self.node.destroy_subscription(polled.subscription)
        self.node.destroy_node()
        self.context.try_shutdown()


def test_messages_of_every_topic_come_in_order_and_none_after_the_stop(ros_domain: int) -> None:
    talk = Talk(ros_domain, lambda number: None)
    for number in range(5):
        talk.say("numbers", number)
        talk.say("others", 10 + number)
    talk.until(lambda: len(talk.heard) == 10)
    talk.thread.stop()
    talk.say("numbers", 99)
    time.sleep(0.1)

    for topic, first in (("numbers", 0), ("others", 10)):
        assert [n for t, n in talk.heard if t == topic] == list(range(first, first + 5))
    talk.close()


def test_an_error_of_the_callback_is_told_and_the_next_message_is_taken(ros_domain: int) -> None:
    def refuse_seven(number: int) -> None:
        if number == 7:
            raise ValueError("seven")

    talk = Talk(ros_domain, refuse_seven)
    for number in (7, 8):
        talk.say("others", number)
    talk.until(lambda: talk.heard)

    assert talk.heard == [("others", 8)]
    assert [(topic, str(error)) for topic, error in talk.errors] == [("others", "seven")]
    talk.close()


def test_a_source_is_asked_several_times_a_second_also_when_nothing_comes(ros_domain: int) -> None:
    talk = Talk(ros_domain, lambda number: None)

    talk.until(lambda: talk.rounds >= 5)

    assert talk.heard == []
    talk.close()


def test_a_message_that_cannot_be_taken_is_told_and_the_thread_lives(
    ros_domain: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk = Talk(ros_domain, lambda number: None)
    polled = talk.subscriptions["others"]
    take = polled.take

    def fail() -> Any:
        monkeypatch.setattr(polled, "take", take)
        raise RuntimeError("no memory")

    monkeypatch.setattr(polled, "take", fail)
    talk.say("others", 5)
    talk.until(lambda: talk.heard)

    assert talk.heard == [("others", 5)]
    assert ("others", "no memory") in [(topic, str(error)) for topic, error in talk.errors]
    talk.close()


@pytest.mark.parametrize("pause_s", [0.0, 0.3])
def test_the_thread_ends_with_its_context(ros_domain: int, pause_s: float) -> None:
    talk = Talk(ros_domain, lambda number: None)

    talk.context.shutdown()
    time.sleep(pause_s)
    talk.close()

    assert not talk.thread._thread.is_alive()
