# SPDX-License-Identifier: Apache-2.0
"""Look at the running graph: subscribe for some seconds to what the node would subscribe to.

Doctor subscribes with whatever QoS receives, and compares what publishers offer with what the node
would request; so it hears cameras that the node does not.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import rclpy
from lifecycle_msgs.srv import GetState
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import (
    DurabilityPolicy,
    QoSProfile,
    ReliabilityPolicy,
)

from simdistill_ros.doctor.host_facts import CpuMeter, machine_facts
from simdistill_ros.doctor.message_types import MESSAGE_CLASSES
from simdistill_ros.doctor.observations import NANOSECONDS, Endpoint, Plan, Rig
from simdistill_ros.doctor.recorder import Recorder

DISCOVERY_S = 1.0
LOOK_AGAIN_S = 0.25  # for topics that appear while doctor looks
DECODE_GAP_NS = 250_000_000  # decoding everything would take the load that doctor measures
DEPTH = 20
SERVICE_S = 1.0
DETECTIONS_TYPE = "vision_msgs/msg/Detection3DArray"
_RELIABILITIES = {
    ReliabilityPolicy.RELIABLE: "reliable",
    ReliabilityPolicy.BEST_EFFORT: "best_effort",
}
_DURABILITIES = {
    DurabilityPolicy.VOLATILE: "volatile",
    DurabilityPolicy.TRANSIENT_LOCAL: "transient_local",
}


def look_at_graph(plan: Plan, seconds: float, context: Context | None = None) -> Rig:
    """Return what the graph shows within some seconds.

    Args:
        plan: What the node is told.
        seconds: How long to look.
        context: The ROS context; None makes one and ends it.
    """
    if context is not None:
        return _Observer(plan, seconds, context).look()
    context = Context()
    rclpy.init(context=context)
    try:
        return _Observer(plan, seconds, context).look()
    finally:
        rclpy.shutdown(context=context)


class _Observer:
    """One look at the graph."""

    def __init__(self, plan: Plan, seconds: float, context: Context) -> None:
        self._plan = plan
        self._seconds = seconds
        self._context = context
        self._node = rclpy.create_node("doctor", context=context, start_parameter_services=False)
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self._node)
        self._subscribed: set[str] = set()

    def look(self) -> Rig:
        try:
            return self._look()
        finally:
            self._executor.remove_node(self._node)
            self._node.destroy_node()
            self._executor.shutdown()

    def _look(self) -> Rig:
        self._spin(DISCOVERY_S)
        meter = CpuMeter()
        self._recorder = Recorder(
            self._plan,
            start_ns=time.time_ns(),
            duration_ns=round(self._seconds * NANOSECONDS),
            decode_gap_ns=DECODE_GAP_NS,
        )
        end = time.monotonic() + self._seconds
        while (left_s := end - time.monotonic()) > 0:
            self._subscribe()
            self._spin(min(left_s, LOOK_AGAIN_S))
        end_ns = time.time_ns()
        busy = meter.busy()
        topics = self._topics()
        return self._recorder.rig(
            is_live=True,
            end_ns=end_ns,
            topics=topics,
            publishers={name: self._publishers(name) for name in topics},
            detector_states=self._detector_states(),
            machine=machine_facts(
                busy,
                rclpy.get_rmw_implementation_identifier(),
                with_gpu=self._plan.device != "cpu",
            ),
        )

    def _spin(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left_s := end - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left_s)

    def _topics(self) -> dict[str, str]:
        return {name: types[0] for name, types in self._node.get_topic_names_and_types()}

    def _publishers(self, topic: str) -> tuple[Endpoint, ...]:
        return tuple(
            Endpoint(
                node=f"{info.node_namespace.rstrip('/')}/{info.node_name}",
                type_name=info.topic_type,
                reliability=_RELIABILITIES.get(info.qos_profile.reliability, ""),
                durability=_DURABILITIES.get(info.qos_profile.durability, ""),
            )
            for info in self._node.get_publishers_info_by_topic(topic)
        )

    def _subscribe(self) -> None:
        """Subscribe to every wanted topic that has a publisher by now."""
        for topic in self._recorder.topics:
            publishers = () if topic in self._subscribed else self._publishers(topic)
            accepted = [p for p in publishers if self._recorder.accepts(topic, p.type_name)]
            if not accepted:
                continue
            self._subscribed.add(topic)
            for qos in _profiles(topic, publishers):
                self._node.create_subscription(
                    MESSAGE_CLASSES[accepted[0].type_name], topic, partial(self._take, topic), qos
                )

    def _take(self, topic: str, message: Any) -> None:
        self._recorder.take(topic, message, time.time_ns())

    def _detector_states(self) -> dict[str, str]:
        """Ask every lifecycle node that would publish detections for its state."""
        states = {}
        for name, types in self._node.get_service_names_and_types():
            node = name.removesuffix("/get_state")
            if node == name or "lifecycle_msgs/srv/GetState" not in types:
                continue
            if not self._is_detector(node):
                continue
            client = self._node.create_client(GetState, name)
            future = client.call_async(GetState.Request())
            self._executor.spin_until_future_complete(future, timeout_sec=SERVICE_S)
            if future.done() and future.result() is not None:
                states[node] = str(future.result().current_state.label)
            self._node.destroy_client(client)
        return states

    def _is_detector(self, node: str) -> bool:
        """Tell a detector by the topic it has, or, before it is configured, by its name."""
        publishers = self._publishers(f"{node}/detections")
        return any(p.type_name == DETECTIONS_TYPE for p in publishers) or node.endswith("/detector")


def _profiles(topic: str, publishers: tuple[Endpoint, ...]) -> list[QoSProfile]:
    """Return profiles with which every publisher of a topic is heard.

    What was latched is delivered to transient-local subscribers only, and a volatile publisher not
    to these; where both kinds share a topic there is a profile for each.
    """
    if not topic.startswith("/tf"):
        return [QoSProfile(depth=DEPTH, reliability=ReliabilityPolicy.BEST_EFFORT)]
    reliable = all(p.reliability == "reliable" for p in publishers)
    reliability = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
    wanted = {
        DurabilityPolicy.TRANSIENT_LOCAL if p.durability == "transient_local"
        else DurabilityPolicy.VOLATILE
        for p in publishers
    }  # fmt: skip
    return [QoSProfile(depth=100, reliability=reliability, durability=one) for one in wanted]
