# SPDX-License-Identifier: Apache-2.0
"""The node on a real DDS graph: lifecycle, topics, contents, parameters."""

import importlib.util
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy")

from lifecycle_msgs.msg import State
from rclpy.parameter import Parameter
from rig_bench import CAMERAS, MS, RigBench
from visualization_msgs.msg import Marker

from simdistill_ros.conversions import stamp_ns_from_msg, velocities_from_msg
from simdistill_ros.parameters import NodeParameters


@pytest.mark.parametrize("compressed", [False, True])
def test_six_images_become_one_detection_array_with_the_newest_images_stamp(
    bench: RigBench, compressed: bool
) -> None:
    bench.start(compressed=compressed)
    bench.calibrate()

    answer = bench.detect_one()

    assert answer.header.frame_id == "base_link"
    assert len(answer.detections) == 1
    assert answer.detections[0].results[0].hypothesis.class_id == "car"
    snapshots = {snapshot.stamp_ns: snapshot for snapshot in bench.detector.snapshots}
    snapshot = snapshots[stamp_ns_from_msg(answer.header.stamp)]
    assert sorted(view.camera for view in snapshot.views) == sorted(CAMERAS)
    assert snapshot.spread_ns == 43 * MS
    for view in snapshot.views:
        level = 90 + 20 * CAMERAS.index(view.camera)
        assert abs(int(view.image.mean()) - level) <= 1  # no two cameras were swapped
        np.testing.assert_allclose(view.ego_from_cam[:3, 2], [1, 0, 0], atol=1e-9)


def test_velocities_markers_and_latency_come_with_the_same_stamp(bench: RigBench) -> None:
    bench.start()
    bench.calibrate()

    answer = bench.detect_one()

    assert bench.spin_until(lambda: bench.velocities and bench.markers and bench.latencies)
    assert bench.velocities[-1].header == answer.header
    np.testing.assert_allclose(velocities_from_msg(bench.velocities[-1]), [[3.0, 0.5]])
    cubes = [m for m in bench.markers[-1].markers if m.type == Marker.CUBE]
    assert [(m.ns, m.id) for m in cubes] == [("car", 0)]
    assert bench.latencies[-1].header.stamp == answer.header.stamp
    stages = {v.key for v in bench.latencies[-1].status[0].values}
    assert {"sync_wait_ms", "snapshot_ms", "inference_ms", "publish_ms", "overhead_ms"} <= stages


def test_nothing_found_is_published_as_an_empty_array(bench: RigBench) -> None:
    bench.start(score_threshold=0.9)
    bench.calibrate()

    assert len(bench.detect_one().detections) == 0


def test_the_score_threshold_may_change_while_the_node_runs(bench: RigBench) -> None:
    bench.start()
    bench.calibrate()
    assert len(bench.detect_one().detections) == 1
    assert bench.node is not None

    result = bench.node.set_parameters([Parameter("score_threshold", value=0.9)])

    assert result[0].successful
    assert len(bench.detect_one().detections) == 0


def test_a_read_only_parameter_cannot_change_while_the_node_runs(bench: RigBench) -> None:
    bench.start()
    assert bench.node is not None

    result = bench.node.set_parameters([Parameter("sync.tolerance_s", value=1.0)])

    assert not result[0].successful
    assert "read" in result[0].reason.lower()


def test_nothing_is_subscribed_until_the_node_is_active(bench: RigBench) -> None:
    bench.start(activate=False)
    node = bench.node
    assert node is not None
    topic = "/cam_front/image_rect"

    assert node.count_subscribers(topic) == 0
    node.trigger_configure()
    assert node.count_subscribers(topic) == 0
    node.trigger_activate()
    assert bench.spin_until(lambda: node.count_subscribers(topic) == 1)
    node.trigger_deactivate()
    assert bench.spin_until(lambda: node.count_subscribers(topic) == 0)


def test_cleanup_closes_the_detector_and_the_node_can_be_configured_again(
    bench: RigBench,
) -> None:
    bench.start()
    bench.calibrate()
    bench.detect_one()
    node = bench.node
    assert node is not None

    node.trigger_deactivate()
    node.trigger_cleanup()
    assert bench.detector.closed
    assert bench.node.autostart()

    bench.calibrate()
    assert len(bench.detect_one().detections) == 1


def test_an_unusable_model_leaves_the_node_alive_and_unconfigured(bench: RigBench) -> None:
    def no_model(parameters: NodeParameters) -> Any:
        raise FileNotFoundError("no model at '/nowhere'")

    bench.start(activate=False, detector_factory=no_model)
    assert bench.node is not None

    assert not bench.node.autostart()

    assert "no model at '/nowhere'" in bench.wait_for_fault("model", "not_configured")
    assert bench.node._state_machine.current_state[0] == State.PRIMARY_STATE_UNCONFIGURED


def test_an_output_frame_that_is_not_base_link_is_looked_up(bench: RigBench) -> None:
    bench.start(output_frame="cam_front_optical_frame")
    bench.calibrate()

    answer = bench.detect_one()

    assert answer.header.frame_id == "cam_front_optical_frame"
    position = answer.detections[0].bbox.center.position
    # (10, 1, 0.8) in base_link, seen by a camera 1 m up that looks along +x.
    np.testing.assert_allclose([position.x, position.y, position.z], [-1.0, 0.2, 10.0], atol=1e-9)


def test_every_parameter_has_a_description(bench: RigBench) -> None:
    bench.start()
    assert bench.node is not None
    names = [n for n in bench.node.list_parameters([], 10).names if not n.startswith("qos_over")]

    ours = [d for d in bench.node.describe_parameters(names) if d.name != "use_sim_time"]

    without = [d.name for d in ours if not d.description and "start_type_description" not in d.name]
    assert without == []


def test_a_slow_detector_drops_old_snapshots_not_new_ones(bench: RigBench) -> None:
    bench.start()
    bench.calibrate()
    bench.detect_one()
    bench.detector.delay_s = 0.4
    count = len(bench.detections)

    stamps = []
    for _ in range(6):
        stamps.append(bench.publish_cycle())
        bench.spin_until(lambda: False, 0.08)

    assert bench.spin_until(
        lambda: stamp_ns_from_msg(bench.detections[-1].header.stamp) == stamps[-1]
    )
    assert len(bench.detections) - count < 6


@pytest.mark.skipif(
    importlib.util.find_spec("message_filters") is None, reason="message_filters is not installed"
)
def test_the_message_filters_policy_detects_too(bench: RigBench) -> None:
    bench.start(sync__policy="message_filters")
    bench.calibrate()

    assert len(bench.detect_one().detections) == 1


def test_the_node_polls_also_when_every_round_of_messages_completes_a_set(
    bench: RigBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.start()
    assert bench.node is not None
    inputs = bench.node._inputs
    assert inputs is not None
    polls: list[int] = []
    now_ns = [10**12]
    monkeypatch.setattr("simdistill_ros.camera_inputs.time.monotonic_ns", lambda: now_ns[0])
    bench.node._message_thread.stop()
    bench.node._message_thread = None
    poll = inputs.poll
    monkeypatch.setattr(inputs, "poll", lambda: (polls.append(now_ns[0]), poll()))

    for _ in range(10):  # at 12 Hz
        now_ns[0] += 83_000_000
        inputs._has_handed_over = True
        inputs.after_round()

    assert 3 <= len(polls) <= 5
