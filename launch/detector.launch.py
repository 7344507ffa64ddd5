# SPDX-License-Identifier: Apache-2.0
"""Start the detector on a vehicle's (or a bag's) cameras."""

from pathlib import Path
from typing import Any

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
from launch.conditions import IfCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

SHARE = Path(get_package_share_directory("simdistill_ros"))
PRESETS = sorted(path.stem for path in (SHARE / "config" / "presets").glob("*.yaml"))

# name, default, description, choices
ARGUMENTS = (
    ("params_file", str(SHARE / "config" / "detector.yaml"), "ROS parameters of the node", None),
    ("preset", "", "topic layout that overrides params_file; empty: none", ["", *PRESETS]),
    ("model", "", "folder or name of the model; empty: what params_file says", None),
    ("device", "", "device of the network; empty: what params_file says", ["", "cpu", "cuda"]),
    ("namespace", "", "namespace of the node and of its relative topics", None),
    ("use_sim_time", "false", "take time from /clock, as when a bag is played", ["true", "false"]),
    ("autostart", "true", "configure and activate without a manager", ["true", "false"]),
    ("log_level", "info", "log level", ["debug", "info", "warn", "error", "fatal"]),
    ("rviz", "false", "also start RViz (see view.launch.py)", ["true", "false"]),
)


def include(name: str, **options: Any) -> IncludeLaunchDescription:
    """Include another launch file of this package."""
    source = PythonLaunchDescriptionSource(str(SHARE / "launch" / f"{name}.launch.py"))
    return IncludeLaunchDescription(source, **options)


def make_node(context: LaunchContext) -> list[Node]:
    """Return the node; what was left empty does not override the parameter file."""
    argument = {name: context.launch_configurations[name] for name, *_ in ARGUMENTS}
    files = [argument["params_file"]]
    if argument["preset"]:
        files.append(str(SHARE / "config" / "presets" / f"{argument['preset']}.yaml"))
    overrides: dict[str, Any] = {
        "use_sim_time": argument["use_sim_time"] == "true",
        "autostart": argument["autostart"] == "true",
    }
    if argument["model"]:
        overrides["model.path"] = argument["model"]
    if argument["device"]:
        overrides["device"] = argument["device"]
    node = Node(
        package="simdistill_ros",
        executable="detector_node",
        name="detector",
        namespace=argument["namespace"],
        parameters=[*files, overrides],
        arguments=["--ros-args", "--log-level", argument["log_level"]],
        output="screen",
        emulate_tty=True,
    )
    return [node]


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments; start the node and, if asked, RViz."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=text, choices=choices)
        for name, default, text, choices in ARGUMENTS
    ]
    sim_time = {"use_sim_time": LaunchConfiguration("use_sim_time")}
    view = include(
        "view",
        condition=IfCondition(LaunchConfiguration("rviz")),
        launch_arguments=sim_time.items(),
    )
    return LaunchDescription(
        [*declared, include("environment"), OpaqueFunction(function=make_node), view]
    )
