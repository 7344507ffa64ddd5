# SPDX-License-Identifier: Apache-2.0
"""Which samples belong to a split: nuScenes' own, one of `splits.json`, or scenes by name."""

from __future__ import annotations

import json
from pathlib import Path

from nuscenes.utils.splits import create_splits_scenes

from simdistill_training.data.index import DatasetIndex, Int64Array


def samples_of_split(index: DatasetIndex, dataroot: Path, version: str, split: str) -> Int64Array:
    """Return the samples of a split, in the index's order.

    Args:
        index: The dataroot's index.
        dataroot: Folder of the data set.
        version: Name of the tables' folder; its `splits.json` may define splits.
        split: A split's name, or scene names separated by commas.

    Raises:
        ValueError: If there is no such split, or none of its scenes is in the dataroot.
    """
    have = index.scene_names.tolist()
    names = set(split.split(",")) if set(split.split(",")) <= set(have) else set()
    if not names:
        splits = known_splits(dataroot, version)
        if split not in splits:
            raise ValueError(
                f"data split {split!r}: expected one of {', '.join(sorted(splits))} "
                f"or names of scenes ({', '.join(have[:3])}, ...)"
            )
        names = set(splits[split]) & set(have)
    if not names:
        raise ValueError(f"data split {split!r}: {dataroot}/{version} holds none of its scenes")
    return index.samples_of_scenes(sorted(names))


def known_splits(dataroot: Path, version: str) -> dict[str, list[str]]:
    """Return split → scene names; nuScenes' own names win, as in the devkit."""
    file = dataroot / version / "splits.json"
    custom: dict[str, list[str]] = json.loads(file.read_text()) if file.is_file() else {}
    return {**custom, **create_splits_scenes()}
