# SPDX-License-Identifier: Apache-2.0
"""Play nuScenes (a dataroot or a bag) against the detector, score it, show it in RViz if asked."""

from pathlib import Path
from typing import Any

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription
from launch.action import Action
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueFunction,
    Shutdown,
)
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch_ros.actions import Node
from launch_ros.substitutions import ExecutableInPackage

SHARE = Path(get_package_share_directory("simdistill_ros"))
STEP_PATIENCE_S = 60.0

# name, default, description, choices
ARGUMENTS = (
    ("dataroot", "", "nuScenes folder (samples, sweeps, tables); needed to score", None),
    ("version", "v1.0-mini", "table folder of the dataroot", None),
    ("split", "", "only scenes of this split; empty: all", None),
    ("scenes", "", "only these scenes, separated by spaces; empty: all", None),
    ("limit", "", "only the first keyframes of each scene; empty: all", None),
    ("bag", "", "bag, or folder of bags, to play; empty: made from the dataroot", None),
    ("out", "out/replay", "folder for the results", None),
    ("model", "", "folder or name of the model; empty: small", None),
    ("device", "cpu", "device of the network", ["cpu", "cuda"]),
    ("mode", "step", "step waits for every answer, realtime does not", ["step", "realtime"]),
    ("input", "compressed", "what the cameras publish", ["compressed", "raw"]),
    ("fixed_frame", "map", "frame that undoes ego motion between cameras; empty: off", None),
    ("score_threshold", "0.05", "detections below are not published", None),
    ("oracle", "false", "ground truth in place of the network", ["true", "false"]),
    ("rviz", "false", "also start RViz, and keep it open at the end", ["true", "false"]),
)
TO_REPLAY = ("dataroot", "version", "split", "limit", "bag", "out", "model", "mode", "input")


def make_detector(argument: dict[str, str]) -> Node:
    """Return the node with the parameters that a replay needs."""
    step = argument["mode"] == "step"
    parameters: dict[str, Any] = {
        "model.path": argument["model"],
        "device": argument["device"],
        "input.compressed": argument["input"] == "compressed",
        "fixed_frame": argument["fixed_frame"],
        "score_threshold": float(argument["score_threshold"]),
        "max_detections": 500,  # as many as the benchmark takes
        "use_sim_time": not step,  # the clock stands still between steps
    }
    if step:  # nothing is given up that may still come
        parameters |= {
            "input.reliability": "reliable",
            "sync.timeout_s": STEP_PATIENCE_S,
            "tf.timeout_s": STEP_PATIENCE_S,
        }
    return Node(
        package="simdistill_ros",
        executable="detector_node",
        name="detector",
        parameters=[parameters],
        output="screen",
        emulate_tty=True,
    )


def make_replay(argument: dict[str, str]) -> ExecuteProcess:
    """Return the player and evaluator; without RViz, the launch ends with it."""
    command: list[Any] = [ExecutableInPackage("replay", "simdistill_ros")]
    for name in TO_REPLAY:
        if argument[name]:
            command += [f"--{name}", argument[name]]
    command += ["--fixed-frame", argument["fixed_frame"]]
    command += ["--score-threshold", argument["score_threshold"]]
    if argument["scenes"]:
        command += ["--scenes", *argument["scenes"].split()]
    if argument["oracle"] == "true":
        command += ["--oracle"]  # starts its own node, which knows the ground truth
    else:
        command += ["--external-node", "detector"]
    on_exit = [] if argument["rviz"] == "true" else [Shutdown(reason="the replay has ended")]
    return ExecuteProcess(cmd=command, output="screen", emulate_tty=True, on_exit=on_exit)


def make_actions(context: LaunchContext) -> list[Action]:
    """Return what the arguments ask for."""
    argument = {name: context.launch_configurations[name] for name, *_ in ARGUMENTS}
    actions: list[Action] = []
    if argument["oracle"] == "false":
        actions.append(make_detector(argument))
    actions.append(make_replay(argument))
    if argument["rviz"] == "true":
        view = PythonLaunchDescriptionSource(str(SHARE / "launch" / "view.launch.py"))
        decode = "true" if argument["input"] == "compressed" else "false"
        options = {"use_sim_time": "true", "decode": decode}
        actions.append(IncludeLaunchDescription(view, launch_arguments=options.items()))
    return actions


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments; start node, replay and, if asked, RViz."""
    environment = PythonLaunchDescriptionSource(str(SHARE / "launch" / "environment.launch.py"))
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=default, description=text, choices=values)
                for name, default, text, values in ARGUMENTS
            ),
            IncludeLaunchDescription(environment),
            OpaqueFunction(function=make_actions),
        ]
    )
