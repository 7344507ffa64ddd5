# SPDX-License-Identifier: Apache-2.0
import pytest

from simdistill_ros.replay.sample_record import SampleRecord, sample_from_json

SAMPLE = SampleRecord("t", "scene-0001", 50, {"cam_front": 30, "cam_back": 45})


def test_json_round_trip_keeps_everything():
    assert sample_from_json(SAMPLE.to_json()) == SAMPLE


def test_reference_stamp_is_the_newest_of_the_cameras_asked_for():
    assert SAMPLE.reference_stamp_ns(["cam_front", "cam_back"]) == 45
    assert SAMPLE.reference_stamp_ns(["cam_front"]) == 30


def test_missing_camera_is_named():
    with pytest.raises(ValueError, match="cam_left"):
        SAMPLE.reference_stamp_ns(["cam_left"])


@pytest.mark.parametrize("text", ["[]", '{"token": "t"}'])
def test_other_json_is_refused(text):
    with pytest.raises(ValueError, match="/nuscenes/sample"):
        sample_from_json(text)
