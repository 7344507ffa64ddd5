# SPDX-License-Identifier: Apache-2.0
"""Doctor looks at a real graph: publishers in a thread, doctor's own node in this one."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from recording import CAMERAS, Recording, copied, image_topic
from rig_stamp_faults import set_stamp
from sensor_msgs.msg import CameraInfo, CompressedImage
from tf2_msgs.msg import TFMessage

from simdistill_ros.doctor.cli import main
from simdistill_ros.doctor.diagnosis import diagnose
from simdistill_ros.doctor.findings import Severity
from simdistill_ros.doctor.live import look_at_graph
from simdistill_ros.doctor.parameter_file import plan_from_files

LOOK_S = 2.5
AGE_S = 0.05  # a camera's exposure, read-out and compression
TRIES = 4  # on a busy machine the rig itself may be late; doctor then looks again
# What depends on the machine that runs the test, not on the rig.
MACHINE = {"cpu_busy", "memory_low", "dropped_frames", "irregular_stamps", "sets_incomplete"}
MACHINE |= {"camera_silent"}
RELIABLE = QoSProfile(depth=20, reliability=ReliabilityPolicy.RELIABLE)
BEST_EFFORT = QoSProfile(depth=20, reliability=ReliabilityPolicy.BEST_EFFORT)
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class LiveRig:
    """Publishes a recording's cameras over and over, stamped with the present."""

    def __init__(self, domain: int, recording: Recording, qos: QoSProfile) -> None:
        self.context = Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = rclpy.create_node("rig", context=self.context)
        self._stop = threading.Event()
        self._static = self.node.create_publisher(TFMessage, "/tf_static", LATCHED)
        self._static.publish(next(e.message for e in recording if e.topic == "/tf_static"))
        messages = [e for e in recording if e.is_image or e.is_info]
        cycle = 2 * len(CAMERAS)
        # Every second cycle: 5 Hz are enough and leave time on a busy machine.
        self._entries = [e for i, e in enumerate(messages) if i // cycle % 2 == 0]
        self._publishers = {
            e.topic: self.node.create_publisher(
                CompressedImage if e.is_image else CameraInfo, e.topic, qos
            )
            for e in self._entries[: 2 * len(CAMERAS)]
        }
        self._thread = threading.Thread(target=self._play)
        self._thread.start()

    def _play(self) -> None:
        start_s, first_ns = time.time(), self._entries[0].arrival_ns
        rounds = 0.0
        while not self._stop.is_set():
            for entry in self._entries:
                due_s = start_s + rounds + (entry.arrival_ns - first_ns) / 1e9
                if self._stop.wait(max(0.0, due_s - time.time())):
                    return
                stamp_ns = round((due_s - AGE_S) * 1e9)
                message = entry.message
                if message.header.stamp.sec:
                    message = set_stamp(copied(message), stamp_ns)
                self._publishers[entry.topic].publish(message)
            rounds += 2.0

    def look_until(self, expected, plan=None):
        """Look until the findings are the expected ones; return the diagnosis."""
        for _ in range(TRIES):
            rig = look_at_graph(plan or plan_from_files([]), LOOK_S, self.context)
            diagnosis = diagnose(rig)
            if set(named(diagnosis)) == expected:
                break
        return diagnosis

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)


@pytest.fixture
def start(ros_domain):
    rigs = []

    def make(recording: Recording, qos: QoSProfile = RELIABLE) -> LiveRig:
        rigs.append(LiveRig(ros_domain, recording, qos))
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.close()


def named(diagnosis):
    found = {f.code: f for f in diagnosis.findings if f.severity is not Severity.INFO}
    return {code: finding for code, finding in found.items() if code not in MACHINE}


def test_a_healthy_graph_has_no_findings_and_shows_its_machine(start, recording):
    diagnosis = start(recording).look_until(set())
    assert named(diagnosis) == {}
    rig = diagnosis.rig
    assert rig.is_live
    assert all(len(camera.images) >= 5 for camera in rig.cameras)
    assert rig.machine is not None
    assert rig.machine.cores >= 1
    assert rig.machine.memory_free_bytes


def test_faults_of_a_graph_are_named_together(start, recording):
    """One look at four faults, since each look takes seconds."""

    def spoil(entry):
        if entry.camera == "cam_back" and entry.is_image:
            return replace(entry, message=set_stamp(copied(entry.message), 0))
        if entry.camera == "cam_front" and entry.is_image:
            return replace(entry, topic="/camera_front/image_rect_compressed")
        return entry

    rig = start([spoil(entry) for entry in recording], BEST_EFFORT)
    plan = replace(plan_from_files([]), reliability="reliable", use_sim_time=True)
    expected = {"stamp_zero", "topic_missing", "qos_incompatible", "clock_missing"}
    found = named(rig.look_until(expected, plan))
    assert set(found) == expected
    assert found["stamp_zero"].subjects == ("cam_back",)
    assert found["topic_missing"].subjects == ("cam_front",)
    assert found["topic_missing"].evidence["nearest"] == "/camera_front/image_rect_compressed"


def test_a_second_publisher_and_an_inactive_detector_are_named(start, recording):
    from rig_bench import OneBoxDetector

    from simdistill_ros.detector_node import DetectorNode

    rig = start(recording)
    rig.node.create_publisher(CompressedImage, image_topic("cam_back"), RELIABLE)
    detector = DetectorNode(lambda _: OneBoxDetector(), context=rig.context)
    executor = SingleThreadedExecutor(context=rig.context)
    executor.add_node(detector)
    thread = threading.Thread(target=executor.spin)
    thread.start()
    expected = {"two_publishers", "node_inactive"}
    try:
        found = named(rig.look_until(expected))
    finally:
        executor.shutdown()
        thread.join()
        detector.close()
        detector.destroy_node()
    assert set(found) == expected
    assert found["two_publishers"].subjects == ("cam_back",)
    assert "unconfigured" in found["node_inactive"].text


def test_the_command_looks_at_the_running_graph(ros_domain, monkeypatch, capsys):
    monkeypatch.setenv("ROS_DOMAIN_ID", str(ros_domain))
    assert main(["--seconds", "0.3"]) == 1
    report = capsys.readouterr().out
    assert "doctor: the running graph" in report
    assert "cam_back: nobody publishes /cam_back/image_rect_compressed" in report
