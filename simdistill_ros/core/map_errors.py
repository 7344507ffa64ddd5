# SPDX-License-Identifier: Apache-2.0
"""How far head maps are from those expected, by the largest error and by the spread of errors.

Single precision errs by rounding: the largest error says all. With fewer bits, one value that is
rounded the other way moves others after it by whole steps, until the maps differ a little almost
everywhere; the largest error is then that of an unlucky cell. The spread, which is the root mean
square of the errors beside the map's own standard deviation, is steady.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from simdistill_ros.core.onnx_interface import head_map_name

Array = npt.NDArray[Any]
Maps = Sequence[Mapping[str, Array]]
LEAST_DEVIATION = 0.01  # of maps that are the same everywhere: their own units


def max_map_error(expected: Maps, actual: Maps) -> tuple[float, str]:
    """Return the largest relative error and the head map that has it.

    An error counts relative to the map's largest value or to one, whichever is larger; a missing
    map, another shape and anything that is not finite count as infinite.
    """
    return _worst(expected, actual, largest_error)


def max_map_spread(expected: Maps, actual: Maps) -> tuple[float, str]:
    """Return the largest spread of errors and the head map that has it; see `max_map_error`."""
    return _worst(expected, actual, error_spread)


def largest_error(expected: Array, actual: Array) -> float:
    """Return the largest absolute error, relative to the largest value or to one."""
    return float(np.abs(actual - expected).max()) / largest_value(expected)


def error_spread(expected: Array, actual: Array) -> float:
    """Return the root mean square of errors, relative to the standard deviation of the values."""
    errors = np.square(actual - expected, dtype=np.float64)
    deviation = max(LEAST_DEVIATION, float(expected.std(dtype=np.float64)))
    return float(np.sqrt(errors.mean())) / deviation


def largest_value(values: Array) -> float:
    """Return the largest absolute value, at least one."""
    return max(1.0, float(np.abs(values).max()))


def _worst(
    expected: Maps, actual: Maps, measure: Callable[[Array, Array], float]
) -> tuple[float, str]:
    if len(expected) != len(actual):
        return np.inf, f"number of tasks ({len(actual)})"
    errors = {
        head_map_name(index, name): _comparable(values, maps.get(name), measure)
        for index, (task, maps) in enumerate(zip(expected, actual, strict=True))
        for name, values in task.items()
    }
    name = max(errors, key=errors.__getitem__)
    return errors[name], name


def _comparable(
    expected: Array, actual: Array | None, measure: Callable[[Array, Array], float]
) -> float:
    if actual is None or actual.shape != expected.shape or not np.isfinite(actual).all():
        return np.inf
    return measure(expected, actual)
