# SPDX-License-Identifier: Apache-2.0
"""An image graph of some of the cameras gives what one of all of them gives."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from simdistill_ros.core.backends.base import Tensors
from simdistill_ros.core.backends.camera_groups import CameraGroups


def brightness(images: np.ndarray) -> Tensors:
    return {"mean": images.mean((1, 2, 3), dtype=np.float32), "first": images[:, 0, 0]}


IMAGES = np.random.default_rng(0).integers(0, 256, (6, 4, 5, 3), np.uint8)


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("size", [1, 2, 3, 6])
def test_outputs_of_all_groups_are_joined_in_the_cameras_order(size: int, threads: int) -> None:
    sizes = []

    def run(images: np.ndarray) -> Tensors:
        sizes.append(len(images))
        return brightness(images)

    groups = CameraGroups(run, size, threads)
    outputs = groups(IMAGES)
    groups.close()
    assert sizes == [size] * (6 // size)
    for name, expected in brightness(IMAGES).items():
        np.testing.assert_array_equal(outputs[name], expected)


def test_two_groups_run_at_the_same_time() -> None:
    both = threading.Barrier(2, timeout=10)

    def run(images: np.ndarray) -> Tensors:
        both.wait()  # breaks unless the other group is running too
        return brightness(images)

    groups = CameraGroups(run, 3, 2)
    assert groups(IMAGES)["mean"].shape == (6,)
    groups.close()


def test_what_a_group_raises_on_its_thread_reaches_the_caller() -> None:
    def run(images: np.ndarray) -> Tensors:
        if images is not IMAGES and images[0, 0, 0, 0] == IMAGES[3, 0, 0, 0]:
            raise ValueError("the second half is broken")
        return brightness(images)

    groups = CameraGroups(run, 3, 2)
    with pytest.raises(ValueError, match="second half"):
        groups(IMAGES)
    groups.close()
