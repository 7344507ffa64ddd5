# SPDX-License-Identifier: Apache-2.0
"""Environment for processes that carry images; included by the other launch files.

`scripts/env.sh` sets the same for what runs without `ros2 launch`.
"""

import os
from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration

from simdistill_ros.process_environment import PROCESS_ENVIRONMENT

PROFILE_VARIABLE = "FASTDDS_DEFAULT_PROFILES_FILE"
LEGACY_PROFILE_VARIABLE = "FASTRTPS_DEFAULT_PROFILES_FILE"
LEGACY_DISTRIBUTIONS = ("humble", "iron", "jazzy")


def generate_launch_description() -> LaunchDescription:
    """Declare the Fast DDS profile and set the variables."""
    share = Path(get_package_share_directory("simdistill_ros"))
    shipped = str(share / "config" / "fastdds_profile.xml")
    names = [PROFILE_VARIABLE]
    if os.environ.get("ROS_DISTRO") in LEGACY_DISTRIBUTIONS:
        names.append(LEGACY_PROFILE_VARIABLE)
    profile = DeclareLaunchArgument(
        "fastdds_profile",
        default_value=os.environ.get(names[-1], shipped),
        description="Fast DDS profile; without a large shared-memory segment raw images are lost",
    )
    variables = {
        **PROCESS_ENVIRONMENT,
        **dict.fromkeys(names, LaunchConfiguration("fastdds_profile")),
    }
    return LaunchDescription(
        [profile, *(SetEnvironmentVariable(name, value) for name, value in variables.items())]
    )
