# SPDX-License-Identifier: Apache-2.0
"""RViz configuration and Foxglove layout fit what a recording holds: topics, types, frames."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory
from rosbags.interfaces import QosReliability
from rosbags.rosbag2 import Reader
from tf2_msgs.msg import TFMessage

from simdistill_ros.resources import share_folder

ROOT = share_folder()
# Panel -> the message types that it shows.
POINTS = {"sensor_msgs/msg/PointCloud2", "sensor_msgs/msg/LaserScan"}
IN_SPACE = {"visualization_msgs/msg/MarkerArray"} | POINTS
PICTURES = {"sensor_msgs/msg/CompressedImage"}
STATUS = {"diagnostic_msgs/msg/DiagnosticArray"}
PANELS = {"3D", "Image", "Tab", "DiagnosticSummary", "RawMessages", "Plot"}
DISPLAYS = {
    "rviz_default_plugins/MarkerArray": {"visualization_msgs/msg/MarkerArray"},
    "rviz_default_plugins/PointCloud2": {"sensor_msgs/msg/PointCloud2"},
    "rviz_default_plugins/LaserScan": {"sensor_msgs/msg/LaserScan"},
    "rviz_default_plugins/Image": PICTURES,
}
WITHOUT_TOPIC = {"rviz_default_plugins/Grid", "rviz_default_plugins/TF"}


@pytest.fixture(scope="module")
def types(recording) -> dict[str, str]:
    """Topic -> type of the recording."""
    return {name: topic.type_name for name, topic in recording.topics.items()}


@pytest.fixture(scope="module")
def frames(recording) -> set[str]:
    """Every frame that TF knows, all of them in one tree."""
    pairs = {
        (t.header.frame_id, t.child_frame_id)
        for topic in ("/tf", "/tf_static")
        for message in recording.read(topic, TFMessage)
        for t in message.transforms
    }
    parents = {child: parent for parent, child in pairs}
    roots = {p for p, _ in pairs} - parents.keys()
    assert roots == {"map"}
    return {name for pair in pairs for name in pair}


@pytest.fixture(scope="module")
def messages(recording) -> dict[str, Any]:
    """Topic -> its first message, as a reader without ROS decodes it."""
    found: dict[str, Any] = {}
    (path,) = recording.folder.glob("*.mcap")
    with path.open("rb") as file:
        reader = make_reader(file, decoder_factories=[DecoderFactory()])
        for _, channel, _, decoded in reader.iter_decoded_messages():
            found.setdefault(channel.topic, decoded)
    return found


@pytest.fixture(scope="module")
def foxglove() -> dict[str, Any]:
    return json.loads((ROOT / "config" / "foxglove.json").read_text())


@pytest.fixture(scope="module")
def rviz() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "config" / "view.rviz").read_text())["Visualization Manager"]


def kind_of(panel: str) -> str:
    return panel.split("!")[0]


def leaves(layout: Any) -> Iterator[str]:
    """Return the panels of a layout tree."""
    if isinstance(layout, str):
        yield layout
        return
    assert layout["direction"] in ("row", "column")
    assert 0 < layout["splitPercentage"] < 100
    yield from leaves(layout["first"])
    yield from leaves(layout["second"])


# -- Foxglove --------------------------------------------------------------------------------------


def test_foxglove_every_panel_is_known_and_shown_once(foxglove):
    configs = foxglove["configById"]
    assert {kind_of(panel) for panel in configs} <= PANELS
    shown = list(leaves(foxglove["layout"]))
    for config in configs.values():
        for tab in config.get("tabs", ()):
            shown += leaves(tab["layout"])
    assert sorted(shown) == sorted(configs)


def test_foxglove_pictures_have_their_topic_and_their_cameras_calibration(foxglove, types):
    images = {p: c for p, c in foxglove["configById"].items() if kind_of(p) == "Image"}
    assert len(images) == 6 + 2
    for panel, config in images.items():
        mode = config["imageMode"]
        assert types[mode["imageTopic"]] in PICTURES, panel
        if "calibrationTopic" in mode:  # without it no box could be drawn into the image
            assert types[mode["calibrationTopic"]] == "sensor_msgs/msg/CameraInfo"
            assert mode["calibrationTopic"].split("/")[1] == mode["imageTopic"].split("/")[1]
            assert config["topics"]["/detector/markers"]["visible"]


def test_foxglove_shows_in_space_what_it_can_show_and_follows_a_frame_that_exists(
    foxglove, types, frames
):
    (scene,) = (c for p, c in foxglove["configById"].items() if kind_of(p) == "3D")
    assert scene["followTf"] == "base_link"
    assert scene["followTf"] in frames
    assert {layer["frameId"] for layer in scene["layers"].values()} <= frames
    assert set(scene["topics"]) >= {"/detector/markers", "/lidar_top", "/detector/coverage"}
    for config in foxglove["configById"].values():
        for topic in config.get("topics", {}):
            assert types[topic] in IN_SPACE, topic


def test_foxglove_status_and_plots_read_fields_that_messages_have(foxglove, types, messages):
    for panel, config in foxglove["configById"].items():
        if kind_of(panel) == "DiagnosticSummary":
            assert types[config["topicToRender"]] in STATUS
        paths = [config["topicPath"]] if "topicPath" in config else []
        paths += [path["value"] for path in config.get("paths", ())]
        for path in paths:
            assert_path(path, messages)


def assert_path(path: str, messages: dict[str, Any]) -> None:
    """Follow a message path such as /topic.field[0].field; `[:]` is each element."""
    topic, *fields = path.split(".")
    value = messages[topic]
    for field in fields:
        name, index = re.fullmatch(r"(\w+)(\[[\d:]+\])?", field).groups()  # type: ignore[union-attr]
        value = getattr(value, name)
        if index is not None:
            assert len(value) > 0, path
            value = value[0]


# -- RViz ------------------------------------------------------------------------------------------


def topic_displays(rviz) -> list[dict[str, Any]]:
    displays = [d for d in rviz["Displays"] if d["Class"] not in WITHOUT_TOPIC]
    assert len(displays) == 4 + 6 + 2
    return displays


def source_of(display: dict[str, Any]) -> str:
    """Return the recorded topic that a display shows; view.launch.py decodes JPEGs for it."""
    topic = display["Topic"]["Value"]
    return f"{topic}_compressed" if topic.endswith("image_rect") else topic


def test_rviz_every_display_has_a_recorded_topic_of_its_type(rviz, types):
    for display in topic_displays(rviz):
        assert types[source_of(display)] in DISPLAYS[display["Class"]], display["Name"]


def test_rviz_images_are_what_the_launch_file_decodes(rviz):
    launch = (ROOT / "launch" / "view.launch.py").read_text()
    assert '"/{camera}/image_rect_compressed"' in launch
    assert '"/{camera}/image_rect"' in launch
    cameras = {d["Topic"]["Value"].split("/")[1] for d in topic_displays(rviz)
               if d["Topic"]["Value"].endswith("image_rect")}  # fmt: skip
    assert len(cameras) == 6
    assert all(f'"{camera}"' in launch for camera in cameras)


def test_rviz_asks_for_no_more_than_is_offered(rviz, recording):
    with Reader(recording.folder) as reader:
        offered = {c.topic: c.ext.offered_qos_profiles[0] for c in reader.connections}
    for display in topic_displays(rviz):
        asked = display["Topic"]
        assert asked["Durability Policy"] == "Volatile"
        if asked["Reliability Policy"] == "Reliable":
            assert offered[source_of(display)].reliability == QosReliability.RELIABLE
        else:
            assert asked["Reliability Policy"] == "Best Effort"
    # Camera and LiDAR drivers publish best effort; a reliable display would see nothing.
    sensors = [d for d in topic_displays(rviz) if "/detector" not in d["Topic"]["Value"]]
    sensors = [d for d in sensors if "/nuscenes" not in d["Topic"]["Value"]]
    assert {d["Topic"]["Reliability Policy"] for d in sensors} == {"Best Effort"}


def test_rviz_stands_in_a_frame_from_which_everything_shown_can_be_reached(
    rviz, recording, frames, messages
):
    assert rviz["Global Options"]["Fixed Frame"] == "base_link"
    assert "base_link" in frames
    for display in topic_displays(rviz):
        message = messages[source_of(display)]
        headers = [m.header for m in message.markers] if hasattr(message, "markers") else []
        headers = headers or [message.header]
        assert {h.frame_id for h in headers} <= frames, display["Name"]


def test_rviz_needs_no_plugin_that_is_not_part_of_it(rviz):
    assert {d["Class"].split("/")[0] for d in rviz["Displays"]} == {"rviz_default_plugins"}


def test_everything_that_a_recording_can_show_is_shown_in_both(rviz, foxglove, types):
    visible = {name for name, kind in types.items() if kind in IN_SPACE | PICTURES}
    visible.remove("/detector/velocities")  # shown as arrows among the markers
    in_rviz = {source_of(display) for display in topic_displays(rviz)}
    assert visible == in_rviz
    text = json.dumps(foxglove)
    assert all(f'"{name}"' in text for name in visible)
