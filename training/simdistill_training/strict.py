# SPDX-License-Identifier: Apache-2.0
"""YAML ↔ frozen dataclasses: an unknown, missing or wrong key is an error.

A key may be missing where the dataclass has a default for it.
"""

from __future__ import annotations

import json
import types
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml
from pydantic import TypeAdapter, ValidationError

CONFIGS = Path(__file__).resolve().parents[1] / "configs"

Config = TypeVar("Config")


class ConfigError(ValueError):
    """A configuration cannot be used; the message names the file and each key."""


def read_config(kind: type[Config], file: Path) -> Config:
    """Return the configuration that a YAML file holds.

    Raises:
        ConfigError: If the file is missing, is not YAML, or does not describe `kind` completely.
    """
    if not file.is_file():
        raise ConfigError(f"{file}: no such configuration")
    try:
        data = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not readable as YAML: {error}") from error
    return config_from_dict(kind, data, str(file))


def config_from_dict(kind: type[Config], data: Any, where: str) -> Config:
    """Return the configuration that plain data describes.

    Args:
        kind: A frozen dataclass; what its `__post_init__` refuses is an error too.
        data: Mappings, lists and scalars.
        where: Named in messages.

    Raises:
        ConfigError: If a key is unknown, missing or of a wrong type or value.
    """
    problems = [f"{where}: {problem}" for problem in _key_problems(kind, data, "")]
    if problems:
        raise ConfigError("\n".join(problems))
    try:
        return TypeAdapter(kind).validate_json(json.dumps(data, default=str), strict=True)
    except ValidationError as error:
        lines = [
            f"{where}: {'.'.join(str(part) for part in item['loc'])}: {item['msg']}"
            for item in error.errors()
        ]
        raise ConfigError("\n".join(lines)) from None


def config_file(name: str) -> Path:
    """Return a configuration's file: a path, or the name of a shipped one."""
    shipped = CONFIGS / f"{name}.yaml"
    return shipped if shipped.is_file() and not Path(name).is_file() else Path(name)


def assign(data: dict[str, Any], key: str, value: Any) -> None:
    """Change one value of plain data, in place.

    Raises:
        ConfigError: If there is no such key.
    """
    *parents, last = key.split(".")
    for parent in parents:
        data = data[parent] if isinstance(data.get(parent), dict) else {}
    if last not in data:
        raise ConfigError(f"{key}: no such key")
    data[last] = value


def config_as_dict(config: Any) -> dict[str, Any]:
    """Return plain data that `config_from_dict` reads back."""
    data: dict[str, Any] = json.loads(TypeAdapter(type(config)).dump_json(config))
    return data


def _key_problems(kind: Any, data: Any, path: str) -> list[str]:
    """Return what is wrong with the keys below `path`; values are checked later."""
    if not isinstance(data, dict):
        return [f"{path or 'top level'}: expected keys and values, got {data!r}"]
    hints = get_type_hints(kind)
    expected = {field.name for field in fields(kind)}
    required = {
        field.name
        for field in fields(kind)
        if field.default is MISSING and field.default_factory is MISSING
    }
    prefix = f"{path}." if path else ""
    problems = [f"{prefix}{key}: unknown key" for key in data if key not in expected]
    problems += [f"{prefix}{key}: missing" for key in sorted(required - data.keys())]
    for name in expected & data.keys():
        nested = _dataclass_of(hints[name])
        if nested is not None and data[name] is not None:
            problems += _key_problems(nested, data[name], f"{prefix}{name}")
    return problems


def _dataclass_of(hint: Any) -> Any:
    """Return the dataclass a hint names, `X` or `X | None`; None for anything else."""
    if get_origin(hint) in (Union, types.UnionType):
        found = [option for option in map(_dataclass_of, get_args(hint)) if option is not None]
        return found[0] if found else None
    return hint if is_dataclass(hint) and isinstance(hint, type) else None
