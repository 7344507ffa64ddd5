# SPDX-License-Identifier: Apache-2.0
"""Recordings: read back by two readers that know nothing of this project."""

from __future__ import annotations

from collections import Counter

import pytest
import yaml
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory
from rosbags.rosbag2 import Reader
from sensor_msgs.msg import CompressedImage
from vision_msgs.msg import Detection3DArray
from visualization_msgs.msg import Marker, MarkerArray

from simdistill_ros.conversions import stamp_ns_from_msg
from simdistill_ros.core.images import decode_jpeg_png
from simdistill_ros.replay.bag_storage import Bag, BagMessage, BagTopic
from simdistill_ros.replay.nuscenes_reader import samples_of_scene
from simdistill_ros.replay.options import ReplayOptions
from simdistill_ros.replay.recording import Recording, recorded_topics
from simdistill_ros.replay.run import run_replay

CAMERAS = (
    *("cam_front", "cam_front_left", "cam_front_right"),
    *("cam_back", "cam_back_left", "cam_back_right"),
)
EACH = ("detections", "velocities", "markers", "coverage", "quality", "latency")
OVERLAYS = ("overlay/mosaic/compressed", "overlay/bev/compressed")


@pytest.fixture
def references(tiny_nusc):
    return [s.reference_stamp_ns(CAMERAS) for s in samples_of_scene(tiny_nusc, "scene-0001")]


def test_every_answer_stands_beside_its_images(recording, references):
    for name in (*EACH, *OVERLAYS):
        messages = list(recording.messages([f"/detector/{name}"]))
        assert [m.stamp_ns for m in messages] == references, name
    for name, kind in (("detections", Detection3DArray), (OVERLAYS[0], CompressedImage)):
        stamps = [
            stamp_ns_from_msg(m.header.stamp) for m in recording.read(f"/detector/{name}", kind)
        ]
        assert stamps == references


def test_what_was_played_is_in_it_byte_for_byte_and_once(recording, tiny_replay):
    played = Bag(tiny_replay.folder / "bag" / "scene-0001")
    sent = {(m.topic, m.stamp_ns, m.data) for m in played.messages()}
    kept = [
        (m.topic, m.stamp_ns, m.data) for m in recording.messages() if "detector" not in m.topic
    ]
    kept = [m for m in kept if m[0] != "/diagnostics"]
    assert max(Counter(kept).values()) == 1
    assert set(kept) <= sent
    topics = {topic for topic, _, _ in kept}
    assert topics == set(played.topics)
    keyframe_images = [m for m in kept if "image_rect" in m[0]]
    assert len(keyframe_images) == 3 * 6


def test_messages_are_in_the_order_of_their_times(recording):
    stamps = [message.stamp_ns for message in recording.messages()]
    assert stamps == sorted(stamps)


def test_static_transforms_are_latched_in_it_too(recording):
    assert recording.topics["/tf_static"].latched
    assert not recording.topics["/detector/markers"].latched


def test_the_answers_in_it_are_those_that_were_scored(recording, tiny_replay):
    recorded = [len(m.detections) for m in recording.read("/detector/detections", Detection3DArray)]
    answers = sorted(tiny_replay.result.answers.values(), key=lambda a: a.detections.stamp_ns)
    assert recorded == [len(a.detections) for a in answers]
    assert sum(recorded) > 0


def test_markers_in_it_outlast_the_gap_between_keyframes(recording):
    for message in recording.read("/detector/markers", MarkerArray):
        boxes = [m for m in message.markers if m.type == Marker.CUBE and m.action == Marker.ADD]
        assert boxes
        assert all(m.lifetime.sec + m.lifetime.nanosec / 1e9 > 0.5 for m in boxes)


def test_ground_truth_is_one_marker_of_twelve_edges_a_box(recording):
    truths = list(recording.read("/nuscenes/ground_truth", Detection3DArray))
    markers = list(recording.read("/nuscenes/ground_truth_markers", MarkerArray))
    assert len(truths) == len(markers) == 3
    for truth, array in zip(truths, markers, strict=True):
        (marker,) = array.markers
        assert marker.header == truth.header
        assert len(marker.points) == 24 * len(truth.detections)
        box = truth.detections[0].bbox
        xs = [p.x for p in marker.points[:24]]
        assert (min(xs) + max(xs)) / 2 == pytest.approx(box.center.position.x)


def test_the_pictures_in_it_can_be_decoded(recording):
    for name in OVERLAYS:
        for message in recording.read(f"/detector/{name}", CompressedImage):
            assert decode_jpeg_png(bytes(message.data)).std() > 1


def test_a_reader_without_ros_decodes_everything_by_the_schemas_inside(recording):
    (path,) = recording.folder.glob("*.mcap")
    seen = Counter()
    with path.open("rb") as file:
        reader = make_reader(file, decoder_factories=[DecoderFactory()])
        summary = reader.get_summary()
        assert summary is not None
        assert {schema.encoding for schema in summary.schemas.values()} == {"ros2msg"}
        for schema, channel, message, decoded in reader.iter_decoded_messages():
            seen[channel.topic] += 1
            header = getattr(decoded, "header", None)
            if header is not None and channel.topic not in ("/diagnostics",):
                stamp_ns = header.stamp.sec * 10**9 + header.stamp.nanosec
                assert stamp_ns == message.log_time, (schema.name, channel.topic)
        counts = {summary.channels[i].topic: n for i, n in
                  summary.statistics.channel_message_counts.items()}  # fmt: skip
        assert +Counter(counts) == seen
        metadata = {m.name: m.metadata for m in reader.iter_metadata()}
    facts = yaml.safe_load(metadata["rosbag2"]["serialized_metadata"])["custom_data"]
    assert facts["detector"] == "oracle"
    assert facts["mode"] == "step"
    assert facts["simdistill_ros"]


def test_rosbag2_finds_the_metadata_that_it_plays_by(recording):
    with Reader(recording.folder) as reader:
        assert reader.message_count == sum(1 for _ in recording.messages())
        assert {c.ext.serialization_format for c in reader.connections} == {"cdr"}
        assert all(c.ext.offered_qos_profiles for c in reader.connections)
    metadata = yaml.safe_load((recording.folder / "metadata.yaml").read_text())
    information = metadata["rosbag2_bagfile_information"]
    assert information["storage_identifier"] == "mcap"
    assert information["relative_file_paths"] == ["scene-0001.mcap"]


def test_pictures_without_a_recording_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"--overlays .* --record"):
        run_replay(ReplayOptions(out=tmp_path, dataroot=tmp_path, overlays=True))


# -- without a graph: which log times messages get -------------------------------------------------

IMAGE = BagTopic("/cam/image", "sensor_msgs/msg/CompressedImage", False)
T0 = 1_700_000_000_000_000_000


def heard(stamp_ns):
    from rclpy.serialization import serialize_message

    from simdistill_ros.conversions import header_to_msg

    return bytes(serialize_message(Detection3DArray(header=header_to_msg("base_link", stamp_ns))))


@pytest.mark.parametrize(("is_step", "expected_ms"), [(True, 0), (False, 300)])
def test_an_answer_is_logged_at_its_images_or_when_it_came(tmp_path, is_step, expected_ms):
    topics = recorded_topics("detector", overlays=False)
    with Recording(tmp_path / "r", {IMAGE.name: IMAGE}, topics, is_step=is_step, facts={}) as r:
        r.add_heard("/detector/detections", heard(T0))  # of an earlier scene
        r.add_played(BagMessage(IMAGE.name, T0, b"\0\1\0\0a"))
        r.add_played(BagMessage(IMAGE.name, T0 + 300_000_000, b"\0\1\0\0b"))
        r.add_played(BagMessage(IMAGE.name, T0, b"\0\1\0\0a"))  # sent again
        r.add_heard("/detector/detections", heard(T0))
        r.add_heard("/detector/detections", heard(T0 - 86_400 * 10**9))
        assert not r.is_complete(T0)

    messages = [(m.topic, (m.stamp_ns - T0) // 10**6) for m in Bag(tmp_path / "r").messages()]
    assert Counter(messages) == Counter(
        [(IMAGE.name, 0), (IMAGE.name, 300), ("/detector/detections", expected_ms)]
    )


def test_a_topic_on_which_nothing_was_said_is_in_it_with_its_type(tmp_path):
    topics = recorded_topics("detector", overlays=True)
    with Recording(tmp_path / "r", {IMAGE.name: IMAGE}, topics, is_step=True, facts={}) as r:
        r.add_played(BagMessage(IMAGE.name, T0, b"\0\1\0\0a"))
    found = {name: topic.type_name for name, topic in Bag(tmp_path / "r").topics.items()}
    assert found == {topic.name: topic.type_name for topic in (IMAGE, *topics)}
