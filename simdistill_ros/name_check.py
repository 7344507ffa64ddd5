# SPDX-License-Identifier: Apache-2.0
"""Notice a second node of the same name: both would publish on the same topics."""

from __future__ import annotations

from typing import Any

from simdistill_ros.health import Health

SUBJECT = "name"  # its own, so that it hides no other reason


def report_namesakes(node: Any, health: Health) -> int:
    """Report how many other nodes have this node's full name; return their number."""
    own = (node.get_name(), node.get_namespace())
    others = max(list(node.get_node_names_and_namespaces()).count(own) - 1, 0)
    if others:
        health.fault(
            SUBJECT,
            "duplicate_node",
            f"{others} more named {node.get_fully_qualified_name()}; their outputs mix: end one or "
            "start it with another name or namespace",
        )
    return others
