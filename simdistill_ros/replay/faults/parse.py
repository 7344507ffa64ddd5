# SPDX-License-Identifier: Apache-2.0
"""Faults by name: `NAME[:key=value,...]` to a fault and back, and the list of all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import Field, dataclass, fields
from typing import Any

from simdistill_ros.replay.bag_storage import BagMessage
from simdistill_ros.replay.faults.calibration import CalibrationDrift
from simdistill_ros.replay.faults.content import Blur, Corrupt, Darkness
from simdistill_ros.replay.faults.delivery import (
    CameraCrash,
    ClockOffset,
    Duplicate,
    FrameLoss,
    Jitter,
    Reorder,
)
from simdistill_ros.replay.faults.fault import Fault

FAULTS: dict[str, type[Fault]] = {
    kind.name: kind
    for kind in (
        CameraCrash,
        FrameLoss,
        Jitter,
        ClockOffset,
        Reorder,
        Duplicate,
        Corrupt,
        Blur,
        Darkness,
        CalibrationDrift,
    )
}


def parse_fault(text: str) -> Fault:
    """Return the fault that a text names.

    Raises:
        ValueError: If name, key or value is not one that `describe_faults` lists.
    """
    name, _, rest = text.partition(":")
    kind = FAULTS.get(name)
    if kind is None:
        raise ValueError(f"--fault: expected one of {', '.join(FAULTS)}, got {name!r}")
    settings = {one.name: one for one in fields(kind)}
    values: dict[str, Any] = {}
    for pair in filter(None, rest.split(",")):
        key, equals, value = pair.partition("=")
        if key not in settings or not equals:
            expected = ", ".join(settings)
            raise ValueError(f"--fault {name}: expected key=value of {expected}; got {pair!r}")
        values[key] = _value(name, settings[key], value)
    fault = kind(**values)
    _ = fault.struck_cameras  # refuses cameras that do not exist
    return fault


def _value(name: str, one: Field[Any], text: str) -> Any:
    kind: type = type(one.default)
    try:
        value = kind(text)
    except ValueError:
        raise ValueError(
            f"--fault {name}: {one.name}: expected {kind.__name__}, got {text!r}"
        ) from None
    low, high = one.metadata["low"], one.metadata["high"]
    if (low is not None and not value >= low) or (high is not None and not value <= high):
        span = f"at least {low:g}" + ("" if high is None else f" and at most {high:g}")
        raise ValueError(f"--fault {name}: {one.name}: expected {span}, got {text}")
    return value


def format_fault(fault: Fault) -> str:
    """Return the text with every setting, from which `parse_fault` makes an equal fault."""
    settings = ",".join(f"{one.name}={getattr(fault, one.name)}" for one in fields(fault))
    return f"{fault.name}:{settings}"


def describe_faults() -> str:
    """Return the list of all faults with their keys, defaults and meanings."""
    lines = ["--fault NAME[:key=value,...] can be given several times; they act in that order.", ""]
    for name, kind in FAULTS.items():
        only = " (realtime only)" if kind.needs_realtime else ""
        lines.append(f"{name}{only}: {str(kind.__doc__).splitlines()[0]}")
        for one in fields(kind):
            lines.append(f"    {one.name}={one.default}: {one.metadata['meaning']}")
    return "\n".join(lines)


@dataclass(frozen=True)
class FaultyStream:
    """A source of messages with faults planted in what it yields."""

    source: Any
    faults: Sequence[Fault]

    def messages(self) -> Iterator[BagMessage]:
        """Yield the messages in order of log time."""
        stream: Iterator[BagMessage] = self.source.messages()
        for fault in self.faults:
            stream = fault.apply(stream)
        return stream
