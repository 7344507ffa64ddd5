# SPDX-License-Identifier: Apache-2.0
"""Load launch files where the launch packages are not installed: recorders stand in for them."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
NAMES = {
    "launch": ("LaunchContext", "LaunchDescription"),
    "launch.action": ("Action",),
    "launch.actions": (
        *("DeclareLaunchArgument", "ExecuteProcess", "IncludeLaunchDescription"),
        *("OpaqueFunction", "SetEnvironmentVariable", "Shutdown"),
    ),
    "launch.conditions": ("IfCondition",),
    "launch.launch_description_sources": ("PythonLaunchDescriptionSource",),
    "launch.substitutions": ("LaunchConfiguration",),
    "launch_ros": (),
    "launch_ros.actions": ("Node",),
    "launch_ros.substitutions": ("ExecutableInPackage",),
    "ament_index_python": (),
    "ament_index_python.packages": (),
}


class Recorder:
    """Keeps the arguments it was made with."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.args = args
        self.kwargs = kwargs

    @property
    def kind(self) -> str:
        return type(self).__name__


class Launched:
    """What a launch file describes, with its argument defaults filled in."""

    def __init__(self, path: Path) -> None:
        self.module = runpy.run_path(str(path))
        self.entities: list[Recorder] = list(self.module["generate_launch_description"]().args[0])
        self.arguments = {e.args[0]: e.kwargs for e in self.of_kind("DeclareLaunchArgument")}

    def of_kind(self, kind: str) -> list[Recorder]:
        return [entity for entity in self.entities if entity.kind == kind]

    def actions(self, **values: str) -> list[Recorder]:
        """Run the launch file's opaque function with these arguments."""
        assert set(values) <= set(self.arguments), "a test gives an argument that is not declared"
        defaults = {name: options["default_value"] for name, options in self.arguments.items()}
        context = Recorder()
        context.launch_configurations = {**defaults, **values}  # type: ignore[attr-defined]
        (opaque,) = self.of_kind("OpaqueFunction")
        return list(opaque.kwargs["function"](context))


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Launched]:
    """A function that loads launch/<name>.launch.py."""
    for module_name, classes in NAMES.items():
        module = ModuleType(module_name)
        for name in classes:
            setattr(module, name, type(name, (Recorder,), {}))
        monkeypatch.setitem(sys.modules, module_name, module)
    packages = sys.modules["ament_index_python.packages"]
    packages.get_package_share_directory = lambda name: str(ROOT)  # type: ignore[attr-defined]
    return lambda name: Launched(ROOT / "launch" / f"{name}.launch.py")
