# SPDX-License-Identifier: Apache-2.0
"""Rigid transforms and quaternions."""

import numpy as np
import pytest

from simdistill_ros.core.frames import (
    angles_of,
    inverse,
    is_rotation,
    quaternion_from_rotation,
    rigid,
    rotation_about_z,
    rotation_from_quaternion,
    transform_points,
    wrap_angle,
    yaw_of_rotation,
)


def test_ninety_degrees_of_yaw_turns_x_into_y() -> None:
    ego_from_cam = rigid(rotation_about_z(np.pi / 2), [1, 2, 3])

    moved = transform_points(ego_from_cam, [[4.0, 0.0, 0.0]])

    np.testing.assert_allclose(moved, [[1.0, 6.0, 3.0]], atol=1e-12)


def test_inverse_undoes_a_transform_and_works_on_stacks() -> None:
    transforms = np.stack(
        [rigid(rotation_about_z(0.3), [1, 2, 3]), rigid(rotation_about_z(-2.0), [0, -5, 1])]
    )

    products = inverse(transforms) @ transforms

    np.testing.assert_allclose(products, np.stack([np.eye(4)] * 2), atol=1e-12)


def test_quaternion_of_ninety_degrees_about_z_is_known() -> None:
    half = np.sqrt(0.5)

    rotation = rotation_from_quaternion([half, 0, 0, half])

    np.testing.assert_allclose(rotation, [[0, -1, 0], [1, 0, 0], [0, 0, 1]], atol=1e-12)


@pytest.mark.parametrize("seed", range(20))
def test_quaternion_and_rotation_round_trip(seed: int) -> None:
    quaternion = np.random.default_rng(seed).normal(size=4)
    if seed < 4:  # half turns, where the scalar part is zero
        quaternion = np.eye(4)[seed] + 1e-9
    quaternion *= np.sign(quaternion[0]) / np.linalg.norm(quaternion)

    rotation = rotation_from_quaternion(quaternion)

    assert is_rotation(rotation, 1e-9)
    np.testing.assert_allclose(quaternion_from_rotation(rotation), quaternion, atol=1e-6)


@pytest.mark.parametrize("bad", [[0, 0, 0, 0], [np.nan, 0, 0, 1], [1, 0, 0]])
def test_a_quaternion_without_direction_is_refused(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="quaternion"):
        rotation_from_quaternion(bad)


def test_is_rotation_refuses_reflections_scaling_and_nan() -> None:
    assert is_rotation(rotation_about_z(1.0))
    assert not is_rotation(np.diag([1.0, 1.0, -1.0]))
    assert not is_rotation(2 * np.eye(3))
    assert not is_rotation(np.full((3, 3), np.nan))
    assert not is_rotation(np.eye(4))


def test_yaw_is_read_back_and_wrapped() -> None:
    assert yaw_of_rotation(rotation_about_z(2.5)) == pytest.approx(2.5)
    assert wrap_angle(np.pi) == pytest.approx(-np.pi)
    assert wrap_angle(-3 * np.pi / 2) == pytest.approx(np.pi / 2)


def test_angles_have_the_same_bits_wherever_the_arrays_lie_in_memory() -> None:
    rng = np.random.default_rng(0)
    table = rng.normal(size=(500, 10))
    expected = angles_of(table[:, 6], table[:, 7])
    np.testing.assert_allclose(expected, np.arctan2(table[:, 6], table[:, 7]), rtol=1e-14)
    elsewhere = []
    for _ in range(300):
        elsewhere.append(np.zeros(int(rng.integers(1, 9000)), dtype=np.uint8))
        moved = table.copy()
        np.testing.assert_array_equal(angles_of(moved[:, 6], moved[:, 7]), expected)
