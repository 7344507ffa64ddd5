# SPDX-License-Identifier: Apache-2.0
"""The ten classes: which builder makes each, and how many variants a look has of it.

A *look* is a seed: it fixes the shapes and favourite colours of all variants, so that training and
validation can use
objects that differ in more than their place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from simdistill_ros.core.boxes import NUSCENES_CLASSES
from simdistill_ros.scenes.cars import build_car
from simdistill_ros.scenes.cycles import build_bicycle, build_motorcycle
from simdistill_ros.scenes.lorries import build_bus, build_lorry, build_trailer, build_truck
from simdistill_ros.scenes.machines import build_construction_vehicle
from simdistill_ros.scenes.mesh import ObjectModel
from simdistill_ros.scenes.palette import Dice
from simdistill_ros.scenes.people import build_pedestrian, build_person
from simdistill_ros.scenes.street_objects import build_barrier, build_traffic_cone

VEHICLES = frozenset(("car", "truck", "construction_vehicle", "bus", "trailer"))
CYCLES = frozenset(("motorcycle", "bicycle"))


@dataclass(frozen=True)
class ClassEntry:
    """How one class is built and how many variants each look offers."""

    build: Callable[[Dice], ObjectModel]
    variants: int


_ENTRIES: dict[str, ClassEntry] = {
    "car": ClassEntry(build_car, 10),
    "truck": ClassEntry(build_truck, 8),
    "construction_vehicle": ClassEntry(build_construction_vehicle, 5),
    "bus": ClassEntry(build_bus, 4),
    "trailer": ClassEntry(build_trailer, 5),
    "barrier": ClassEntry(build_barrier, 4),
    "motorcycle": ClassEntry(build_motorcycle, 5),
    "bicycle": ClassEntry(build_bicycle, 4),
    "pedestrian": ClassEntry(build_pedestrian, 8),
    "traffic_cone": ClassEntry(build_traffic_cone, 3),
}


def _dice(class_name: str, look: int, rng: np.random.Generator, variant: int | None) -> Dice:
    if class_name not in _ENTRIES:
        raise ValueError(f"expected one of {', '.join(NUSCENES_CLASSES)}, got {class_name!r}")
    count = _ENTRIES[class_name].variants
    chosen = int(rng.integers(count)) if variant is None else variant % count
    seed = [look, NUSCENES_CLASSES.index(class_name), chosen]
    return Dice(shape=np.random.default_rng(seed), paint=rng)


def build_object(
    class_name: str, look: int, rng: np.random.Generator, variant: int | None = None
) -> ObjectModel:
    """Return an object of a class.

    Args:
        class_name: One of `NUSCENES_CLASSES`.
        look: Seed of the look, non-negative.
        rng: Source of the object's own variation (and of the variant, if none is given).
        variant: Which variant of the look; taken modulo the number of variants.

    Raises:
        ValueError: If the class is unknown.
    """
    dice = _dice(class_name, look, rng, variant)
    return _ENTRIES[class_name].build(dice)


def build_posed_person(look: int, rng: np.random.Generator, kind: str, posture: str) -> ObjectModel:
    """Return a person of a given kind (`adult`, `child`, `worker`) and posture."""
    return build_person(_dice("pedestrian", look, rng, None), kind, posture)


def build_tractor(look: int, rng: np.random.Generator) -> ObjectModel:
    """Return a lorry made to pull a trailer."""
    return build_lorry(_dice("truck", look, rng, None), "tractor")
