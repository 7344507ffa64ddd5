# SPDX-License-Identifier: Apache-2.0
"""What listens to the rig: the node, and the simplest programs that it is compared with.

`python -m benchmarks.load_subjects floor raw` runs until SIGTERM and ends with a line of JSON.
`floor` has typed subscriptions with empty callbacks, `bridge` converts each image as cv_bridge
does, `decoder` decodes JPEGs into one buffer, `node` is the detector node with a stub backend.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from benchmarks.load_rig import OFFSETS_MS, image_topic
from benchmarks.stub_backend import stub_detector
from simdistill_ros.conversions import encoded_from_msg
from simdistill_ros.core.images import Scratch, decode_image
from simdistill_ros.detector_node import DetectorNode

DEPTH = 2  # the node's default
WARM_UP_IMAGES = 100
PIPELINE_THREADS = ("decode", "detector", "preprocess")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Run one subject."""
    subject, kind = sys.argv[1], sys.argv[2]
    arguments = ["--ros-args", "-p", f"input.compressed:={'true' if kind == 'jpeg' else 'false'}"]
    rclpy.init(args=[sys.argv[0], *arguments, *sys.argv[3:]])
    report = run_node() if subject == "node" else run_plain(kind, callback_of(subject, kind))
    print(json.dumps(report), flush=True)
    rclpy.try_shutdown()


def callback_of(subject: str, kind: str) -> Callable[[Any], Any]:
    """Return what a plain subject does with an image."""
    if subject == "floor":
        return lambda message: None
    if subject == "decoder":
        scratch = Scratch()
        return lambda message: decode_image(encoded_from_msg(message), scratch)
    return _bridge(kind)


def _bridge(kind: str) -> Callable[[Any], Any]:
    """Return cv_bridge's conversion to rgb8, or where it is missing the same two OpenCV calls."""
    try:
        from cv_bridge import CvBridge
    except ImportError:
        return _like_bridge_jpeg if kind == "jpeg" else _like_bridge_raw
    bridge = CvBridge()
    convert = bridge.compressed_imgmsg_to_cv2 if kind == "jpeg" else bridge.imgmsg_to_cv2
    return lambda message: convert(message, "rgb8")


def _like_bridge_raw(message: Image) -> Any:
    rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, 3)
    return cv2.cvtColor(rows, cv2.COLOR_BGR2RGB)


def _like_bridge_jpeg(message: CompressedImage) -> Any:
    pixels = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_COLOR)
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def run_plain(kind: str, use: Callable[[Any], Any]) -> dict[str, Any]:
    """Subscribe to what the node subscribes to; return what was received."""
    node = rclpy.create_node("subject")
    qos = QoSProfile(depth=DEPTH, reliability=ReliabilityPolicy.BEST_EFFORT)
    received = dict.fromkeys(OFFSETS_MS, 0)

    def subscribe(camera: str) -> None:
        def on_image(message: Any) -> None:
            received[camera] += 1
            use(message)

        message_kind = CompressedImage if kind == "jpeg" else Image
        node.create_subscription(message_kind, image_topic(camera, kind), on_image, qos)
        node.create_subscription(CameraInfo, f"{camera}/camera_info", lambda message: None, qos)

    for camera in OFFSETS_MS:
        subscribe(camera)
    spin(node)
    node.destroy_node()
    return {"received": sum(received.values())}


def run_node() -> dict[str, Any]:
    """Run the node; return its counters and the processor time of its parts."""
    node = DetectorNode(lambda _: stub_detector())
    if not node.autostart():
        raise RuntimeError("the node did not become active; see its log")
    started_s: dict[str, float] = {}
    warm_up = threading.Thread(target=_note_start, args=(node, started_s), daemon=True)
    warm_up.start()
    spin(node)
    cpu_s = {part: after - started_s.get(part, 0.0) for part, after in cpu_of_parts(node).items()}
    parts = node._parts()
    assert parts.sync is not None
    assert parts.pipeline is not None
    health = node.health.snapshot()
    report = {
        "received": sum(health[c].received for c in OFFSETS_MS if c in health),
        "sync": {name: str(value) for name, value in parts.sync.values().items()},
        "pipeline": {name: str(value) for name, value in parts.pipeline.values().items()},
        "latency_ms": parts.pipeline.percentiles_ms(),
        "faults": {name: dict(one.counts) for name, one in health.items() if one.counts},
        "cpu_s": {part: round(seconds, 2) for part, seconds in cpu_s.items()},
    }
    node.close()
    node.destroy_node()
    return report


def _note_start(node: DetectorNode, started_s: dict[str, float]) -> None:
    """Note the processor time until images flow: discovery and first sets are not the load."""
    while sum(one.received for one in node.health.snapshot().values()) < WARM_UP_IMAGES:
        time.sleep(0.1)
    started_s.update(cpu_of_parts(node))


def spin(node: Any) -> None:
    """Spin until a signal ends the context."""
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except RuntimeError:  # what rclpy raises of a context that ended between two calls
        if rclpy.ok():
            raise


def cpu_of_parts(node: DetectorNode) -> dict[str, float]:
    """Return processor seconds of the node's parts.

    Receiving is all that is on no thread of the pipeline. Images are prepared on the decoding
    threads and on the worker's, which therefore are taken together and split by what the node says
    of decoding and resizing; what is left is the worker's own and the decoding threads' waking.
    """
    pipeline = node._parts().pipeline
    assert pipeline is not None
    names = {thread.native_id: thread.name for thread in threading.enumerate()}
    received = prepared = 0.0
    for task in Path("/proc/self/task").iterdir():
        try:
            fields = (task / "stat").read_text().rpartition(")")[2].split()
        except FileNotFoundError:  # a thread that has just ended
            continue
        seconds = (int(fields[11]) + int(fields[12])) / TICKS_PER_S
        if names.get(int(task.name), "").startswith(PIPELINE_THREADS):
            prepared += seconds
        else:
            received += seconds
    decode = pipeline.preparer.decode_cpu_ns / 1e9
    render = pipeline.preparer.render_cpu_ns / 1e9
    worker = max(prepared - decode - render, 0.0)
    return {"receive": received, "decode": decode, "render": render, "worker": worker}


if __name__ == "__main__":
    main()
