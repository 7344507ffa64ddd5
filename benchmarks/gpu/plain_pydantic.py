# SPDX-License-Identifier: Apache-2.0
"""Stands in for pydantic and yaml on machines without them, so that model cards can be built.

It converts data to the cards' classes by their annotations and checks nothing: the cards that it is
given are the shipped ones, which the tests check with pydantic.
"""

from __future__ import annotations

import importlib
import json
import sys
import types
import typing
from collections.abc import Callable
from typing import Any


class BaseModel:
    """Fields from annotations; values are converted, not checked."""

    def __init__(self, **values: Any) -> None:
        """Take values by name; what is left out must have a default."""
        hints = typing.get_type_hints(type(self))
        for name, hint in hints.items():
            if name in values:
                setattr(self, name, converted(values[name], hint))
            elif not hasattr(type(self), name):
                raise ValueError(f"{type(self).__name__}: expected a value for {name}")

    @classmethod
    def model_validate_json(cls, text: str) -> BaseModel:
        """Return a model from JSON."""
        return cls(**json.loads(text))


def converted(value: Any, hint: Any) -> Any:
    """Return plain data as the type that a hint asks for."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return converted(value, _member(value, arguments))
    if origin is tuple:
        hints = arguments[:1] * len(value) if arguments[1:] == (...,) else arguments
        return tuple(converted(item, kind) for item, kind in zip(value, hints, strict=True))
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return value if isinstance(value, hint) else hint(**value)
    return float(value) if hint is float else value


def _member(value: Any, members: tuple[Any, ...]) -> Any:
    """Return the member of a union that a value is: by its `kind` where there are several."""
    if value is None:
        return type(None)
    models = [member for member in members if member is not type(None)]
    if len(models) == 1:
        return models[0]
    kinds = {typing.get_args(typing.get_type_hints(model)["kind"]): model for model in models}
    (found,) = (model for names, model in kinds.items() if value["kind"] in names)
    return found


def _decorator(*_: Any, **__: Any) -> Callable[[Any], Any]:
    return lambda function: function


def _is_missing(name: str) -> bool:
    try:
        importlib.import_module(name)
    except ImportError:
        return True
    return False


def install() -> None:
    """Put the stand-ins in place of pydantic and yaml where these are missing."""
    if _is_missing("pydantic"):
        module = types.ModuleType("pydantic")
        names = {
            "BaseModel": BaseModel,
            "ConfigDict": dict,
            "Field": lambda *_, **__: None,
            "PrivateAttr": lambda default: default,
            "ValidationError": ValueError,
            "field_validator": _decorator,
            "model_validator": _decorator,
        }
        for name, value in names.items():
            setattr(module, name, value)
        sys.modules["pydantic"] = module
    if _is_missing("yaml"):
        module = types.ModuleType("yaml")
        module.SafeLoader = object  # type: ignore[attr-defined]
        sys.modules["yaml"] = module
