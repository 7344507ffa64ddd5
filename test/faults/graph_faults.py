# SPDX-License-Identifier: Apache-2.0
"""Faults of transforms, publishers and cameras that are lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import rclpy
from faults.fault_bench import BEST_EFFORT, CAMERA, CYCLE_S, OTHERS, FaultBench
from faults.planted_fault import WARN, Fault, good_transforms
from rclpy.context import Context
from rig_bench import CAMERAS, OFFSETS_NS, RELIABLE
from sensor_msgs.msg import CompressedImage

from simdistill_ros.conversions import header_to_msg

NAN = float("nan")
FRAME = f"{CAMERA}_optical_frame"


def transform_fault(name: str, change: Callable[[Any], None], *words: str) -> Fault:
    return Fault(
        name,
        "graph",
        lambda bench: bench.transform(change),
        "bad_transform",
        subject="sync",
        words=words,
        recovery="at once: the transform that holds is kept",
    )


def set_rotation(w: float) -> Callable[[Any], None]:
    return lambda message: setattr(message.transform.rotation, "w", w)


def set_child(name: str) -> Callable[[Any], None]:
    return lambda message: setattr(message, "child_frame_id", name)


def set_translation(x: float) -> Callable[[Any], None]:
    return lambda message: setattr(message.transform.translation, "x", x)


def other_root(bench: FaultBench) -> None:
    bench.transform(lambda message: setattr(message.header, "frame_id", "elsewhere"))
    bench.cycles()


def silent_camera(bench: FaultBench) -> None:
    bench.publish_until(lambda: bench.statuses_of(CAMERA, "silent"))


def missing_in_sets(bench: FaultBench) -> None:
    bench.publish_until(lambda: bench.new_count(CAMERA, "missing_in_set"))


def lost_camera(policy: str) -> Callable[[FaultBench], None]:
    cause = {"blank": "missing_in_set", "hold": "held_in_set"}[policy]

    def plant(bench: FaultBench) -> None:
        bench.set_live("sync.missing.hold_s", 10.0)
        bench.set_live("sync.missing.policy", policy)
        bench.spin_until(lambda: False, 0.15)
        bench.cycles(count=2)
        bench.spoilt_ns.clear()
        bench.publish_until(lambda: bench.statuses_of(CAMERA, cause))
        bench.cycles(cameras=OTHERS, count=2)

    return plant


def drop_again(bench: FaultBench) -> None:
    bench.set_live("sync.missing.policy", "drop")


def lost_images(bench: FaultBench) -> None:
    for _ in range(60):
        if bench.statuses_of("output", "images_lost"):
            return
        newest_ns = bench.publish_cycle(cameras=OTHERS)
        stamp_ns = newest_ns - max(OFFSETS_NS.values()) + OFFSETS_NS[CAMERA]
        bench.publish_infos((CAMERA,), header=header_to_msg(FRAME, stamp_ns))
        bench.spin_until(lambda: False, CYCLE_S)


def other_type(bench: FaultBench) -> None:
    topic = bench.publisher(CAMERA).topic
    bench.stop_publishing()
    context = Context()  # a context has one type a topic
    rclpy.init(context=context, domain_id=bench.context.get_domain_id())
    driver = rclpy.create_node("driver", context=context)
    driver.create_publisher(CompressedImage, topic, RELIABLE)
    bench.publish_until(lambda: bench.statuses_of("output", "wrong_type"))
    driver.destroy_node()
    context.shutdown()


def never_started(bench: FaultBench) -> None:
    assert bench.node is not None
    bench.node.trigger_deactivate()
    bench.stop_publishing()
    bench.node.trigger_activate()
    bench.calibrate()
    bench.spin_until(lambda: False, 0.3)  # until nothing is said of the time before
    bench.statuses.clear()
    bench.publish_until(lambda: bench.statuses_of("output", "no_publisher"))


def driver_ends(bench: FaultBench) -> None:
    bench.stop_publishing()
    bench.publish_until(lambda: bench.statuses_of("output", "no_publisher"))


def driver_starts(bench: FaultBench) -> None:
    bench.spin_until(lambda: bench.publisher(CAMERA).get_subscription_count() > 0)


def two_publishers(bench: FaultBench) -> None:
    intruder = bench.second_publisher()
    bench.publish_until(lambda: bench.statuses_of(CAMERA, "2 publishers"), cameras=CAMERAS)
    bench.rig.destroy_publisher(intruder)


def weak_publisher(bench: FaultBench) -> None:
    intruder = bench.second_publisher(BEST_EFFORT)
    bench.spin_until(lambda: bench.new_count(CAMERA, "incompatible_qos"))
    bench.rig.destroy_publisher(intruder)


GRAPH_FAULTS: tuple[Fault, ...] = (
    transform_fault("transform with a NaN", set_translation(NAN), "finite"),
    transform_fault("transform beyond the world", set_translation(1e300), "at most"),
    transform_fault("transform whose quaternion is not of length 1", set_rotation(2.0), "length 1"),
    transform_fault("transform from a frame to itself", set_child("base_link"), "different frames"),
    transform_fault("frame name with a line break", set_child("a\n[ERROR] b"), "printable"),
    transform_fault("frame without a name", set_child(""), "1 to 255"),
    Fault(
        "camera mounted on another vehicle's tree", "graph", other_root, "not_connected",
        words=("base_link", f"{CAMERA}_optical_frame"), heal=good_transforms,
        recovery="when its transform comes back",
    ),
    Fault(
        "camera stops sending", "graph", silent_camera, "silent", words=("no image for",),
        recovery="with its next image",
    ),
    Fault(
        "camera lost, policy drop", "graph", missing_in_sets, "missing_in_set",
        words=("last one",), recovery="with its next image",
    ),
    Fault(
        "camera lost, policy blank", "graph", lost_camera("blank"), "missing_in_set",
        words=("a set goes on without it",), is_silent=False, is_answered=True, heal=drop_again,
        recovery="with its next image; sets go on meanwhile",
    ),
    Fault(
        "camera lost, policy hold", "graph", lost_camera("hold"), "held_in_set",
        words=("stands in",), is_silent=False, is_answered=True, heal=drop_again,
        recovery="with its next image; sets go on meanwhile",
    ),
    Fault(
        "camera's driver ends", "graph", driver_ends, "no_publisher", subject="output",
        words=(f"{CAMERA}: nobody publishes", "any more"), heal=driver_starts,
        recovery="when the driver is started again",
    ),
    Fault(
        "camera's driver was never started", "graph", never_started, "no_publisher",
        subject="output", words=(f"{CAMERA}: nobody publishes",), heal=driver_starts,
        recovery="when the driver is started",
    ),
    Fault(
        "the other kind of image on a camera's topic", "graph", other_type, "wrong_type",
        subject="output", words=("carries sensor_msgs/msg/CompressedImage", "input.compressed"),
        heal=driver_starts, recovery="with a publisher of the right type",
    ),
    Fault(
        "images lost on the way, their CameraInfo not", "graph", lost_images, "images_lost",
        subject="output", words=(CAMERA, "did not arrive although their CameraInfo did",),
        recovery="with the images that arrive",
    ),
    Fault(
        "two publishers on a camera's topic", "graph", two_publishers, "duplicate_publisher",
        words=("2 publishers", "interleave"), level=WARN, is_silent=False,
        recovery="when one of them leaves",
    ),
    Fault(
        "publisher whose QoS does not match", "graph", weak_publisher, "incompatible_qos",
        words=("input.reliability",), node="reliable", is_silent=False, is_passing=True,
        recovery="with a publisher that matches",
    ),
)  # fmt: skip
