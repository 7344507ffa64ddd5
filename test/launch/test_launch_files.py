# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib.util
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from simdistill_ros.process_environment import PROCESS_ENVIRONMENT

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(path.name.split(".")[0] for path in (ROOT / "launch").glob("*.launch.py"))
Load = Callable[[str], Any]


def environment_of_shell_script() -> dict[str, str]:
    """What scripts/env.sh exports into an empty environment."""
    script = "set -e; . scripts/env.sh; env"
    bare = {"PATH": os.environ["PATH"]}
    output = subprocess.run(
        ["bash", "-c", script], cwd=ROOT, env=bare, capture_output=True, text=True, check=True
    ).stdout
    return dict(line.split("=", 1) for line in output.splitlines() if "=" in line)


def test_all_launch_files_are_covered() -> None:
    assert FILES == ["detector", "environment", "nuscenes_replay", "view"]


@pytest.mark.parametrize("name", FILES)
def test_every_argument_is_described_and_has_a_default(launched: Load, name: str) -> None:
    file = launched(name)
    assert file.arguments
    for argument, options in file.arguments.items():
        assert len(options["description"]) > 5, argument
        assert isinstance(options["default_value"], str), argument
        choices = options.get("choices")
        assert choices is None or options["default_value"] in choices, argument


@pytest.mark.parametrize("name", FILES)
def test_every_configuration_that_is_read_is_declared(name: str) -> None:
    text = (ROOT / "launch" / f"{name}.launch.py").read_text()
    for used in re.findall(r'LaunchConfiguration\("(\w+)"\)', text):
        declared = rf'(DeclareLaunchArgument\(\s*"{used}"|\(\s*"{used}", )'
        assert re.search(declared, text), used


@pytest.mark.parametrize("name", ["detector", "nuscenes_replay", "view"])
def test_environment_is_set_before_any_process_starts(launched: Load, name: str) -> None:
    kinds = [entity.kind for entity in launched(name).entities]
    sources = [
        entity.args[0].args[0]
        for entity in launched(name).entities
        if entity.kind == "IncludeLaunchDescription"
    ]
    assert sources[0].endswith("environment.launch.py")
    first_process = min(kinds.index(kind) for kind in ("OpaqueFunction", "Node") if kind in kinds)
    assert kinds.index("IncludeLaunchDescription") < first_process


def test_launch_sets_the_same_variables_as_the_shell(
    launched: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ROS_DISTRO", raising=False)
    monkeypatch.delenv("FASTDDS_DEFAULT_PROFILES_FILE", raising=False)
    file = launched("environment")
    set_by_launch = {e.args[0]: e.args[1] for e in file.of_kind("SetEnvironmentVariable")}
    shell = environment_of_shell_script()
    profile = "FASTDDS_DEFAULT_PROFILES_FILE"
    assert set_by_launch.pop(profile).args == ("fastdds_profile",)
    assert Path(shell[profile]).samefile(file.arguments["fastdds_profile"]["default_value"])
    assert set_by_launch == {name: shell[name] for name in PROCESS_ENVIRONMENT}


def test_the_shell_script_sets_what_the_launch_files_and_the_replay_set() -> None:
    shell = environment_of_shell_script()
    assert {name: shell.get(name) for name in PROCESS_ENVIRONMENT} == PROCESS_ENVIRONMENT


@pytest.mark.parametrize(("distribution", "legacy"), [("humble", True), ("kilted", False)])
def test_old_distributions_get_the_profile_under_its_old_name(
    launched: Load, monkeypatch: pytest.MonkeyPatch, distribution: str, legacy: bool
) -> None:
    monkeypatch.setenv("ROS_DISTRO", distribution)
    names = {e.args[0] for e in launched("environment").of_kind("SetEnvironmentVariable")}
    assert "FASTDDS_DEFAULT_PROFILES_FILE" in names
    assert ("FASTRTPS_DEFAULT_PROFILES_FILE" in names) is legacy


def test_detector_reads_the_parameter_file_before_its_preset(launched: Load) -> None:
    (node,) = launched("detector").actions(preset="wato")
    *files, overrides = node.kwargs["parameters"]
    assert [Path(file).name for file in files] == ["detector.yaml", "wato.yaml"]
    assert all(Path(file).is_file() for file in files)
    assert overrides == {"use_sim_time": False, "autostart": True}


def test_empty_arguments_leave_the_parameter_file_alone(launched: Load) -> None:
    (node,) = launched("detector").actions()
    assert not {"model.path", "device"} & set(node.kwargs["parameters"][-1])


def test_given_model_and_device_override_the_parameter_file(launched: Load) -> None:
    (node,) = launched("detector").actions(model="/models/mine", device="cuda", autostart="false")
    overrides = node.kwargs["parameters"][-1]
    assert overrides["model.path"] == "/models/mine"
    assert overrides["device"] == "cuda"
    assert overrides["autostart"] is False


def test_every_preset_file_is_a_choice(launched: Load) -> None:
    files = {path.stem for path in (ROOT / "config" / "presets").glob("*.yaml")}
    assert files == {"ours", "nuscenes2bag", "wato", "chris7462", "dataset_bridge"}
    assert set(launched("detector").arguments["preset"]["choices"]) == files | {""}


def test_replay_launch_starts_node_and_evaluator_against_each_other(launched: Load) -> None:
    file = launched("nuscenes_replay")
    node, replay = file.actions(dataroot="/data", scenes="a b", mode="realtime", input="raw")
    command = [part for part in replay.kwargs["cmd"] if isinstance(part, str)]
    assert node.kwargs["executable"] == "detector_node"
    assert command[command.index("--external-node") + 1] == node.kwargs["name"]
    assert command[command.index("--scenes") + 1 :][:2] == ["a", "b"]
    (parameters,) = node.kwargs["parameters"]
    assert parameters["input.compressed"] is False
    assert parameters["use_sim_time"] is True


def test_replay_launch_leaves_the_node_to_the_oracle(launched: Load) -> None:
    (replay,) = launched("nuscenes_replay").actions(dataroot="/data", oracle="true")
    assert "--oracle" in replay.kwargs["cmd"]
    assert "--external-node" not in replay.kwargs["cmd"]


def test_launch_ends_with_the_replay_unless_rviz_is_open(launched: Load) -> None:
    file = launched("nuscenes_replay")
    assert [e.kind for e in file.actions(dataroot="/d")[1].kwargs["on_exit"]] == ["Shutdown"]
    _, replay, view = file.actions(dataroot="/d", rviz="true")
    assert not replay.kwargs["on_exit"]
    assert view.args[0].args[0].endswith("view.launch.py")


def test_replay_launch_speaks_the_options_of_replay(launched: Load) -> None:
    pytest.importorskip("rosbags")
    replay_cli = pytest.importorskip("simdistill_ros.replay.replay")
    values = {
        "dataroot": "/data",
        "version": "v1.0-trainval",
        "split": "val",
        "scenes": "scene-1 scene-2",
        "limit": "3",
        "bag": "/bag",
        "model": "tiny",
        "input": "raw",
    }
    _, replay = launched("nuscenes_replay").actions(**values)
    options = replay_cli.options_of(replay_cli.make_parser().parse_args(replay.kwargs["cmd"][1:]))
    assert options.external_node == "detector"
    assert options.dataroot == Path("/data")
    assert options.scenes == ("scene-1", "scene-2")
    assert (options.version, options.split, options.limit) == ("v1.0-trainval", "val", 3)
    assert (options.mode, options.input, options.model) == ("step", "raw", "tiny")


@pytest.mark.parametrize("mode", ["step", "realtime"])
def test_replay_launch_gives_the_node_what_replay_alone_gives_it(launched: Load, mode: str) -> None:
    session = pytest.importorskip("simdistill_ros.replay.session")
    options = pytest.importorskip("simdistill_ros.replay.options")
    node, _ = launched("nuscenes_replay").actions(dataroot="/data", mode=mode, model="tiny")
    alone = options.ReplayOptions(out=Path("out"), dataroot=Path("/data"), mode=mode, model="tiny")
    _, arguments = session._command(alone)
    expected = {
        name: yaml.safe_load(value)
        for name, value in (a.split(":=") for a in arguments if ":=" in a)
    }
    assert node.kwargs["parameters"] == [expected]


def test_launch_packages_accept_the_files() -> None:
    if importlib.util.find_spec("launch_ros") is None:
        pytest.skip("launch_ros is not installed here; the files were loaded with stand-ins")
    from launch import LaunchContext
    from launch.launch_description_sources import PythonLaunchDescriptionSource

    for name in FILES:
        source = PythonLaunchDescriptionSource(str(ROOT / "launch" / f"{name}.launch.py"))
        description = source.get_launch_description(LaunchContext())
        assert description.get_launch_arguments()
