# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage
from vision_msgs.msg import Detection3DArray

from simdistill_ros.conversions import (
    calibration_from_msg,
    detections_from_msg,
    image_from_msg,
    stamp_ns_from_msg,
    transform_from_msg,
)
from simdistill_ros.core.boxes import NUSCENES_CLASSES
from simdistill_ros.replay.bag_storage import Bag, find_bags
from simdistill_ros.replay.nuscenes_reader import records_of_channel, samples_of_scene
from simdistill_ros.replay.nuscenes_to_bag import BagOptions, main, write_scene_bag
from simdistill_ros.replay.sample_record import sample_from_json

SCENE = "scene-0001"


@pytest.fixture(scope="module")
def bag(tiny_nusc, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bags") / SCENE
    write_scene_bag(tiny_nusc, SCENE, folder, BagOptions())
    return Bag(folder)


def test_images_are_the_files_byte_for_byte_at_their_true_stamps(bag, tiny_nusc):
    for channel in ("CAM_FRONT", "CAM_BACK_LEFT"):
        records = records_of_channel(tiny_nusc, SCENE, channel)
        topic = f"/{channel.lower()}/image_rect_compressed"
        logged = list(bag.messages([topic]))
        assert [message.stamp_ns for message in logged] == [r.stamp_ns for r in records]
        for message, record in zip(bag.read(topic, CompressedImage), records, strict=True):
            assert bytes(message.data) == record.path.read_bytes()
            assert stamp_ns_from_msg(message.header.stamp) == record.stamp_ns
            assert message.header.frame_id == f"{channel.lower()}_optical_frame"
            assert message.format == "jpeg"


def test_messages_are_in_the_order_of_their_times(bag):
    stamps = [message.stamp_ns for message in bag.messages()]
    assert stamps == sorted(stamps)


def test_camera_info_describes_a_rectified_pinhole(bag):
    info = next(bag.read("/cam_front/camera_info", CameraInfo))
    assert (info.width, info.height) == (64, 36)
    assert info.r.tolist() == np.eye(3).ravel().tolist()
    assert info.p.tolist() == [40, 0, 31.5, 0, 0, 40, 17.5, 0, 0, 0, 1, 0]
    assert not any(info.d)
    calibration = calibration_from_msg(info, (36, 64), rectified=True)
    np.testing.assert_array_equal(
        calibration.image_from_cam, [[40, 0, 31.5], [0, 40, 17.5], [0, 0, 1]]
    )


def test_static_transforms_are_latched_and_place_every_sensor(bag):
    assert bag.topics["/tf_static"].latched
    assert not bag.topics["/tf"].latched
    (message,) = bag.read("/tf_static", TFMessage)
    frames = {t.child_frame_id: transform_from_msg(t) for t in message.transforms}
    assert len(frames) == 7
    parent, _, _, ego_from_lidar = frames["lidar_top"]
    assert parent == "base_link"
    np.testing.assert_allclose(ego_from_lidar[:3, 3], [1.0, 0.25, 1.5])
    # The LiDAR's y axis looks ahead.
    np.testing.assert_allclose(ego_from_lidar[:3, 1], [1, 0, 0], atol=1e-12)
    _, _, _, ego_from_cam = frames["cam_front_optical_frame"]
    np.testing.assert_allclose(ego_from_cam[:3, 2], [1, 0, 0], atol=1e-12)


def test_vehicle_pose_is_there_at_the_stamp_of_every_measurement(bag, tiny_nusc):
    stamps = set()
    for message in bag.read("/tf", TFMessage):
        parent, child, stamp_ns, global_from_ego = transform_from_msg(message.transforms[0])
        assert (parent, child) == ("map", "base_link")
        np.testing.assert_allclose(global_from_ego[:3, 0], [0, 1, 0], atol=1e-12)
        assert stamp_ns not in stamps
        stamps.add(stamp_ns)
    wanted = {
        record.stamp_ns
        for channel in ("CAM_FRONT", "CAM_BACK", "LIDAR_TOP")
        for record in records_of_channel(tiny_nusc, SCENE, channel)
    }
    assert wanted <= stamps
    assert len(stamps) == 7 * 5


def test_lidar_points_keep_ring_and_intensity(bag):
    cloud = next(bag.read("/lidar_top", PointCloud2))
    assert [field.name for field in cloud.fields] == ["x", "y", "z", "intensity", "ring"]
    kind = np.dtype(
        {
            "names": ["x", "y", "z", "intensity", "ring"],
            "formats": ["<f4"] * 4 + ["<u2"],
            "offsets": [field.offset for field in cloud.fields],
            "itemsize": cloud.point_step,
        }
    )
    points = np.frombuffer(bytes(cloud.data), kind)
    assert points.tolist() == [(1, 2, 3, 0.5, 7), (4, 5, 6, 0.25, 31)]
    assert cloud.header.frame_id == "lidar_top"


def test_ground_truth_is_in_the_vehicle_s_frame_at_the_sample_s_time(bag):
    message = next(bag.read("/nuscenes/ground_truth", Detection3DArray))
    boxes = detections_from_msg(message, NUSCENES_CLASSES)
    car = boxes.names().index("car")
    np.testing.assert_allclose(boxes.centers_m[car], [20.0, 0.0, 0.8], atol=1e-9)
    assert boxes.yaws_rad[car] == pytest.approx(math.pi / 2)
    assert message.header.frame_id == "base_link"


def test_side_channel_names_each_sample(bag, tiny_nusc):
    samples = [sample_from_json(m.data) for m in bag.read("/nuscenes/sample", String)]
    assert samples == samples_of_scene(tiny_nusc, SCENE)


def test_raw_images_are_the_decoded_pixels(tiny_nusc, tmp_path, bag):
    write_scene_bag(tiny_nusc, SCENE, tmp_path / SCENE, BagOptions(input="raw", lidar=False))
    raw = Bag(tmp_path / SCENE)
    assert "/lidar_top" not in raw.topics
    assert "/cam_front/image_rect_compressed" not in raw.topics
    image = next(raw.read("/cam_front/image_rect", Image))
    compressed = next(bag.read("/cam_front/image_rect_compressed", CompressedImage))
    assert image.encoding == "rgb8"
    np.testing.assert_array_equal(image_from_msg(image), image_from_msg(compressed))


def test_limited_bag_ends_with_its_last_keyframe_and_has_its_pose(tiny_nusc, tmp_path):
    write_scene_bag(tiny_nusc, SCENE, tmp_path / SCENE, BagOptions(keyframes=2))
    limited = Bag(tmp_path / SCENE)
    last = samples_of_scene(tiny_nusc, SCENE)[1]
    assert len(list(limited.messages(["/nuscenes/sample"]))) == 2
    assert max(message.stamp_ns for message in limited.messages()) == last.stamp_ns
    assert max(message.stamp_ns for message in limited.messages(["/tf"])) == last.stamp_ns


def test_command_writes_a_bag_a_scene_and_never_over_another(tiny_dataroot, tmp_path, capsys):
    arguments = ["--dataroot", str(tiny_dataroot), "--version", "v1.0-tiny", "--out", str(tmp_path)]
    assert main(arguments) == 0
    assert [bag.folder.name for bag in find_bags(tmp_path)] == [SCENE]
    assert main(arguments) == 2
    assert "exists already" in capsys.readouterr().err


def test_folder_without_a_bag_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected a rosbag2 folder"):
        find_bags(tmp_path)


def test_bag_bytes_are_what_rclpy_reads(bag):
    message = next(bag.messages(["/nuscenes/ground_truth"]))
    assert len(deserialize_message(message.data, Detection3DArray).detections) == 2
