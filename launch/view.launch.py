# SPDX-License-Identifier: Apache-2.0
"""Show cameras, detections, ground truth, LiDAR and frames in RViz."""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.conditions import IfCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

SHARE = Path(get_package_share_directory("simdistill_ros"))
CAMERAS = (
    *("cam_front", "cam_front_right", "cam_front_left"),
    *("cam_back", "cam_back_left", "cam_back_right"),
)


def republish(camera: str) -> Node:
    """Decode a camera's jpeg stream for RViz, whose image display wants raw images.

    The transports are named twice: Humble reads the arguments, Jazzy and later the parameters.
    """
    return Node(
        package="image_transport",
        executable="republish",
        name=f"{camera}_republish",
        arguments=["compressed", "raw"],
        parameters=[{"in_transport": "compressed", "out_transport": "raw"}],
        remappings=[
            ("in/compressed", f"/{camera}/image_rect_compressed"),
            ("out", f"/{camera}/image_rect"),
        ],
        condition=IfCondition(LaunchConfiguration("decode")),
    )


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments; start RViz and one decoder per camera."""
    environment = PythonLaunchDescriptionSource(str(SHARE / "launch" / "environment.launch.py"))
    use_sim_time = LaunchConfiguration("use_sim_time")
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "rviz_config",
                default_value=str(SHARE / "config" / "view.rviz"),
                description="RViz configuration",
            ),
            DeclareLaunchArgument(
                "decode",
                default_value="true",
                description="decode jpeg camera topics for RViz; false if they are raw",
                choices=["true", "false"],
            ),
            DeclareLaunchArgument(
                "use_sim_time",
                default_value="false",
                description="take time from /clock, as when a bag is played",
                choices=["true", "false"],
            ),
            IncludeLaunchDescription(environment),
            *(republish(camera) for camera in CAMERAS),
            Node(
                package="rviz2",
                executable="rviz2",
                arguments=["-d", LaunchConfiguration("rviz_config")],
                parameters=[{"use_sim_time": use_sim_time}],
            ),
        ]
    )
