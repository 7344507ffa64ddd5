# SPDX-License-Identifier: Apache-2.0
"""Which parameters may change when, and why not: the answer to `ros2 param set`.

What changes nothing but the next snapshot may change at any time. The rest is read when the node is
configured, or when it starts, and is refused afterwards with that reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from rcl_interfaces.msg import SetParametersResult

from simdistill_ros.parameters import LIVE_PARAMETERS, OURS, START_PARAMETERS, choices_of


class ParameterGuard:
    """Accept or refuse changes of a node's parameters."""

    def __init__(
        self, node: Any, configured_cameras: Callable[[], int], on_change: Callable[[], None]
    ) -> None:
        """Answer for a node from now on.

        Args:
            node: The node.
            configured_cameras: Returns the number of its cameras; zero while it is not configured.
            on_change: Called when parameters have new values; never by Humble's rclpy.
        """
        self._node = node
        self._configured_cameras = configured_cameras
        node.add_on_set_parameters_callback(self.answer)
        if hasattr(node, "add_post_set_parameters_callback"):  # Iron and later
            node.add_post_set_parameters_callback(lambda parameters: on_change())

    def answer(self, parameters: Iterable[Any]) -> SetParametersResult:
        """Return whether all these parameters may take their new values, and why not."""
        for parameter in parameters:
            reason = self._objection(parameter.name, parameter.value)
            if reason:
                return SetParametersResult(successful=False, reason=reason)
        return SetParametersResult(successful=True)

    def _objection(self, name: str, value: Any) -> str:
        if name not in OURS and not name.startswith("cameras."):
            return ""
        choices = choices_of(name)
        if choices and value not in choices:
            return f"{name}: expected {', '.join(choices)}; got {value!r}"
        if name in START_PARAMETERS:
            return f"{name} is read once, when the node starts: set it in the launch file"
        if name in LIVE_PARAMETERS:
            return self._live_objection(name, value)
        if self._configured_cameras():
            return (
                f"{name} is read when the node is configured: deactivate and clean it up first, "
                "or set it in the launch file"
            )
        return ""

    def _live_objection(self, name: str, value: Any) -> str:
        cameras = self._configured_cameras()
        if name == "sync.missing.min_cameras" and cameras and value > cameras:
            return f"{name}: expected at most {cameras}, the number of cameras; got {value}"
        is_foreign = self._node.get_parameter("sync.policy").value == "message_filters"
        if name == "sync.missing.policy" and value != "drop" and is_foreign:
            return f"{name}: message_filters only drops; configure with sync.policy native"
        return ""
