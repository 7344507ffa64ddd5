# SPDX-License-Identifier: Apache-2.0
"""Which events of a topic the node listens to: a refused QoS, and nothing else.

rclpy looks at every event of every topic for each message that it takes; with its default events
that costs more than the messages' own callbacks. What those would log of wrong types, the monitor
finds in the graph and names with the fix.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.qos import qos_policy_name_from_kind

try:  # Iron and later
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks

OnPolicy = Callable[[str], None]


def no_subscription_events() -> SubscriptionEventCallbacks:
    """Return what listens to no event."""
    return SubscriptionEventCallbacks(use_default_callbacks=False)


def publisher_events(on_refused: OnPolicy) -> PublisherEventCallbacks:
    """Return what calls `on_refused` with the policy in which a subscriber asks for too much."""
    return PublisherEventCallbacks(
        incompatible_qos=lambda event: on_refused(_policy(event)), use_default_callbacks=False
    )


def warn_of_refusal(node: Any, name: str, policy: str) -> None:
    """Log that a subscriber of a topic of the node asks for more than the node offers."""
    node.get_logger().warning(
        f"a subscriber of ~/{name} asks for more of the QoS policy {policy} than this node offers; "
        "it receives nothing. Set qos_overrides or change the subscriber"
    )


def _policy(event: Any) -> str:
    return str(qos_policy_name_from_kind(event.last_policy_kind)).lower()
