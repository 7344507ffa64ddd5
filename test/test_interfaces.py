# SPDX-License-Identifier: Apache-2.0
"""interfaces/ holds the public messages field for field: equal type hashes, equal bytes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "scripts" / "build_interfaces.py"

# As every public ROS 2 distribution since Iron announces them (`ros2 topic info -v`).
PUBLIC_HASHES = {
    "vision_msgs/msg/Detection3DArray": (
        "RIHS01_793f5eab9595ac1c0da07873cc859db42eae51f0ee76056db8562515d830e018"
    ),
    "vision_msgs/msg/Detection3D": (
        "RIHS01_ddd703be132ab0b69d33121f1bb034132bfbb3b0ac5f9fb1516005ba1c8a265b"
    ),
    "vision_msgs/msg/ObjectHypothesisWithPose": (
        "RIHS01_41c12344c0396c48b81df12467c192d99b2a0eb1463c5c37194e4223251c80bc"
    ),
    "vision_msgs/msg/ObjectHypothesis": (
        "RIHS01_51da43cec11c01957a64d1e05a24acd18aae7745ec30b74348ad5f6d634f7f90"
    ),
    "vision_msgs/msg/BoundingBox3D": (
        "RIHS01_bbb73a65c163d7f9bb29009c7bde9f7faa576bd2d23299c4511d19230dab4698"
    ),
    "vision_msgs/msg/BoundingBox3DArray": (
        "RIHS01_a81938db9576b10c2eecd7c5a5da3eac496efd00221b25ed051dfbc81fb56da6"
    ),
    "tf2_msgs/msg/TFMessage": (
        "RIHS01_e369d0f05a23ae52508854b66f6aa0437f3449d652e8cbf22d5abe85d020f087"
    ),
}


def share_of(package: str) -> Path:
    """Folder of a package that scripts/build_interfaces.py installed; skips where there is none."""
    share = Path(sys.prefix) / "share" / package
    if not (share / "build_stamp").is_file():
        pytest.skip(f"{package} was not built here (a ROS distribution provides it)")
    return share


def run_build(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(BUILD), *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def probe_package(folder: Path) -> Path:
    """Write a package that no installation provides."""
    package = folder / "probe_msgs"
    (package / "msg").mkdir(parents=True)
    manifest = (ROOT / "interfaces" / "tf2_msgs" / "package.xml").read_text()
    (package / "package.xml").write_text(manifest.replace("tf2_msgs", "probe_msgs"))
    (package / "msg" / "Pair.msg").write_text("geometry_msgs/Pose left\ngeometry_msgs/Pose right\n")
    return package


@pytest.mark.parametrize("name", PUBLIC_HASHES)
def test_hash_computed_by_rosidl_is_the_public_one(name: str) -> None:
    package, _, message = name.split("/")
    description = json.loads((share_of(package) / "msg" / f"{message}.json").read_text())
    hashes = {entry["type_name"]: entry["hash_string"] for entry in description["type_hashes"]}
    assert hashes[name] == PUBLIC_HASHES[name]


@pytest.mark.parametrize("name", PUBLIC_HASHES)
def test_hash_computed_by_rosbags_is_the_public_one(name: str) -> None:
    typesys = pytest.importorskip("rosbags.typesys")
    store = typesys.get_typestore(typesys.Stores.EMPTY)
    types = dict(typesys.get_typestore(typesys.Stores.ROS2_JAZZY).fielddefs)
    types.pop("tf2_msgs/msg/TFMessage")
    for path in sorted((ROOT / "interfaces").glob("*/msg/*.msg")):
        own_name = f"{path.parts[-3]}/msg/{path.stem}"
        types |= typesys.get_types_from_msg(path.read_text(), own_name)
    store.register(types)
    assert store.hash_rihs01(name) == PUBLIC_HASHES[name]


def test_a_living_topic_announces_the_public_hash() -> None:
    rclpy = pytest.importorskip("rclpy")
    from vision_msgs.msg import Detection3DArray

    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("interface_probe", context=context)
    try:
        node.create_publisher(Detection3DArray, "probe_detections", 1)
        (endpoint,) = node.get_publishers_info_by_topic("probe_detections")
        assert str(endpoint.topic_type_hash) == PUBLIC_HASHES["vision_msgs/msg/Detection3DArray"]
    finally:
        node.destroy_node()
        context.try_shutdown()


def test_serialised_message_reads_back_equal() -> None:
    pytest.importorskip("rclpy")
    from geometry_msgs.msg import Point
    from rclpy.serialization import deserialize_message, serialize_message
    from vision_msgs.msg import Detection3D, Detection3DArray, ObjectHypothesisWithPose

    detection = Detection3D(id="7")
    detection.bbox.center.position = Point(x=1.5, y=-2.0, z=0.25)
    detection.bbox.size.x = 4.0
    hypothesis = ObjectHypothesisWithPose()
    hypothesis.hypothesis.class_id = "car"
    hypothesis.hypothesis.score = 0.75
    hypothesis.pose.covariance = np.arange(36, dtype=np.float64)
    detection.results.append(hypothesis)
    message = Detection3DArray(detections=[detection, Detection3D()])
    message.header.frame_id = "base_link"

    assert deserialize_message(serialize_message(message), Detection3DArray) == message


def test_message_files_hold_bare_declarations_only() -> None:
    for path in (ROOT / "interfaces").glob("*/msg/*.msg"):
        first, *fields = path.read_text().splitlines()
        assert first == "# SPDX-License-Identifier: Apache-2.0", path
        assert fields, path
        assert all(len(field.split()) == 2 for field in fields), path


def test_colcon_does_not_see_the_interfaces() -> None:
    assert (ROOT / "interfaces" / "COLCON_IGNORE").is_file()


def test_build_is_skipped_when_nothing_changed() -> None:
    share_of("tf2_msgs")
    result = run_build(str(ROOT / "interfaces" / "tf2_msgs"))
    assert (result.returncode, result.stdout) == (0, "tf2_msgs: up to date\n")


def test_own_package_is_built_and_usable_from_another_prefix(tmp_path: Path) -> None:
    share_of("tf2_msgs")
    package = probe_package(tmp_path)

    result = run_build(str(package), "--prefix", str(tmp_path / "prefix"))
    assert result.returncode == 0, result.stderr

    (site_packages,) = (tmp_path / "prefix" / "lib").glob("python*/site-packages")
    code = (
        "from probe_msgs.msg import Pair; from rclpy.serialization import *; "
        "p = Pair(); p.right.position.x = 3.0; "
        "print(deserialize_message(serialize_message(p), Pair).right.position.x)"
    )
    environment = {**os.environ, "PYTHONPATH": str(site_packages)}
    command = [sys.executable, "-c", code]
    output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert output.stdout == "3.0\n"


def test_missing_compiler_is_one_line_that_names_the_fix(tmp_path: Path) -> None:
    share_of("tf2_msgs")
    package = probe_package(tmp_path)

    result = run_build(str(package), "--prefix", str(tmp_path / "prefix"), PATH=str(tmp_path))

    assert result.returncode == 1
    assert result.stderr.splitlines() == [
        "build_interfaces: g++ is missing: apt-get install g++ (or your system's C++ compiler)"
    ]


def test_missing_dependency_is_one_line_that_names_it(tmp_path: Path) -> None:
    package = tmp_path / "lonely_msgs"
    shutil.copytree(ROOT / "interfaces" / "tf2_msgs", package)
    manifest = (package / "package.xml").read_text()
    (package / "package.xml").write_text(manifest.replace("geometry_msgs", "absent_msgs"))

    result = run_build(str(package), "--prefix", str(tmp_path / "prefix"))

    assert result.returncode == 1
    assert result.stderr.splitlines() == [
        "build_interfaces: lonely_msgs needs absent_msgs: pip install -r requirements/ros.txt"
    ]
