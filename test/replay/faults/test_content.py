# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy")

from fault_streams import images_of, picture, read, stream
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo
from tf2_msgs.msg import TFMessage

from simdistill_ros.conversions import image_from_msg
from simdistill_ros.core.frames import rotation_from_quaternion
from simdistill_ros.core.images import ImageError
from simdistill_ros.replay.faults.parse import parse_fault


def planted(text, messages):
    return list(parse_fault(text).apply(iter(messages)))


def first_pictures(text, raw):
    return [image_from_msg(read(m)) for m in images_of(planted(text, stream(1, raw)))]


@pytest.mark.parametrize(("raw", "cause"), [(False, "undecodable"), (True, "size_mismatch")])
def test_a_corrupt_image_cannot_be_decoded_and_keeps_its_header(raw, cause):
    messages = stream(4, raw)
    changed = planted("corrupt:probability=1", messages)
    for before, after in zip(images_of(messages), images_of(changed), strict=True):
        with pytest.raises(ImageError) as caught:
            image_from_msg(read(after))
        assert caught.value.cause == cause
        assert read(after).header == read(before).header


@pytest.mark.parametrize("raw", [False, True])
def test_blur_takes_the_contrast_of_fine_structures_and_keeps_the_light(raw):
    for pixels in first_pictures("blur:sigma_px=6", raw):
        assert pixels.std() < 0.5 * picture().std()
        assert pixels.mean() == pytest.approx(picture().mean(), abs=2)


@pytest.mark.parametrize("raw", [False, True])
def test_darkness_takes_the_light_and_adds_noise(raw):
    for pixels in first_pictures("darkness:brightness=0.2,noise=5", raw):
        assert pixels.mean() == pytest.approx(0.2 * picture().mean(), abs=3)
        flat = pixels[picture() == 30].astype(float)
        assert flat.std() > 2


def test_a_knocked_camera_is_turned_by_the_asked_angle_and_its_place_is_kept():
    messages = stream(1)
    (after,) = [m for m in planted("calibration_drift:degrees=3,cameras=cam_back", messages)
                if m.topic == "/tf_static"]  # fmt: skip
    for transform in deserialize_message(after.data, TFMessage).transforms:
        q = transform.transform.rotation
        rotation = rotation_from_quaternion([q.w, q.x, q.y, q.z])
        angle = np.degrees(np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1, 1)))
        expected = 3.0 if transform.child_frame_id == "cam_back_optical_frame" else 0.0
        assert angle == pytest.approx(expected, abs=1e-5)
        assert transform.transform.translation.z == 1.5


def test_the_focal_length_grows_with_time():
    messages = stream(13)
    changed = planted("calibration_drift:degrees=0,focal_percent_per_s=2", messages)
    infos = [deserialize_message(m.data, CameraInfo) for m in changed
             if m.topic == "/cam_front/camera_info"]  # fmt: skip
    elapsed_s = 12 * 0.083
    assert infos[0].k[0] == pytest.approx(40.0)
    assert infos[-1].k[0] == pytest.approx(40.0 * (1 + 0.02 * elapsed_s))
    assert infos[-1].p[5] == pytest.approx(infos[-1].k[4])
    assert infos[-1].k[2] == 31.5
