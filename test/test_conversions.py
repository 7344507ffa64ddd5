# SPDX-License-Identifier: Apache-2.0
"""Messages to core values and back."""

import array

import numpy as np
import pytest

pytest.importorskip("rclpy")

from geometry_msgs.msg import TransformStamped
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from simdistill_ros.conversions import (
    calibration_from_msg,
    detections_from_msg,
    detections_to_msg,
    image_from_msg,
    image_to_msg,
    info_to_msg,
    stamp_ns_from_msg,
    stamp_to_msg,
    transform_from_msg,
    velocities_from_msg,
    velocities_to_msg,
)
from simdistill_ros.core.boxes import NUSCENES_CLASSES, Detections, empty_detections
from simdistill_ros.core.camera import CalibrationError, CameraCalibration
from simdistill_ros.core.images import ImageError

K = np.array([[1000.0, 0.0, 799.5], [0.0, 1000.0, 449.5], [0.0, 0.0, 1.0]])
STAMP_NS = 1_533_151_603_547_590_123


def info(**changes: object) -> CameraInfo:
    message = info_to_msg(CameraCalibration(1600, 900, K), "cam_front_optical_frame", STAMP_NS)
    for name, value in changes.items():
        setattr(message, name, value)
    return message


def three_boxes() -> Detections:
    return Detections(
        frame="base_link",
        stamp_ns=STAMP_NS,
        centers_m=np.array([[10.0, -2.0, 0.8], [30.5, 4.0, 1.0], [-7.0, 0.0, 0.5]]),
        sizes_lwh_m=np.array([[4.5, 1.9, 1.6], [0.7, 0.6, 1.7], [0.4, 0.4, 0.8]]),
        yaws_rad=np.array([0.5, -3.0, 2.0]),
        velocities_mps=np.array([[8.0, 0.5], [-1.0, 0.25], [0.0, 0.0]]),
        scores=np.array([0.9, 0.5, 0.125]),
        labels=np.array([0, 8, 9]),
        class_names=NUSCENES_CLASSES,
    )


def test_stamps_round_trip_to_the_nanosecond() -> None:
    message = stamp_to_msg(STAMP_NS)

    assert (message.sec, message.nanosec) == (1_533_151_603, 547_590_123)
    assert stamp_ns_from_msg(message) == STAMP_NS


def test_detections_round_trip_and_the_length_is_size_x() -> None:
    boxes = three_boxes()

    message = detections_to_msg(boxes)
    back = detections_from_msg(message, NUSCENES_CLASSES)

    assert message.header.frame_id == "base_link"
    assert stamp_ns_from_msg(message.detections[1].header.stamp) == STAMP_NS
    assert message.detections[0].bbox.size.x == 4.5
    assert message.detections[0].results[0].hypothesis.class_id == "car"
    assert message.detections[0].results[0].pose.pose == message.detections[0].bbox.center
    np.testing.assert_allclose(back.centers_m, boxes.centers_m)
    np.testing.assert_allclose(back.sizes_lwh_m, boxes.sizes_lwh_m)
    np.testing.assert_allclose(back.yaws_rad, boxes.yaws_rad)
    assert back.names() == ["car", "pedestrian", "traffic_cone"]


def test_nothing_found_is_an_empty_array_with_a_header() -> None:
    nothing = empty_detections("base_link", STAMP_NS, NUSCENES_CLASSES)

    message = detections_to_msg(nothing)

    assert list(message.detections) == []
    assert message.header.frame_id == "base_link"
    assert len(detections_from_msg(message, NUSCENES_CLASSES)) == 0
    assert velocities_from_msg(velocities_to_msg(nothing)).shape == (0, 2)


def test_velocities_travel_in_the_same_order_as_the_boxes() -> None:
    boxes = three_boxes()

    back = velocities_from_msg(velocities_to_msg(boxes))

    np.testing.assert_allclose(back, boxes.velocities_mps)


def test_a_class_the_model_lacks_is_refused() -> None:
    message = detections_to_msg(three_boxes())

    with pytest.raises(ValueError, match="pedestrian"):
        detections_from_msg(message, ("car", "traffic_cone"))


def test_an_image_round_trips() -> None:
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)

    np.testing.assert_array_equal(image_from_msg(image_to_msg(image, "cam", 1)), image)


def test_padded_bgr_rows_are_not_sheared() -> None:
    image = np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8)
    rows = np.zeros((4, 32), np.uint8)
    rows[:, :15] = image[..., ::-1].reshape(4, 15)
    message = Image(height=4, width=5, encoding="bgr8", step=32)
    message.data = array.array("B", rows.tobytes())

    np.testing.assert_array_equal(image_from_msg(message), image)


def test_an_unknown_encoding_is_named() -> None:
    message = Image(height=1, width=1, encoding="banana", step=1, data=array.array("B", b"0"))

    with pytest.raises(ImageError, match="banana") as caught:
        image_from_msg(message)
    assert caught.value.cause == "unknown_encoding"


def test_a_truncated_jpeg_is_refused() -> None:
    simplejpeg = pytest.importorskip("simplejpeg")
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    data = simplejpeg.encode_jpeg(image)
    message = CompressedImage(format="jpeg", data=array.array("B", data[: len(data) // 2]))

    with pytest.raises(ImageError) as caught:
        image_from_msg(message)
    assert caught.value.cause == "undecodable"


def test_intrinsics_follow_a_resized_image() -> None:
    half = calibration_from_msg(info(), (450, 800), rectified=False)

    assert (half.width_px, half.height_px) == (800, 450)
    np.testing.assert_allclose(half.image_from_cam[0], [500.0, 0.0, 0.5 * 800 - 0.5])


def test_intrinsics_follow_binning_and_a_region_of_interest() -> None:
    message = info(binning_x=2, binning_y=2)
    message.roi.x_offset, message.roi.y_offset = 400, 300
    message.roi.width, message.roi.height = 800, 600

    calibration = calibration_from_msg(message, (300, 400), rectified=False)

    # Full-sensor pixel 799.5 is ROI pixel 399.5, and the centre of binned pixels 199 and 200.
    np.testing.assert_allclose(calibration.image_from_cam[0], [500.0, 0.0, 199.5])
    np.testing.assert_allclose(calibration.image_from_cam[1], [0.0, 500.0, (149.5 + 0.5) / 2 - 0.5])


def test_a_rectified_image_uses_p_and_r_and_forgets_the_distortion() -> None:
    turn = [0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0]
    p = [900.0, 0.0, 790.0, 0.0, 0.0, 900.0, 440.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    message = info(d=[0.1, 0.0, 0.0, 0.0, 0.0], p=p, r=turn)

    rectified = calibration_from_msg(message, (900, 1600), rectified=True)
    raw = calibration_from_msg(message, (900, 1600), rectified=False)

    assert rectified.image_from_cam[0, 0] == 900.0
    assert not rectified.is_distorted
    np.testing.assert_allclose(rectified.rectified_from_cam.ravel(), turn)
    assert raw.image_from_cam[0, 0] == 1000.0
    assert raw.is_distorted
    np.testing.assert_allclose(raw.rectified_from_cam, np.eye(3))


@pytest.mark.parametrize(
    ("changes", "image_hw", "cause"),
    [
        ({"k": [0.0] * 9, "p": [0.0] * 12}, (900, 1600), "uncalibrated"),
        ({"k": [float("nan")] * 9}, (900, 1600), "not_finite"),
        ({"d": [float("nan")] * 5}, (900, 1600), "not_finite"),
        ({"r": [1.0, 0, 0, 1.0, 0, 0, 1.0, 0, 0]}, (900, 1600), "bad_rotation"),
        ({"r": [float("nan")] * 9}, (900, 1600), "not_finite"),
        ({}, (900, 1200), "aspect_ratio"),
        ({"width": 0, "height": 0}, (900, 1600), "zero_size"),
        ({"distortion_model": "banana", "d": [0.1] * 5}, (900, 1600), "unknown_distortion"),
    ],
)
def test_unusable_camera_info_is_refused_by_name(
    changes: dict[str, object], image_hw: tuple[int, int], cause: str
) -> None:
    with pytest.raises(CalibrationError) as caught:
        calibration_from_msg(info(**changes), image_hw, rectified=False)

    assert caught.value.cause == cause


def test_a_spoilt_r_can_be_ignored_on_request() -> None:
    message = info(r=[1.0, 0, 0, 1.0, 0, 0, 1.0, 0, 0])

    calibration = calibration_from_msg(message, (900, 1600), rectified=True, ignore_r=True)

    np.testing.assert_allclose(calibration.rectified_from_cam, np.eye(3))


def test_a_transform_reads_as_parent_from_child() -> None:
    message = TransformStamped()
    message.header.frame_id, message.child_frame_id = "/base_link", "cam_front_optical_frame"
    message.header.stamp = stamp_to_msg(STAMP_NS)
    message.transform.translation.x = 1.5
    message.transform.rotation.w = message.transform.rotation.z = float(np.sqrt(0.5))

    parent, child, stamp_ns, parent_from_child = transform_from_msg(message)

    assert (parent, child, stamp_ns) == ("base_link", "cam_front_optical_frame", STAMP_NS)
    np.testing.assert_allclose(parent_from_child @ [1, 0, 0, 1], [1.5, 1, 0, 1], atol=1e-12)


def test_a_transform_of_nan_is_refused() -> None:
    message = TransformStamped()
    message.transform.translation.x = float("nan")

    with pytest.raises(ValueError, match="finite"):
        transform_from_msg(message)
