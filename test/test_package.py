# SPDX-License-Identifier: Apache-2.0
"""The package's metadata, locks and configuration agree with each other and with the code."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "simdistill_ros"
MANIFEST = ElementTree.parse(ROOT / "package.xml").getroot()
CAMERAS = {
    *("cam_front", "cam_front_right", "cam_front_left"),
    *("cam_back", "cam_back_left", "cam_back_right"),
}
PRESETS = sorted((ROOT / "config" / "presets").glob("*.yaml"))


def setup_arguments() -> dict[str, Any]:
    """What setup.py passes to setuptools, without building anything."""
    code = (
        "import json, setuptools; setuptools.setup = lambda **k: print(json.dumps(k)); "
        "exec(compile(open('setup.py').read(), 'setup.py', 'exec'), {'__file__': 'setup.py'})"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    return dict(yaml.safe_load(output))


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted names of nested parameters."""
    result: dict[str, Any] = {}
    for key, value in tree.items():
        result |= (
            flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        )
    return result


def parameters_of(path: Path) -> dict[str, Any]:
    return flat(yaml.safe_load(path.read_text())["/**"]["ros__parameters"])


def declared_parameters() -> dict[str, Any]:
    """Name and default of every parameter that the node declares at start-up."""
    pytest.importorskip("rcl_interfaces")
    from simdistill_ros.parameters import declare_parameters

    declared: dict[str, Any] = {}

    class Recorder:
        def declare_parameter(self, name: str, default: Any, descriptor: Any) -> None:
            declared[name] = default

    declare_parameters(Recorder())
    return declared


def test_manifest_is_a_format_3_ament_python_package() -> None:
    assert MANIFEST.get("format") == "3"
    assert MANIFEST.findtext("name") == PACKAGE
    assert MANIFEST.findtext("export/build_type") == "ament_python"
    assert MANIFEST.findtext("license") == "Apache-2.0"
    maintainer = MANIFEST.find("maintainer")
    assert maintainer is not None
    # catkin_pkg refuses odd addresses, and colcon then builds a package that ROS cannot find.
    assert re.fullmatch(r"[-\w.]+@[-\w.]+\.[a-z]+", maintainer.get("email", ""))


def test_version_is_the_same_everywhere() -> None:
    init = ast.parse((ROOT / PACKAGE / "__init__.py").read_text())
    (version,) = (
        node.value.value
        for node in init.body
        if isinstance(node, ast.Assign)
        and ast.unparse(node.targets[0]) == "__version__"
        and isinstance(node.value, ast.Constant)
    )
    assert version == MANIFEST.findtext("version") == setup_arguments()["version"]


def test_manifest_names_every_message_package_that_is_imported() -> None:
    imported = {
        match
        for path in (ROOT / PACKAGE).rglob("*.py")
        for match in re.findall(
            r"^\s*(?:from|import) (\w+_(?:msgs|interfaces)|rclpy)\b", path.read_text(), re.M
        )
    }
    assert imported
    assert imported <= {element.text for element in MANIFEST.findall("exec_depend")}


def test_installed_files_include_marker_manifest_launch_config_and_models() -> None:
    installed = {target: files for target, files in setup_arguments()["data_files"]}
    marker = f"resource/{PACKAGE}"
    assert installed["share/ament_index/resource_index/packages"] == [marker]
    assert (ROOT / marker).is_file()
    assert "package.xml" in installed[f"share/{PACKAGE}"]
    for folder in ("launch", "config", "config/presets", "models/tiny"):
        assert installed[f"share/{PACKAGE}/{folder}"], folder


def test_every_python_package_is_installed() -> None:
    expected = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for path in (ROOT / PACKAGE).rglob("__init__.py")
    }
    assert set(setup_arguments()["packages"]) == expected


def test_every_file_of_the_report_is_installed() -> None:
    patterns = setup_arguments()["package_data"][PACKAGE]
    installed = {path for pattern in patterns for path in (ROOT / PACKAGE).glob(pattern)}
    assets = {path for path in (ROOT / PACKAGE / "report" / "assets").iterdir() if path.is_file()}
    assert len(assets) >= 6
    assert assets <= installed


def test_scripts_are_installed_where_ros2_run_looks() -> None:
    text = (ROOT / "setup.cfg").read_text()
    assert f"install_scripts=$base/lib/{PACKAGE}" in text
    assert f"script_dir=$base/lib/{PACKAGE}" in text


@pytest.mark.parametrize(
    "script", ["detector_node", "generate_scenes", "nuscenes_to_bag", "replay", "report"]
)
def test_console_script_has_a_target(script: str) -> None:
    lines = setup_arguments()["entry_points"]["console_scripts"]
    targets = dict(line.replace(" ", "").split("=") for line in lines)
    module, function = targets[script].split(":")
    spec = importlib.util.find_spec(module)
    assert spec is not None, module
    assert spec.origin is not None
    tree = ast.parse(Path(spec.origin).read_text())
    assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_detector_yaml_states_every_parameter_with_its_default() -> None:
    assert parameters_of(ROOT / "config" / "detector.yaml") == declared_parameters()


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)
def test_preset_gives_each_camera_topics_of_its_own(preset: Path) -> None:
    parameters = parameters_of(preset)
    topics = {name: value for name, value in parameters.items() if name.startswith("cameras.")}
    kinds = ("image_topic", "camera_info_topic")
    assert set(topics) == {f"cameras.{camera}.{kind}" for camera in CAMERAS for kind in kinds}
    assert len(set(topics.values())) == 2 * len(CAMERAS)
    for name, topic in topics.items():
        assert name.split(".")[1] in topic.lower().split("/"), f"{name} is {topic}"


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)
def test_preset_changes_known_parameters_to_values_of_their_type(preset: Path) -> None:
    declared = declared_parameters()
    for name, value in parameters_of(preset).items():
        if not name.startswith("cameras."):
            assert type(value) is type(declared[name]), name


def test_profile_gives_shared_memory_room_for_several_raw_images() -> None:
    tree = ElementTree.parse(ROOT / "config" / "fastdds_profile.xml")
    space = {"d": "http://www.eprosima.com"}
    transports = {
        element.findtext("d:transport_id", namespaces=space): element
        for element in tree.iterfind(".//d:transport_descriptor", space)
    }
    used = [e.text for e in tree.iterfind(".//d:userTransports/d:transport_id", space)]
    assert set(used) == set(transports)
    kinds = {e.findtext("d:type", namespaces=space): e for e in transports.values()}
    assert set(kinds) == {"SHM", "UDPv4"}
    segment = int(kinds["SHM"].findtext("d:segment_size", "0", space))
    assert 16 * 2**20 <= segment <= 64 * 2**20
    # A largest message above the segment would turn shared memory off.
    assert tree.find(".//d:maxMessageSize", space) is None
    assert tree.findtext(".//d:useBuiltinTransports", namespaces=space) == "false"


def test_rviz_shows_six_cameras_detections_ground_truth_lidar_and_frames() -> None:
    displays = yaml.safe_load((ROOT / "config" / "view.rviz").read_text())["Visualization Manager"][
        "Displays"
    ]
    topics = {d["Topic"]["Value"] for d in displays if "Topic" in d}
    assert topics >= {f"/{camera}/image_rect" for camera in CAMERAS}
    assert topics >= {"/detector/markers", "/nuscenes/ground_truth_markers", "/lidar_top"}
    assert "rviz_default_plugins/TF" in {d["Class"] for d in displays}


@pytest.mark.parametrize(
    "lock", sorted((ROOT / "requirements").glob("*.txt")), ids=lambda p: p.stem
)
def test_lock_pins_every_package_exactly(lock: Path) -> None:
    lines = [line for line in lock.read_text().splitlines() if line and line[0] != "#"]
    assert lines
    for line in lines:
        marker = r'python_version (<|>=) "3\.\d+"|platform_machine == "x86_64"'
        assert re.fullmatch(rf"[-\w.]+==[\w.]+( ; ({marker}))?", line), line


def test_locks_do_not_contradict_each_other() -> None:
    pins: dict[str, str] = {}
    for lock in sorted((ROOT / "requirements").glob("*.txt")):
        if lock.stem == "ros-jazzy":  # stands in for ros
            continue
        for line in lock.read_text().splitlines():
            if line and line[0] != "#":
                name, _, version = line.partition("==")
                marker = line.partition(" ; ")[2]
                assert f"{name} {marker}" not in pins, f"{name} is pinned twice"
                pins[f"{name} {marker}"] = version
