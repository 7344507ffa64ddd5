# SPDX-License-Identifier: Apache-2.0
"""What each fault does to a stream of messages, and what it leaves alone."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy")

from fault_streams import CAMERAS, MS, images_of, read, stamps_of, stream

from simdistill_ros.replay.faults.cdr_stamp import stamp_ns_of_cdr
from simdistill_ros.replay.faults.parse import FAULTS, FaultyStream, parse_fault


def planted(text, messages):
    return list(parse_fault(text).apply(iter(messages)))


def contents(messages):
    return [(m.topic, m.stamp_ns, str(read(m))) for m in messages]


def in_order(messages):
    return [m.stamp_ns for m in messages] == sorted(m.stamp_ns for m in messages)


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_the_same_for_the_same_seed_and_keeps_the_order_of_time(name):
    messages = stream(cycles=6)
    first, again = planted(f"{name}:seed=3", messages), planted(f"{name}:seed=3", messages)
    assert contents(first) == contents(again)  # bytes between fields are not defined
    assert contents(first) != contents(messages)
    assert in_order(first)


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_one_camera_leaves_the_others_alone(name):
    messages = stream(cycles=6)
    changed = planted(f"{name}:cameras=cam_back", messages)
    for camera in CAMERAS[:-1]:
        assert camera != "cam_back"
        assert images_of(changed, camera) == images_of(messages, camera)


def test_a_crashed_camera_is_silent_for_the_time_it_is_down_and_no_longer():
    messages = stream(cycles=10)
    changed = planted("camera_crash:cameras=cam_back,from_s=0.2,until_s=0.5", messages)
    start_ns = messages[0].stamp_ns
    times_s = [(m.stamp_ns - start_ns) / 1e9 for m in images_of(changed, "cam_back")]
    assert not [t for t in times_s if 0.2 <= t < 0.5]
    assert [t for t in times_s if t < 0.2]
    assert [t for t in times_s if t >= 0.5]
    gone = [m for m in messages if m not in changed]
    assert {m.topic for m in gone} == {"/cam_back/image_rect_compressed", "/cam_back/camera_info"}


def test_as_many_cameras_crash_as_are_asked_for_and_the_seed_says_which():
    choices = {parse_fault(f"camera_crash:cameras=2,seed={s}").struck_cameras for s in range(20)}
    assert all(len(set(cameras)) == 2 for cameras in choices)
    assert len(choices) > 5


def test_about_the_asked_share_of_frames_is_lost():
    messages = stream(cycles=300)
    changed = planted("frame_loss:probability=0.2", messages)
    lost = 1 - len(images_of(changed)) / len(images_of(messages))
    assert lost == pytest.approx(0.2, abs=0.03)
    assert len([m for m in messages if "camera_info" in m.topic]) == len(
        [m for m in changed if "camera_info" in m.topic]
    )


def test_what_is_lost_does_not_depend_on_what_else_is_planted():
    class Source:
        def messages(self):
            return iter(stream(cycles=50))

    loss, offset = parse_fault("frame_loss"), parse_fault("clock_offset:cameras=all")
    alone = list(FaultyStream(Source(), [loss]).messages())
    both = list(FaultyStream(Source(), [offset, loss]).messages())
    assert [(m.topic, m.stamp_ns) for m in alone] == [(m.topic, m.stamp_ns) for m in both]
    assert alone != both


def test_jitter_delays_delivery_up_to_its_bound_and_keeps_stamps():
    messages = stream(cycles=100)
    changed = planted("jitter:max_ms=40", messages)
    assert sorted(m.data for m in changed) == sorted(m.data for m in messages)
    delays = [m.stamp_ns - stamp_ns_of_cdr(m.data) for m in images_of(changed)]
    assert min(delays) >= 0
    assert 38 * MS < max(delays) <= 40 * MS
    assert stamps_of(changed, "cam_front") == stamps_of(messages, "cam_front")


def test_long_jitter_brings_images_of_a_camera_out_of_order():
    changed = planted("jitter:max_ms=300", stream(cycles=50))
    stamps = stamps_of(changed, "cam_front")
    assert stamps != sorted(stamps)


def test_a_clock_offset_moves_the_stamps_of_image_and_info_and_nothing_else():
    messages = stream(cycles=3)
    changed = planted("clock_offset:cameras=cam_front,offset_ms=-35", messages)
    for before, after in zip(messages, changed, strict=True):
        moved = stamp_ns_of_cdr(after.data) - stamp_ns_of_cdr(before.data)
        assert moved == (-35 * MS if "/cam_front/" in before.topic else 0)
        assert before.stamp_ns == after.stamp_ns
        assert before.data[12:] == after.data[12:]


def test_reordered_images_change_places_with_the_next_and_none_is_lost():
    messages = stream(cycles=200)
    changed = planted("reorder:probability=0.1", messages)
    before, after = stamps_of(messages, "cam_front"), stamps_of(changed, "cam_front")
    assert set(after) >= set(before[:-1])
    late = [i for i in range(len(after) - 1) if after[i] > after[i + 1]]
    assert 10 <= len(late) <= 30
    assert all(after[i + 1] == before[before.index(after[i]) - 1] for i in late)


def test_duplicated_images_come_twice_in_a_row():
    messages = stream(cycles=200)
    changed = planted("duplicate:probability=0.1", messages)
    stamps = stamps_of(changed, "cam_front")
    twice = [i for i in range(len(stamps) - 1) if stamps[i] == stamps[i + 1]]
    assert sorted(set(stamps)) == stamps_of(messages, "cam_front")
    assert 10 <= len(twice) <= 30
