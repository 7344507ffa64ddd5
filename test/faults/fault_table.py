# SPDX-License-Identifier: Apache-2.0
"""Every fault that is planted into a running node: what is done, what it must say, how it heals.

`test_faults.py` plants each; `docs/faults.md` is written from this table by `fault_page.py`.
"""

from __future__ import annotations

import array
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import rclpy
import simplejpeg
from diagnostic_msgs.msg import DiagnosticStatus
from faults.fault_bench import CAMERA, MS, OTHERS, FaultBench
from rig_bench import CAMERAS, HEIGHT, OFFSETS_NS, START_NS, WIDTH

from simdistill_ros.conversions import stamp_ns_from_msg, stamp_to_msg

ERROR, WARN = DiagnosticStatus.ERROR, DiagnosticStatus.WARN
STALE = DiagnosticStatus.STALE
LEVELS = {ERROR: "ERROR", WARN: "WARN", STALE: "STALE"}
NAN, INF = float("nan"), float("inf")


def good_again(bench: FaultBench) -> None:
    """Nothing needs to be done: good input is enough."""


def good_info(bench: FaultBench) -> None:
    bench.publish_infos((CAMERA,))


def good_transforms(bench: FaultBench) -> None:
    bench.publish_transforms()


@dataclass(frozen=True)
class Fault:
    """One planted fault.

    Attributes:
        name: What goes wrong, for people.
        group: message, clock, calibration, graph or process.
        plant: Makes it go wrong.
        cause: The word in `/diagnostics` and in the log.
        subject: Whose status says so.
        words: Parts of the sentence that goes with it.
        level: Of the status.
        heal: Puts right what good images alone do not.
        node: Which node it is planted into: raw, compressed, reliable or simulated.
        is_silent: Whether no detection may come of the spoilt cycles.
        is_answered: Whether detections must come of the spoilt cycles.
        is_passing: Whether another cause may take its place in the status at once, so that only
            the counters beside it are sure to show it.
        recovery: How it heals, for people.
    """

    name: str
    group: str
    plant: Callable[[FaultBench], None]
    cause: str
    subject: str = CAMERA
    words: tuple[str, ...] = ()
    level: bytes = ERROR
    heal: Callable[[FaultBench], None] = good_again
    node: str = "raw"
    is_silent: bool = True
    is_answered: bool = False
    is_passing: bool = False
    recovery: str = "with the next good image"


# -- pictures ----------------------------------------------------------------------------------


def picture(suffix: str, height: int = HEIGHT, width: int = WIDTH) -> bytes:
    pixels = np.full((height, width, 3), 90, np.uint8)
    progressive = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1] if suffix == ".jpg" else []
    return bytes(cv2.imencode(suffix, pixels, progressive)[1].tobytes())


def huge_jpeg() -> bytes:
    data = bytearray(simplejpeg.encode_jpeg(np.zeros((HEIGHT, WIDTH, 3), np.uint8)))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = (65_000).to_bytes(2, "big") * 2
    return bytes(data)


def scanned_jpeg() -> bytes:
    data = picture(".jpg")
    return data[:-2] + data[data.rfind(b"\xff\xda") : -2] * 100 + data[-2:]


def changed_png() -> bytes:
    data = bytearray(picture(".png"))
    data[-20] ^= 1
    return bytes(data)


def huge_png() -> bytes:
    data = bytearray(picture(".png"))
    data[16:24] = (50_000).to_bytes(4, "big") * 2
    return bytes(data)


def picture_fault(name: str, make: Callable[[Any], bytes], cause: str, *words: str) -> Fault:
    def plant(bench: FaultBench) -> None:
        def change(message: Any) -> None:
            message.data = array.array("B", make(bytes(message.data)))

        bench.cycles(change)

    return Fault(name, "message", plant, cause, words=words, node="compressed")


# -- raw images --------------------------------------------------------------------------------


def image_fault(name: str, change: Callable[[Any], None], cause: str, *words: str) -> Fault:
    return Fault(name, "message", lambda bench: bench.cycles(change), cause, words=words)


def shorter_step(message: Any) -> None:
    message.step -= 1


def shorter_data(message: Any) -> None:
    message.data = message.data[:-7]


def no_size(message: Any) -> None:
    message.height = message.width = message.step = 0
    message.data = array.array("B")


def other_encoding(message: Any) -> None:
    message.encoding = "banana"


def half_height(message: Any) -> None:
    message.height //= 2
    message.data = message.data[: message.step * message.height]


def a_line(message: Any) -> None:
    message.height, message.width, message.step = 20_000, 1, 3
    message.data = array.array("B", bytes(60_000))


def unknown_frame(message: Any) -> None:
    message.header.frame_id = "nobody"


def larger(message: Any) -> None:
    message.height, message.width, message.step = 2 * HEIGHT, 2 * WIDTH, 6 * WIDTH
    message.data = array.array("B", bytes(12 * HEIGHT * WIDTH))


def swapped_channels(message: Any) -> None:
    message.encoding = "bgr8"


def long_frame(message: Any) -> None:
    message.header.frame_id = "x" * 300


# -- clocks ------------------------------------------------------------------------------------


def zero_stamp(bench: FaultBench) -> None:
    bench.cycles(lambda message: setattr(message.header, "stamp", stamp_to_msg(0)))


def negative_stamp(bench: FaultBench) -> None:
    bench.cycles(lambda message: setattr(message.header, "stamp", stamp_to_msg(-5_000_000_000)))


def jump_back(bench: FaultBench) -> None:
    for cycle in range(3):
        bench.publish_cycle(at_ns=START_NS - 30_000 * MS + cycle * 83 * MS)
        bench.spin_until(lambda: False, 0.083)


def future_stamp(bench: FaultBench) -> None:
    stamps_ns = iter(range(time.time_ns() + 9_000 * MS, 2**62, 83 * MS))
    bench.cycles(lambda message: setattr(message.header, "stamp", stamp_to_msg(next(stamps_ns))))


def other_decade(bench: FaultBench) -> None:
    def change(message: Any) -> None:
        stamp_ns = stamp_ns_from_msg(message.header.stamp) + 10_000 * MS
        message.header.stamp = stamp_to_msg(stamp_ns)

    bench.cycles(change, count=8)


def no_clock(bench: FaultBench) -> None:
    bench.spin_until(lambda: bench.statuses_of("output", "no_clock"))


def start_clock(bench: FaultBench) -> None:
    from rosgraph_msgs.msg import Clock

    publisher = bench.rig.create_publisher(Clock, "/clock", 10)
    bench.spin_until(lambda: publisher.get_subscription_count() > 0)
    publisher.publish(Clock(clock=stamp_to_msg(START_NS)))


def fast_clock(bench: FaultBench) -> None:
    def change(message: Any) -> None:
        stamp_ns = stamp_ns_from_msg(message.header.stamp) + 35 * MS
        message.header.stamp = stamp_to_msg(stamp_ns)

    bench.cycles(change, count=12)


def second_stream(bench: FaultBench) -> None:
    intruder = bench.second_publisher()
    bench.spin_until(lambda: intruder.get_subscription_count() > 0)
    for _ in range(3):
        stamp_ns = bench.publish_cycle() - max(OFFSETS_NS.values()) + OFFSETS_NS[CAMERA]
        intruder.publish(bench.image(CAMERA, stamp_ns + 3 * MS))
        bench.spin_until(lambda: False, 0.083)
    bench.rig.destroy_publisher(intruder)


# -- calibration -------------------------------------------------------------------------------

K = [50.0, 0.0, 31.5, 0.0, 50.0, 17.5, 0.0, 0.0, 1.0]


def info_fault(name: str, cause: str, *words: str, **changes: Any) -> Fault:
    return Fault(
        name,
        "calibration",
        lambda bench: bench.info(**changes),
        cause,
        words=words,
        heal=good_info,
        recovery="with the next good CameraInfo",
    )


def k_with(at: int, value: float) -> list[float]:
    return [*K[:at], value, *K[at + 1 :]]


def no_info(bench: FaultBench) -> None:
    assert bench.node is not None
    bench.node.trigger_deactivate()
    bench.node.trigger_activate()
    bench.spin_until(lambda: bench.publisher(CAMERA).get_subscription_count() > 0)
    bench.publish_infos(OTHERS)
    bench.publish_transforms()
    bench.spin_until(lambda: False, 0.2)
    bench.cycles()


def moved_mount(bench: FaultBench) -> None:
    bench.transform(set_translation(0.5))
    bench.cycles()


def unworkable_geometry(bench: FaultBench) -> None:
    def fail(rig: object) -> None:
        raise ValueError("no table of this geometry")

    bench.detector.prepare_geometry = fail  # type: ignore[method-assign]
    bench.publish_infos((CAMERA,), k=k_with(2, 32.0), p=[0.0] * 12)
    bench.spin_until(lambda: bench.new_count("inference", "recalibration_failed"))


def workable_geometry(bench: FaultBench) -> None:
    del bench.detector.prepare_geometry
    good_info(bench)


# -- graph -------------------------------------------------------------------------------------


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


def driver_ends(bench: FaultBench) -> None:
    bench.stop_publishing()
    bench.publish_until(lambda: bench.statuses_of("output", "no_publisher"))


def driver_starts(bench: FaultBench) -> None:
    bench.spin_until(lambda: bench.publisher(CAMERA).get_subscription_count() > 0)


def two_publishers(bench: FaultBench) -> None:
    intruder = bench.second_publisher()
    bench.spin_until(lambda: bench.statuses_of(CAMERA, "2 publishers"))
    bench.rig.destroy_publisher(intruder)


def weak_publisher(bench: FaultBench) -> None:
    from faults.fault_bench import BEST_EFFORT

    intruder = bench.second_publisher(BEST_EFFORT)
    bench.spin_until(lambda: bench.new_count(CAMERA, "incompatible_qos"))
    bench.rig.destroy_publisher(intruder)


# -- process -----------------------------------------------------------------------------------


def raising(error: Exception) -> Callable[[FaultBench], None]:
    def plant(bench: FaultBench) -> None:
        bench.detector.failures.append(error)
        for _ in range(20):
            bench.cycles(count=1)
            if not bench.detector.failures:
                break

    return plant


def slow_inference(seconds: float, subject: str, cause: str) -> Callable[[FaultBench], None]:
    def plant(bench: FaultBench) -> None:
        bench.detector.delay_s = seconds
        for _ in range(100):
            bench.cycles(count=1)
            if bench.new_count(subject, cause):
                break

    return plant


def fast_inference(bench: FaultBench) -> None:
    bench.detector.delay_s = 0.0


def deactivated(bench: FaultBench) -> None:
    assert bench.node is not None
    bench.node.trigger_deactivate()
    for _ in range(100):
        bench.cycles(count=1)
        if bench.new_count("output", "node_inactive"):
            break


def active_again(bench: FaultBench) -> None:
    assert bench.node is not None
    bench.node.trigger_activate()
    bench.connect_cameras()
    bench.calibrate()


def failed_configure(error: Exception) -> Callable[[FaultBench], None]:
    def fail(parameters: object) -> Any:
        raise error

    def plant(bench: FaultBench) -> None:
        node = bench.node
        assert node is not None
        node.trigger_deactivate()
        node.trigger_cleanup()
        node._detector_factory = fail
        node.trigger_configure()
        bench.spin_until(lambda: bench.statuses_of("model", ""))

    return plant


def configured_again(bench: FaultBench) -> None:
    assert bench.node is not None
    bench.node._detector_factory = lambda parameters: bench.detector
    assert bench.node.autostart()
    bench.connect_cameras()
    bench.calibrate()


def twin_node(bench: FaultBench) -> None:
    twin = rclpy.create_node("detector", context=bench.context)
    bench.spin_until(lambda: bench.statuses_of("name", "duplicate_node"))
    twin.destroy_node()


FAULTS: tuple[Fault, ...] = (
    picture_fault("JPEG cut short", lambda d: d[: len(d) // 2], "undecodable"),
    picture_fault("data that is no picture", lambda d: b"not a picture", "undecodable"),
    picture_fault("no data", lambda d: b"", "empty"),
    picture_fault("JPEG whose header claims 65000 x 65000", lambda d: huge_jpeg(), "too_large"),
    picture_fault("JPEG of endless scans", lambda d: scanned_jpeg(), "too_large", "scans"),
    picture_fault("PNG with a changed byte", lambda d: changed_png(), "undecodable", "checksum"),
    picture_fault("PNG cut short", lambda d: picture(".png")[:-10], "undecodable"),
    picture_fault("PNG whose header claims 50000 x 50000", lambda d: huge_png(), "too_large"),
    picture_fault(
        "picture of another shape", lambda d: picture(".png", 40, 40), "aspect_ratio", "40x40"
    ),
    image_fault("step shorter than a row", shorter_step, "wrong_step"),
    image_fault("fewer bytes than step x height", shorter_data, "size_mismatch"),
    image_fault("size of zero", no_size, "empty"),
    image_fault("unknown encoding", other_encoding, "unknown_encoding", "banana"),
    image_fault("half of the rows", half_height, "aspect_ratio"),
    image_fault("an image one pixel wide", a_line, "too_large", "sides"),
    Fault(
        "images of another size in mid-stream", "message", lambda bench: bench.cycles(larger),
        "format_changed", words=("64x36", "128x72"), is_silent=False, is_passing=True,
        is_answered=True, recovery="at once: they are resized",
    ),
    Fault(
        "images of another encoding in mid-stream", "message",
        lambda bench: bench.cycles(swapped_channels), "format_changed", words=("rgb8", "bgr8"),
        is_silent=False, is_passing=True, is_answered=True, recovery="at once: they are converted",
    ),
    image_fault("frame_id that nobody publishes", unknown_frame, "unknown_frame", "nobody"),
    image_fault("frame_id of 300 characters", long_frame, "bad_frame", "300 characters"),
    Fault("stamp of zero", "clock", zero_stamp, "zero_stamp", words=("driver must stamp",)),
    Fault("stamp before 1970", "clock", negative_stamp, "zero_stamp"),
    Fault(
        "all stamps jump back half a minute", "clock", jump_back, "time_jump",
        subject="sync", level=WARN, is_silent=False, is_passing=True,
        recovery="at once: matching starts anew",
    ),
    Fault(
        "stamp in the future", "clock", future_stamp, "future_stamp", words=("s ahead of",),
        is_passing=True, recovery="with the next good image",
    ),
    Fault(
        "clock of a camera ten seconds fast", "clock", other_decade, "out_of_tolerance",
        words=("ms ahead of the other cameras'",), is_passing=True,
        recovery="when the clock is right again",
    ),
    Fault(
        "simulated time without a clock", "clock", no_clock, "no_clock", subject="output",
        words=("/clock",), node="simulated", heal=start_clock, recovery="with the first /clock",
    ),
    Fault(
        "clock of a camera 35 ms fast", "clock", fast_clock, "out_of_tolerance",
        words=("35.0 ms ahead of its place", "at most 15.0 ms"), is_silent=False,
        recovery="when the clock is right again",
    ),
    Fault(
        "two images of a camera in each cycle", "clock", second_stream, "duplicate_stamp",
        words=("second publisher",), is_silent=False, recovery="the rig's own go on being used",
    ),
    info_fault("K with a NaN", "not_finite", k=k_with(4, NAN)),
    info_fault("K with an infinity", "not_finite", k=k_with(2, INF)),
    info_fault("K of zeros (uncalibrated)", "uncalibrated", k=[0.0] * 9),
    info_fault("negative focal length", "bad_intrinsics", k=k_with(0, -50.0)),
    info_fault("focal length of 1e30 pixels", "bad_intrinsics", "focal", k=k_with(0, 1e30)),
    info_fault("K that is no pinhole", "bad_intrinsics", k=k_with(6, 1.0)),
    info_fault("R that is no rotation", "bad_rotation", "ignore_r", r=[1.0, 0.0, 0.0] * 3),
    info_fault("R with a NaN", "not_finite", r=[NAN, 0.0, 0, 0, 1, 0, 0, 0, 1]),
    info_fault("D with a NaN", "not_finite", d=[NAN, 0.0, 0.0, 0.0, 0.0]),
    info_fault("D of 1e30", "bad_distortion", d=[1e30, 0.0, 0.0, 0.0, 0.0]),
    info_fault("D of three coefficients", "distortion_length", d=[0.1, 0.1, 0.1]),
    info_fault("D of 5000 coefficients", "distortion_length", "5000", d=[0.1] * 5000),
    info_fault(
        "unknown distortion model", "unknown_distortion", "barrel",
        distortion_model="barrel", d=[0.1, 0.0, 0.0, 0.0, 0.0],
    ),
    info_fault("CameraInfo of size zero", "zero_size", width=0),
    info_fault("CameraInfo of another shape", "aspect_ratio", "not of this image", width=3 * WIDTH),
    Fault(
        "no CameraInfo of a camera", "calibration", no_info, "no_camera_info", heal=good_info,
        recovery="with its first CameraInfo",
    ),
    Fault(
        "CameraInfo that changes by much in mid-stream", "calibration",
        lambda bench: bench.info(k=k_with(0, 60.0), p=[0.0] * 12), "calibration_jump",
        words=("degrees", "expected at most 1.00"), is_silent=False, is_passing=True,
        heal=good_info, recovery="at once: it is worked in and used",
    ),
    Fault(
        "camera that moves by half a metre", "calibration", moved_mount, "calibration_jump",
        words=("moved by", "mounted anew"), is_silent=False, is_passing=True,
        heal=good_transforms, recovery="at once: it is worked in and used",
    ),
    Fault(
        "changed calibration that cannot be worked in", "calibration", unworkable_geometry,
        "recalibration_failed", subject="inference", words=("no table",), is_silent=False,
        heal=workable_geometry, recovery="with the next good calibration",
    ),
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
        "two publishers on a camera's topic", "graph", two_publishers, "duplicate_publisher",
        words=("2 publishers", "interleave"), level=WARN, is_silent=False,
        recovery="when one of them leaves",
    ),
    Fault(
        "publisher whose QoS does not match", "graph", weak_publisher, "incompatible_qos",
        words=("input.reliability",), node="reliable", is_silent=False, is_passing=True,
        recovery="with a publisher that matches",
    ),
    Fault(
        "inference raises (device lost)", "process", raising(RuntimeError("device lost")),
        "device_lost", subject="inference", words=("device lost",), is_silent=False,
        recovery="with the next set",
    ),
    Fault(
        "inference runs out of memory", "process", raising(MemoryError("no room")),
        "MemoryError", subject="inference", words=("no room",), is_silent=False,
        recovery="with the next set",
    ),
    Fault(
        "inference that does not come back", "process",
        slow_inference(1.6, "output", "inference_slow"), "inference_slow", subject="output",
        words=("has been in hand for",), is_silent=False, is_passing=True, heal=fast_inference,
        recovery="when it comes back",
    ),
    Fault(
        "inference slower than its deadline", "process",
        slow_inference(0.6, "latency", "deadline_missed"), "deadline_missed", subject="latency",
        words=("latency.deadline_s is 0.5",), level=WARN, is_silent=False, is_passing=True,
        heal=fast_inference, recovery="with the next detections in time",
    ),
    Fault(
        "node deactivated while images arrive", "process", deactivated, "node_inactive",
        subject="output", words=("activate it",), level=STALE, is_passing=True, heal=active_again,
        recovery="when it is activated",
    ),
    Fault(
        "configuring fails", "process", failed_configure(RuntimeError("no room on the device")),
        "not_configured", subject="model", words=("no room on the device",), heal=configured_again,
        recovery="when it is configured again",
    ),
    Fault(
        "exception in a transition", "process", failed_configure(KeyError("a bug")),
        "transition_failed", subject="model", words=("see the log",), heal=configured_again,
        recovery="through errorprocessing; when it is configured again",
    ),
    Fault(
        "second node of the same name", "process", twin_node, "duplicate_node", subject="name",
        words=("1 more named /detector",), is_silent=False, recovery="when one of them ends",
    ),
)  # fmt: skip
GROUPS = tuple(dict.fromkeys(fault.group for fault in FAULTS))
assert set(OTHERS) | {CAMERA} == set(CAMERAS)
