# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import threading

import numpy as np
import pytest

from simdistill_ros.core.frames import inverse, rigid, rotation_about_z, yaw_of_rotation
from simdistill_ros.core.transform_tree import (
    TransformError,
    TransformTree,
    interpolate,
    rigid_from_quaternion,
)

MS = 1_000_000
S = 1000 * MS


def pose(x_m=0.0, y_m=0.0, yaw_deg=0.0):
    return rigid(rotation_about_z(np.deg2rad(yaw_deg)), [x_m, y_m, 0.0])


@pytest.fixture
def tree():
    """Return a base that drives 10 m/s along x and turns 90 degrees a second, with two sensors."""
    tree = TransformTree(cache_ns=10 * S)
    for tenth in range(11):
        moved = pose(x_m=tenth, yaw_deg=9 * tenth)
        tree.set_transform("map", "base", 5 * S + tenth * 100 * MS, moved, static=False)
    tree.set_transform("base", "cam", 0, pose(x_m=1.5, yaw_deg=90), static=True)
    tree.set_transform("base", "lidar", 0, pose(y_m=2.0), static=True)
    return tree


def test_a_look_up_gives_target_from_source(tree):
    base_from_cam = tree.lookup("base", "cam", 0)
    np.testing.assert_allclose(base_from_cam @ [1, 0, 0, 1], [1.5, 1, 0, 1], atol=1e-12)
    np.testing.assert_allclose(tree.lookup("cam", "base", 0), inverse(base_from_cam), atol=1e-12)


def test_frames_are_joined_through_their_common_ancestor(tree):
    lidar_from_cam = tree.lookup("lidar", "cam", 123)
    np.testing.assert_allclose(lidar_from_cam, pose(1.5, -2.0, 90), atol=1e-12)


def test_a_static_edge_holds_at_all_times(tree):
    for stamp_ns in (0, 5 * S, 10**18):
        np.testing.assert_array_equal(tree.lookup("base", "cam", stamp_ns), pose(1.5, 0, 90))


def test_a_frame_is_the_identity_to_itself(tree):
    np.testing.assert_array_equal(tree.lookup("cam", "cam", 0), np.eye(4))


def test_a_sample_is_returned_at_its_own_stamp(tree):
    np.testing.assert_array_equal(tree.lookup("map", "base", 5 * S + 300 * MS), pose(3, 0, 27))


def test_between_two_samples_position_and_heading_are_interpolated(tree):
    map_from_base = tree.lookup("map", "base", 5 * S + 325 * MS)
    np.testing.assert_allclose(map_from_base[:3, 3], [3.25, 0, 0], atol=1e-9)
    assert np.rad2deg(yaw_of_rotation(map_from_base[:3, :3])) == pytest.approx(29.25)


def test_the_shorter_way_round_is_interpolated():
    half = interpolate(pose(yaw_deg=170), pose(yaw_deg=-170), 0.5)
    assert abs(np.rad2deg(yaw_of_rotation(half[:3, :3]))) == pytest.approx(180)


def test_two_equal_rotations_interpolate_to_themselves():
    np.testing.assert_allclose(interpolate(pose(0, 0, 33), pose(2, 0, 33), 0.25), pose(0.5, 0, 33))


def test_a_chain_of_moving_and_static_edges_is_multiplied_in_order(tree):
    map_from_cam = tree.lookup("map", "cam", 5 * S + S)
    np.testing.assert_allclose(map_from_cam, pose(10, 0, 90) @ pose(1.5, 0, 90), atol=1e-12)


def test_two_times_are_joined_through_a_fixed_frame(tree):
    base_t1_from_base_t0 = tree.lookup_fixed("base", 6 * S, "base", 5 * S, "map")
    np.testing.assert_allclose(base_t1_from_base_t0, inverse(pose(10, 0, 90)), atol=1e-12)


def test_a_frame_that_nobody_publishes_is_named(tree):
    with pytest.raises(TransformError, match="cam_x to base: nobody publishes cam_x") as caught:
        tree.lookup("base", "cam_x", 0)
    assert caught.value.cause == "unknown_frame"


def test_frames_of_two_trees_are_not_connected_and_the_roots_are_named(tree):
    tree.set_transform("odom", "wheel", 0, np.eye(4), static=True)
    with pytest.raises(TransformError, match=r"wheel to cam: .* odom and map") as caught:
        tree.lookup("cam", "wheel", 5 * S)
    assert caught.value.cause == "not_connected"


def test_a_stamp_after_the_newest_sample_is_the_future_by_so_many_ms(tree):
    with pytest.raises(
        TransformError, match=r"cam to map yet: .*map <- base is 25\.0 ms"
    ) as caught:
        tree.lookup("map", "cam", 6 * S + 25 * MS)
    assert caught.value.cause == "future"


def test_a_stamp_before_the_oldest_sample_is_the_past_by_so_many_ms(tree):
    with pytest.raises(TransformError, match=r"map <- base is 1000\.0 ms newer") as caught:
        tree.lookup("map", "cam", 4 * S)
    assert caught.value.cause == "past"


def test_a_fixed_look_up_fails_as_its_parts_do(tree):
    with pytest.raises(TransformError) as caught:
        tree.lookup_fixed("base", 7 * S, "cam", 6 * S, "map")
    assert caught.value.cause == "future"


def test_samples_out_of_order_are_sorted():
    tree = TransformTree(cache_ns=10 * S)
    for stamp_ns in (5 * S, 6 * S, 5 * S + 500 * MS):
        tree.set_transform("a", "b", stamp_ns, pose(x_m=stamp_ns / S), static=False)
    assert tree.lookup("a", "b", 5 * S + 250 * MS)[0, 3] == pytest.approx(5.25)
    assert tree.lookup("a", "b", 5 * S + 750 * MS)[0, 3] == pytest.approx(5.75)


def test_a_sample_of_the_same_stamp_replaces_the_first():
    tree = TransformTree(cache_ns=S)
    for x_m in (1.0, 2.0):
        tree.set_transform("a", "b", 5 * S, pose(x_m), static=False)
    assert tree.lookup("a", "b", 5 * S)[0, 3] == 2.0


def test_samples_older_than_the_cache_are_forgotten():
    tree = TransformTree(cache_ns=S)
    for stamp_ns in (5 * S, 6 * S, 6 * S + 1):
        tree.set_transform("a", "b", stamp_ns, pose(), static=False)
    tree.lookup("a", "b", 6 * S)
    with pytest.raises(TransformError) as caught:
        tree.lookup("a", "b", 6 * S - 1)
    assert caught.value.cause == "past"


def test_time_that_jumps_back_forgets_the_moving_edges_only(tree):
    tree.set_transform("map", "base", 2 * S, pose(7.0), static=False)
    assert tree.time_jumps == 1
    assert tree.lookup("map", "base", 2 * S)[0, 3] == 7.0
    with pytest.raises(TransformError, match="base to map yet"):
        tree.lookup("map", "base", 5 * S)
    tree.lookup("lidar", "cam", 0)


def test_clearing_forgets_the_moving_edges_only(tree):
    tree.clear_dynamic()
    tree.lookup("lidar", "cam", 0)
    with pytest.raises(TransformError):
        tree.lookup("map", "base", 5 * S)


def test_another_parent_wins_and_is_counted(tree):
    tree.set_transform("mast", "cam", 0, pose(x_m=9.0), static=True)
    assert tree.reparented == 1
    assert tree.lookup("mast", "cam", 0)[0, 3] == 9.0
    with pytest.raises(TransformError) as caught:
        tree.lookup("base", "cam", 0)
    assert caught.value.cause == "not_connected"


def test_frames_in_a_circle_end_in_an_error_or_an_answer_never_in_a_hang():
    tree = TransformTree(cache_ns=S)
    for parent, child in (("a", "b"), ("b", "c"), ("c", "a")):
        tree.set_transform(parent, child, 0, pose(1.0), static=True)
    assert tree.lookup("a", "b", 0).shape == (4, 4)
    with pytest.raises(TransformError):
        tree.lookup("a", "elsewhere", 0)


@pytest.mark.parametrize(
    ("parent", "child", "matrix", "message"),
    [
        ("a", "a", np.eye(4), "two different frames"),
        ("", "b", np.eye(4), "frame name of 1 to 255"),
        ("a", "b" * 256, np.eye(4), "256 characters"),
        ("a", "b\n[ERROR]", np.eye(4), "printable"),
        ("a", "b", np.full((4, 4), np.nan), "a <- b: expected a finite rigid transform"),
        ("a", "b", np.diag([2.0, 2.0, 2.0, 1.0]), "rigid"),
        ("a", "b", np.diag([1.0, 1.0, -1.0, 1.0]), "rigid"),
        ("a", "b", rigid(np.eye(3), [np.inf, 0, 0]), "finite"),
        ("a", "b", np.eye(3), "rigid"),
    ],
)
def test_what_is_not_a_transform_between_two_frames_is_refused(parent, child, matrix, message):
    with pytest.raises(ValueError, match=message):
        TransformTree(cache_ns=S).set_transform(parent, child, 0, matrix, static=True)


def test_a_stored_transform_does_not_change_with_the_callers_array():
    tree, matrix = TransformTree(cache_ns=S), pose(1.0)
    tree.set_transform("a", "b", 0, matrix, static=True)
    matrix[0, 3] = 5.0
    assert tree.lookup("a", "b", 0)[0, 3] == 1.0


def test_a_quaternion_and_a_translation_make_a_transform():
    half = np.sqrt(0.5)
    np.testing.assert_allclose(
        rigid_from_quaternion([half, 0, 0, half], [1, 2, 3]) @ [1, 0, 0, 1], [1, 3, 3, 1]
    )


@pytest.mark.parametrize(
    ("wxyz", "translation", "message"),
    [
        ([0, 0, 0, 0], [0, 0, 0], "length 1"),
        ([1.1, 0, 0, 0], [0, 0, 0], r"length 1, got .* of length 1\.1"),
        ([np.nan, 0, 0, 1], [0, 0, 0], "length 1"),
        ([1, 0, 0], [0, 0, 0], "length 1"),
        ([1, 0, 0, 0], [0, np.nan, 0], "finite translation"),
    ],
)
def test_a_quaternion_that_is_no_rotation_is_refused(wxyz, translation, message):
    with pytest.raises(ValueError, match=message):
        rigid_from_quaternion(wxyz, translation)


def test_reading_while_another_thread_writes_gives_whole_transforms():
    tree = TransformTree(cache_ns=S // 10)
    tree.set_transform("a", "b", S, pose(), static=False)
    done = threading.Event()

    def write():
        for tick in range(1, 2000):
            tree.set_transform("a", "b", S + tick * MS, pose(x_m=tick), static=False)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    causes = set()
    while not done.is_set():
        try:
            assert tree.lookup("a", "b", 2 * S)[0, 3] == pytest.approx(1000)
        except TransformError as error:
            causes.add(error.cause)
    writer.join()
    assert causes <= {"future", "past"}
    assert tree.lookup("a", "b", S + 1950 * MS)[0, 3] == pytest.approx(1950)


def test_frames_that_somebody_invents_without_end_do_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr("simdistill_ros.core.transform_tree.MAX_FRAMES", 3)
    tree = TransformTree(cache_ns=S)
    for number in range(3):
        tree.set_transform("a", f"frame_{number}", 0, np.eye(4), static=True)
    with pytest.raises(ValueError, match="at most 3 frames"):
        tree.set_transform("a", "one more", 0, np.eye(4), static=True)
    tree.set_transform("a", "frame_0", 0, np.eye(4), static=True)  # a known one may change


def test_samples_of_a_frame_are_bounded_however_close_their_stamps(monkeypatch):
    monkeypatch.setattr("simdistill_ros.core.transform_tree.MAX_SAMPLES", 50)
    tree = TransformTree(cache_ns=S)
    for stamp_ns in range(1000):
        tree.set_transform("a", "b", stamp_ns, np.eye(4), static=False)
    tree.lookup("a", "b", 999)
    tree.lookup("a", "b", 950)
    with pytest.raises(TransformError, match="oldest"):
        tree.lookup("a", "b", 900)


def test_a_translation_beyond_the_world_is_refused():
    with pytest.raises(ValueError, match="at most 1e"):
        rigid_from_quaternion([1, 0, 0, 0], [1e300, 0, 0])
