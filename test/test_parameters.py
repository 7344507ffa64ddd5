# SPDX-License-Identifier: Apache-2.0
"""Parameters: names, types, ranges, refusals, and the shipped YAML."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

rclpy = pytest.importorskip("rclpy")

import yaml
from rclpy.context import Context
from rclpy.exceptions import InvalidParameterValueException
from rclpy.parameter import Parameter

from simdistill_ros.parameters import (
    ParameterError,
    camera_names,
    camera_topics,
    declare_parameters,
    read_live_parameters,
    read_parameters,
)
from simdistill_ros.resources import share_folder

CAMERAS = ("cam_front", "cam_back")


@pytest.fixture
def make_node(ros_domain: int) -> Iterator[Any]:
    context = Context()
    rclpy.init(context=context, domain_id=ros_domain)
    nodes = []

    def make(**values: Any) -> Any:
        overrides = [Parameter(k.replace("__", "."), value=v) for k, v in values.items()]
        node = rclpy.create_node("n", context=context, parameter_overrides=overrides)
        nodes.append(node)
        declare_parameters(node)
        return node

    yield make
    for node in nodes:
        node.destroy_node()
    rclpy.shutdown(context=context)


def test_seconds_become_integer_nanoseconds(make_node: Any) -> None:
    parameters = read_parameters(make_node(sync__tolerance_s=0.06, tf__timeout_s=0.2))

    assert parameters.sync.tolerance_ns == 60_000_000
    assert parameters.tf_timeout_ns == 200_000_000


def test_the_default_tolerance_matches_every_nuscenes_keyframe(make_node: Any) -> None:
    assert read_parameters(make_node()).sync.tolerance_ns > 46_000_000


def test_a_value_out_of_range_is_refused(make_node: Any) -> None:
    with pytest.raises(InvalidParameterValueException, match="score_threshold"):
        make_node(score_threshold=1.5)


def test_a_word_that_is_no_choice_is_refused_with_the_choices(make_node: Any) -> None:
    with pytest.raises(ParameterError, match=r"sync.policy.*native, message_filters.*'best'"):
        read_parameters(make_node(sync__policy="best"))


def test_a_negative_threshold_leaves_it_to_the_model_card(make_node: Any) -> None:
    assert read_live_parameters(make_node()).score_threshold is None
    assert read_live_parameters(make_node(score_threshold=0.0)).score_threshold == 0.0


def test_topics_default_to_remappable_relative_names(make_node: Any) -> None:
    topics = camera_topics(make_node(), CAMERAS, compressed=True)

    assert topics[0].image_topic == "cam_front/image_rect_compressed"
    assert topics[1].camera_info_topic == "cam_back/camera_info"


def test_two_cameras_on_one_topic_are_refused_with_both_names(make_node: Any) -> None:
    node = make_node(**{"cameras.cam_back.image_topic": "cam_front/image_rect"})

    with pytest.raises(ParameterError, match=r"cam_back.*cam_front"):
        camera_topics(node, CAMERAS, compressed=False)


def test_cameras_that_are_not_the_models_are_refused(make_node: Any) -> None:
    assert camera_names(make_node(), CAMERAS) == CAMERAS
    with pytest.raises(ParameterError, match="cam_left"):
        camera_names(make_node(cameras__names="cam_front,cam_left"), CAMERAS)


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        nested = isinstance(value, dict)
        flat.update(_flat(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value})
    return flat


def test_the_shipped_yaml_names_only_parameters_that_exist_and_states_their_defaults(
    make_node: Any,
) -> None:
    text = (share_folder() / "config" / "detector.yaml").read_text()
    tree = yaml.safe_load(text)
    shipped = _flat(next(iter(tree.values()))["ros__parameters"])
    node = make_node()

    for name, value in shipped.items():
        if name.startswith("cameras.") and name != "cameras.names":
            continue
        assert node.has_parameter(name), f"config/detector.yaml: unknown parameter {name}"
        assert node.get_parameter(name).value == value, name
    declared = {n for n in node._parameters if "." in n or n in ("backend", "device", "precision")}
    ours = {n for n in declared if not n.startswith(("qos_overrides", "use_sim", "start_type"))}
    assert ours <= set(shipped)


def test_every_preset_names_six_cameras_of_the_nuscenes_rig() -> None:
    presets = sorted((share_folder() / "config" / "presets").glob("*.yaml"))

    assert presets
    for preset in presets:
        tree = yaml.safe_load(preset.read_text())
        cameras = next(iter(tree.values()))["ros__parameters"]["cameras"]
        topics = [topics["image_topic"] for topics in cameras.values() if "image_topic" in topics]
        assert len(set(topics)) == 6, preset.name
