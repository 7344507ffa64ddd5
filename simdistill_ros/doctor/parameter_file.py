# SPDX-License-Identifier: Apache-2.0
"""Parameter files → `Plan`, by the node's own declarations, without starting a node.

`ParameterSheet` offers what `parameters.py` asks of a node. What a node would refuse or, worse,
silently ignore becomes a problem of the plan.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

from simdistill_ros.core.model_card import ModelCard, ModelCardError, load_model_card
from simdistill_ros.doctor.observations import CameraPlan, Plan
from simdistill_ros.parameters import (
    NodeParameters,
    ParameterError,
    camera_names,
    camera_topics,
    declare_parameters,
    read_parameters,
)
from simdistill_ros.resources import model_folder

NODE_NAME = "detector"
USE_SIM_TIME = "use_sim_time"
# What every rclpy node understands besides its own parameters.
_COMMON_PREFIXES = (USE_SIM_TIME, "qos_overrides.", "start_type_description_service")


class ParameterSheet:
    """Parameters as a node holds them: declared ones, with values from files."""

    def __init__(self, overrides: dict[str, Any]) -> None:
        """Start with nothing declared."""
        self._overrides = overrides
        self._values: dict[str, Any] = {}

    def declare_parameter(self, name: str, default: Any, descriptor: Any = None) -> None:
        """Declare a parameter; the file's value wins over the default.

        Raises:
            ParameterError: If the file's value has another type or is out of range, which a node
                refuses.
        """
        value = self._overrides.get(name, default)
        if type(value) is not type(default):
            raise ParameterError(
                f"{name}: expected {_type_name(default)}, got {_type_name(value)} {value!r}"
            )
        ranges = (*descriptor.floating_point_range, *descriptor.integer_range)
        for limits in ranges if descriptor is not None else ():
            if not limits.from_value <= value <= limits.to_value:
                raise ParameterError(
                    f"{name}: expected {limits.from_value} to {limits.to_value}, got {value}"
                )
        self._values[name] = value

    def has_parameter(self, name: str) -> bool:
        """Tell whether it is declared."""
        return name in self._values

    def get_parameter(self, name: str) -> Any:
        """Return an object with the `value`."""
        return SimpleNamespace(value=self._values[name])

    def unknown(self) -> list[str]:
        """Return names in the files that nothing declares: a node ignores them silently."""
        return [
            name
            for name in self._overrides
            if name not in self._values and not name.startswith(_COMMON_PREFIXES)
        ]


def _type_name(value: Any) -> str:
    return {bool: "true or false", float: "a number with a decimal point", int: "a whole number",
            str: "text"}.get(type(value), type(value).__name__)  # fmt: skip


def read_overrides(files: Sequence[Path], node_name: str = NODE_NAME) -> dict[str, Any]:
    """Return the parameters of a node in some files, dotted; later files win.

    Raises:
        ValueError: If a file is not a ROS parameter file.
    """
    overrides: dict[str, Any] = {}
    for path in files:
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ValueError(f"--params {path}: expected a ROS parameter file; {error}") from error
        sections = content if isinstance(content, dict) else {}
        bodies = [
            section["ros__parameters"]
            for name, section in sections.items()
            if _is_for(str(name), node_name)
            and isinstance(section, dict)
            and isinstance(section.get("ros__parameters"), dict)
        ]
        if not bodies:
            raise ValueError(
                f"--params {path}: expected `/**:` or `{node_name}:` with `ros__parameters:`"
            )
        for body in bodies:
            overrides.update(_flatten(body))
    return overrides


def _is_for(section: str, node_name: str) -> bool:
    return section.strip("/").split("/")[-1] in ("**", "*", node_name)


def _flatten(body: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in body.items():
        if isinstance(value, dict):
            flat.update(_flatten(value, f"{prefix}{key}."))
        elif value is not None:
            flat[f"{prefix}{key}"] = value
    return flat


def plan_from_files(files: Sequence[Path], namespace: str = "") -> Plan:
    """Return what a node with these parameter files would listen to and expect.

    Raises:
        ValueError: If a file cannot be read, or a value is one that no plan can be made with.
    """
    sheet = ParameterSheet(read_overrides(files))
    declare_parameters(sheet)
    parameters = read_parameters(sheet)
    card, problems = _card(parameters)
    try:
        names = camera_names(sheet, card.cameras)
    except ParameterError as error:
        problems.append(("model_cameras", str(error)))
        names = card.cameras
    topics = camera_topics(sheet, names, compressed=parameters.input.compressed)
    problems += [
        ("parameter_unknown", f"{name}: no such parameter; the node ignores it")
        for name in sheet.unknown()
    ]
    cameras = tuple(
        CameraPlan(t.name, _absolute(t.image_topic, namespace),
                   _absolute(t.camera_info_topic, namespace))
        for t in topics
    )  # fmt: skip
    sim_time = bool(sheet._overrides.get(USE_SIM_TIME, False))
    return _plan(parameters, cameras, sim_time, tuple(problems))


def _plan(
    parameters: NodeParameters,
    cameras: tuple[CameraPlan, ...],
    use_sim_time: bool,
    problems: tuple[tuple[str, str], ...],
) -> Plan:
    return Plan(
        cameras=cameras,
        compressed=parameters.input.compressed,
        rectified=parameters.input.rectified,
        ignore_r=parameters.input.ignore_r,
        reliability=parameters.input.reliability,
        base_frame=parameters.base_frame,
        fixed_frame=parameters.fixed_frame,
        tolerance_ns=parameters.sync.tolerance_ns,
        timeout_ns=parameters.sync.timeout_ns,
        queue_size=parameters.sync.queue_size,
        anchor=parameters.sync.anchor,
        tf_timeout_ns=parameters.tf_timeout_ns,
        device=parameters.device,
        use_sim_time=use_sim_time,
        model=parameters.model_path,
        problems=problems,
    )


def _card(parameters: NodeParameters) -> tuple[ModelCard, list[tuple[str, str]]]:
    """Return the model's card, or the default model's with the problem that made it necessary."""
    try:
        return load_model_card(model_folder(parameters.model_path)), []
    except (ModelCardError, OSError) as error:
        text = f"model.path {parameters.model_path!r}: {error}"
        return load_model_card(model_folder("")), [("model_unusable", text)]


def _absolute(topic: str, namespace: str) -> str:
    if topic.startswith("/"):
        return topic
    prefix = namespace.strip("/")
    return f"/{prefix}/{topic}" if prefix else f"/{topic}"
