# SPDX-License-Identifier: Apache-2.0
"""What the node publishes: detections with velocities and markers, and what they rest on.

All carry the snapshot's stamp; detections, velocities and markers the same frame and order.
Pictures are the business of `overlays.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from builtin_interfaces.msg import Duration
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import Point
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import LaserScan, PointCloud2
from std_msgs.msg import ColorRGBA
from vision_msgs.msg import Detection3DArray
from visualization_msgs.msg import Marker, MarkerArray

from simdistill_ros.conversions import (
    header_to_msg,
    quaternion_from_yaw,
    velocities_to_msg,
)
from simdistill_ros.core.boxes import Detections
from simdistill_ros.core.class_colors import color_of_class
from simdistill_ros.output_quality import OutputQuality, coverage_to_msg, quality_to_msg
from simdistill_ros.overlays import Overlays
from simdistill_ros.parameters import OverlayParameters
from simdistill_ros.qos_events import publisher_events, warn_of_refusal
from simdistill_ros.serialized_detections import detections_to_cdr

OUTPUT_QOS = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
ARROW_SECONDS = 1.0
SLOWEST_ARROW_MPS = 0.2
TEXT_HEIGHT_M = 0.6
NO_OVERLAYS = OverlayParameters()


class Outputs:
    """The publishers of a node, and the markers that are on display."""

    def __init__(self, node: Any, overlay: OverlayParameters = NO_OVERLAYS) -> None:
        """Create the lifecycle publishers."""
        self.overlays = Overlays(node, overlay)
        self._publishers = {
            name: node.create_lifecycle_publisher(
                kind,
                f"~/{name}",
                OUTPUT_QOS,
                event_callbacks=publisher_events(partial(warn_of_refusal, node, name)),
                qos_overriding_options=QoSOverridingOptions.with_default_policies(),
            )
            for name, kind in (
                ("detections", Detection3DArray),
                ("velocities", PointCloud2),
                ("markers", MarkerArray),
                ("coverage", LaserScan),
                ("quality", DiagnosticArray),
                ("latency", DiagnosticArray),
            )
        }
        # None: a display may still show what an earlier run of the node left there.
        self._shown: set[tuple[str, int]] | None = None

    def publish_detections(
        self, detections: Detections, seen: npt.NDArray[np.bool_] | None = None
    ) -> None:
        """Publish one snapshot's detections; an empty array when there are none.

        Args:
            detections: The boxes.
            seen: (M,) which boxes lie where an image looks; None: all.
        """
        self._publishers["velocities"].publish(velocities_to_msg(detections, seen))
        self._publishers["detections"].publish(detections_to_cdr(detections))

    def publish_markers(self, detections: Detections, lifetime_ns: int) -> None:
        """Draw the boxes, if anybody looks; they stay for a lifetime."""
        if self._publishers["markers"].get_subscription_count():
            markers, self._shown = markers_of(detections, lifetime_ns, self._shown)
            self._publishers["markers"].publish(markers)

    def publish_quality(self, quality: OutputQuality, unseen: int, frame: str, node: str) -> None:
        """Publish what an output rests on; `unseen` boxes lie where no image looks."""
        self._publishers["quality"].publish(quality_to_msg(quality, unseen, node))
        if self._publishers["coverage"].get_subscription_count():
            self._publishers["coverage"].publish(coverage_to_msg(quality, frame))

    def publish_latency(
        self,
        stamp_ns: int,
        durations_ns: Mapping[str, int],
        percentiles_ms: Mapping[str, Mapping[str, float]],
        node: str,
    ) -> None:
        """Publish the milliseconds that each stage of a snapshot took.

        Percentiles, where given, follow as a second status.
        """
        snapshot = {f"{stage}_ms": f"{ns / 1e6:.3f}" for stage, ns in durations_ns.items()}
        statuses = [_latency_status(f"{node}: latency", snapshot)]
        if percentiles_ms:
            values = percentile_values(percentiles_ms)
            statuses.append(_latency_status(f"{node}: latency percentiles", values))
        array = DiagnosticArray(header=header_to_msg("", stamp_ns), status=statuses)
        self._publishers["latency"].publish(array)

    def clear_markers(self) -> None:
        """Take every marker off the displays: nothing is said any more about what is there."""
        array = MarkerArray(markers=[Marker(action=Marker.DELETEALL)])
        self._publishers["markers"].publish(array)
        self._shown = None

    def destroy(self, node: Any) -> None:
        """Destroy the publishers."""
        self.overlays.destroy(node)
        for publisher in self._publishers.values():
            node.destroy_publisher(publisher)
        self._publishers.clear()


def percentile_values(percentiles_ms: Mapping[str, Mapping[str, float]]) -> dict[str, str]:
    """Return `<stage>_p50_ms` and so on with their milliseconds as text."""
    return {
        f"{stage}_{name}_ms": f"{value:.3f}"
        for stage, row in percentiles_ms.items()
        for name, value in row.items()
    }


def _latency_status(name: str, values: Mapping[str, str]) -> DiagnosticStatus:
    pairs = [KeyValue(key=key, value=value) for key, value in values.items()]
    return DiagnosticStatus(level=DiagnosticStatus.OK, name=name, values=pairs)


def markers_of(
    detections: Detections, lifetime_ns: int, shown: set[tuple[str, int]] | None
) -> tuple[MarkerArray, set[tuple[str, int]]]:
    """Return boxes, velocity arrows and texts as markers, and what is then on display.

    A class is a namespace (`car`; `car_velocity` for its arrows, `car_text` for its texts) and ids
    count within it, best score first, so a stream of markers reuses ids; those that vanish are
    deleted explicitly.

    Args:
        detections: The boxes.
        lifetime_ns: How long markers stay; 0: until they are deleted.
        shown: What is on display; None: not known, so all is deleted first.
    """
    header = header_to_msg(detections.frame, detections.stamp_ns)
    lifetime = Duration(sec=lifetime_ns // 10**9, nanosec=lifetime_ns % 10**9)
    counts: dict[str, int] = {}
    markers: list[Marker] = []
    for index, name in enumerate(detections.names()):
        number = counts.get(name, 0)
        counts[name] = number + 1
        red, green, blue = color_of_class(name)
        color = ColorRGBA(r=red, g=green, b=blue, a=0.4 + 0.5 * float(detections.scores[index]))
        markers.append(_box(detections, index, number, color))
        markers.append(_text(detections, index, number, ColorRGBA(r=red, g=green, b=blue, a=1.0)))
        if np.linalg.norm(detections.velocities_mps[index]) > SLOWEST_ARROW_MPS:
            markers.append(_arrow(detections, index, number, color))
    for marker in markers:
        marker.header, marker.lifetime = header, lifetime
    now_shown = {(marker.ns, marker.id) for marker in markers}
    if shown is None:
        deletions = [Marker(header=header, action=Marker.DELETEALL)]
    else:
        deletions = [
            Marker(header=header, ns=namespace, id=number, action=Marker.DELETE)
            for namespace, number in sorted(shown - now_shown)
        ]
    return MarkerArray(markers=deletions + markers), now_shown


def _box(detections: Detections, index: int, number: int, color: ColorRGBA) -> Marker:
    marker = Marker(ns=_name(detections, index), id=number, type=Marker.CUBE, color=color)
    position, scale = marker.pose.position, marker.scale
    position.x, position.y, position.z = detections.centers_m[index].tolist()
    marker.pose.orientation = quaternion_from_yaw(float(detections.yaws_rad[index]))
    scale.x, scale.y, scale.z = detections.sizes_lwh_m[index].tolist()
    return marker


def _text(detections: Detections, index: int, number: int, color: ColorRGBA) -> Marker:
    name = _name(detections, index)
    marker = Marker(ns=f"{name}_text", id=number, type=Marker.TEXT_VIEW_FACING, color=color)
    x, y, z = detections.centers_m[index].tolist()
    above_m = float(detections.sizes_lwh_m[index, 2]) / 2 + TEXT_HEIGHT_M
    marker.pose.position = Point(x=x, y=y, z=z + above_m)
    marker.pose.orientation.w = 1.0
    marker.scale.z = TEXT_HEIGHT_M
    marker.text = f"{name} {detections.scores[index]:.2f}"
    return marker


def _arrow(detections: Detections, index: int, number: int, color: ColorRGBA) -> Marker:
    namespace = f"{_name(detections, index)}_velocity"
    marker = Marker(ns=namespace, id=number, type=Marker.ARROW, color=color)
    x, y, z = detections.centers_m[index].tolist()
    dx, dy = (detections.velocities_mps[index] * ARROW_SECONDS).tolist()
    marker.points = [Point(x=x, y=y, z=z), Point(x=x + dx, y=y + dy, z=z)]
    marker.scale.x, marker.scale.y, marker.scale.z = 0.15, 0.35, 0.35
    marker.pose.orientation.w = 1.0
    return marker


def _name(detections: Detections, index: int) -> str:
    return detections.class_names[int(detections.labels[index])]
