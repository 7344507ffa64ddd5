# SPDX-License-Identifier: Apache-2.0
"""A subscription whose messages are taken when they are wanted, not when they come.

For each message that arrives, rclpy looks at every subscription, timer, service and event of the
node, which costs more than receiving the message. Calibrations come as often as images and almost
never say anything new: taken together with the images, they cost next to nothing.

It has no events: a message that is not taken would make Fast DDS wake the executor again and again
for the event's sake. Publishers that offer too little are found in the graph, when asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.qos import QoSCompatibility, QoSProfile, qos_check_compatible
from rclpy.qos_overriding_options import QoSOverridingOptions

from simdistill_ros.qos_events import no_subscription_events


class PolledGroup(CallbackGroup):
    """Keeps what is in it from the executor."""

    def can_execute(self, entity: Any) -> bool:
        """Return whether the executor may wait for an entity."""
        return False

    def beginning_execution(self, entity: Any) -> bool:
        """Return whether the executor may begin."""
        return False

    def ending_execution(self, entity: Any) -> None:
        """Take no note."""


class PolledSubscription:
    """A subscription to serialized messages that `take` empties. Not thread-safe."""

    def __init__(self, node: Any, kind: Any, topic: str, qos: QoSProfile) -> None:
        """Subscribe.

        Args:
            node: The node.
            kind: Type of the messages.
            topic: The topic.
            qos: The depth bounds what can wait to be taken.
        """
        self.subscription = node.create_subscription(
            kind,
            topic,
            _never_called,
            qos,
            raw=True,
            callback_group=PolledGroup(),
            event_callbacks=no_subscription_events(),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )
        self._node = node
        self._kind = kind

    def take(self) -> Iterator[bytes]:
        """Yield the serialized messages that came since the last call, oldest first."""
        handle = self.subscription.handle
        with handle:
            while (taken := handle.take_message(self._kind, True)) is not None:
                yield taken[0]

    def refusal(self) -> str:
        """Return why messages of a publisher cannot come, as the middleware words it, or ""."""
        topic, qos = self.subscription.topic_name, self.subscription.qos_profile
        for endpoint in self._node.get_publishers_info_by_topic(topic):
            compatibility, reason = qos_check_compatible(endpoint.qos_profile, qos)
            if compatibility == QoSCompatibility.ERROR:
                return str(reason)
        return ""


def _never_called(data: bytes) -> None:
    raise AssertionError("a polled subscription was run by an executor")
