# SPDX-License-Identifier: Apache-2.0
"""The bytes that are published are those of the message that they stand for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("rclpy")

from rclpy.serialization import deserialize_message
from vision_msgs.msg import Detection3DArray

from simdistill_ros.conversions import detections_to_msg
from simdistill_ros.core.boxes import Detections
from simdistill_ros.serialized_detections import detections_to_cdr

NAMES = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=20)


@st.composite
def detections(draw: Any) -> Detections:
    count = draw(st.integers(0, 12))
    names = tuple(draw(st.lists(NAMES, min_size=1, max_size=4)))
    generator = np.random.default_rng(draw(st.integers(0, 999)))
    return Detections(
        frame=draw(NAMES),
        stamp_ns=draw(st.integers(0, 2**31 * 10**9 - 1)),
        centers_m=generator.normal(0, 50, (count, 3)),
        sizes_lwh_m=generator.uniform(0.1, 20, (count, 3)),
        yaws_rad=generator.uniform(-np.pi, np.pi, count),
        velocities_mps=np.zeros((count, 2)),
        scores=generator.uniform(0, 1, count),
        labels=generator.integers(0, len(names), count),
        class_names=names,
    )


@given(detections())
def test_the_bytes_are_read_as_the_message(boxes: Detections) -> None:
    read = deserialize_message(detections_to_cdr(boxes), Detection3DArray)

    assert read == detections_to_msg(boxes)
