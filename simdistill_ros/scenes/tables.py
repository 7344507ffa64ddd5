# SPDX-License-Identifier: Apache-2.0
"""The thirteen nuScenes tables: tokens, fixed vocabularies, prev/next links, and writing them.

Row values keep nuScenes' conventions: sizes are (width, length, height), quaternions (w, x, y, z),
times microseconds.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from simdistill_ros.scenes.rig import CHANNELS, LIDAR

Row = dict[str, Any]
Tables = dict[str, list[Row]]

TABLE_NAMES = (
    "attribute",
    "calibrated_sensor",
    "category",
    "ego_pose",
    "instance",
    "log",
    "map",
    "sample",
    "sample_annotation",
    "sample_data",
    "scene",
    "sensor",
    "visibility",
)
CATEGORIES = (
    ("human.pedestrian.adult", "An adult on foot or seated."),
    ("human.pedestrian.child", "A child on foot."),
    ("human.pedestrian.construction_worker", "A person in safety clothing."),
    ("movable_object.barrier", "A movable barrier."),
    ("movable_object.trafficcone", "A traffic cone or delineator."),
    ("vehicle.bicycle", "A bicycle, with its rider if there is one."),
    ("vehicle.bus.rigid", "A bus without a joint."),
    ("vehicle.car", "A car or van."),
    ("vehicle.construction", "A construction machine."),
    ("vehicle.motorcycle", "A motorcycle or scooter, with its rider if there is one."),
    ("vehicle.trailer", "A trailer, without its tractor."),
    ("vehicle.truck", "A lorry or pick-up."),
)
ATTRIBUTES = (
    ("vehicle.moving", "The vehicle moves."),
    ("vehicle.stopped", "The vehicle stands and means to go on."),
    ("vehicle.parked", "The vehicle is parked."),
    ("cycle.with_rider", "Somebody rides the cycle."),
    ("cycle.without_rider", "Nobody is on the cycle."),
    ("pedestrian.sitting_lying_down", "The person sits or lies."),
    ("pedestrian.standing", "The person stands."),
    ("pedestrian.moving", "The person walks."),
)
VISIBILITIES = (
    ("1", "v0-40", "up to 40 % of the object is visible"),
    ("2", "v40-60", "40 to 60 % of the object is visible"),
    ("3", "v60-80", "60 to 80 % of the object is visible"),
    ("4", "v80-100", "more than 80 % of the object is visible"),
)


def make_token(*parts: object) -> str:
    """Return the 32 hexadecimal digits that stand for `parts`."""
    text = "/".join(str(part) for part in parts)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def category_token(name: str) -> str:
    """Return the token of a category name."""
    return make_token("category", name)


def attribute_token(name: str) -> str:
    """Return the token of an attribute name."""
    return make_token("attribute", name)


def sensor_token(channel: str) -> str:
    """Return the token of a sensor channel."""
    return make_token("sensor", channel)


def vocabulary() -> Tables:
    """Return the tables that are the same in every dataroot."""
    return {
        "category": [
            {"token": category_token(name), "name": name, "description": text, "index": index}
            for index, (name, text) in enumerate(CATEGORIES)
        ],
        "attribute": [
            {"token": attribute_token(name), "name": name, "description": text}
            for name, text in ATTRIBUTES
        ],
        "visibility": [
            {"token": token, "level": level, "description": text}
            for token, level, text in VISIBILITIES
        ],
        "sensor": [
            {
                "token": sensor_token(channel),
                "channel": channel,
                "modality": "lidar" if channel == LIDAR else "camera",
            }
            for channel in CHANNELS
        ],
    }


def link(rows: list[Row]) -> None:
    """Set `prev` and `next` along rows given in order of time."""
    for index, row in enumerate(rows):
        row["prev"] = rows[index - 1]["token"] if index else ""
        row["next"] = rows[index + 1]["token"] if index + 1 < len(rows) else ""


def join_tables(parts: list[Tables]) -> Tables:
    """Concatenate tables in order; missing tables become empty."""
    joined: Tables = {name: [] for name in TABLE_NAMES}
    for part in parts:
        for name, rows in part.items():
            joined[name].extend(rows)
    return joined


def write_json(path: Path, value: object) -> None:
    """Write JSON, replacing the file in one step so that readers never see half of it."""
    temporary = path.with_suffix(path.suffix + ".part")
    temporary.write_text(json.dumps(value, indent=0) + "\n", encoding="utf-8")
    temporary.replace(path)


def write_tables(folder: Path, tables: Tables, splits: dict[str, list[str]]) -> None:
    """Write all tables and `splits.json` into the version folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in TABLE_NAMES:
        write_json(folder / f"{name}.json", tables[name])
    write_json(folder / "splits.json", splits)
