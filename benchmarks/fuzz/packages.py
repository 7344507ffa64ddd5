# SPDX-License-Identifier: Apache-2.0
"""Cases of model packages: cards that are wrong, files that are not those of the card."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import yaml

from benchmarks.fuzz.findings import Case, require
from benchmarks.fuzz.mutate import COUNTS, NUMBERS, TEXTS, broken_bytes
from benchmarks.fuzz.small_package import write_package
from simdistill_ros.core.golden import load_golden
from simdistill_ros.core.model_card import (
    CARD_FILE,
    ModelCard,
    ModelCardError,
    load_model_card,
    model_card_from_dict,
)
from simdistill_ros.core.model_card_parts import MAX_CELLS, MAX_DEPTH_BINS

# Keys that a card may lack.
OPTIONAL = {"legacy", "training", "metrics", "onnx", "golden", "heads", "points"}
WRONG_TYPES: dict[type, tuple[Any, ...]] = {
    bool: ("yes", 3, None, []),
    int: ("12", 1.5, None, [], {}, True),
    float: ("1.0", None, [], {}, "nan"),
    str: (12, None, [], {}, 1.5),
    list: (12, "a, b", {}, None),
    dict: (12, "a", [], None),
}
BOMBS = (
    "a: &a [x]\nb: [" + "*a, " * 20 + "*a]\n",
    "a: &a [1, 1]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: [*c, *c]\n",
    "[" * 5000 + "]" * 5000,
    "{a: " * 3000,
    "name: " + "9" * 10_000 + "\n",
    "name: " + "1:" * 5000 + "1\n",
    "name: 2026-13-45\n",
    "? [a, b]\n: c\n",
    "1: 2\nnull: 3\n",
    "name: !!python/object/apply:os.getcwd []\n",
    "name: !!binary aGVsbG8=\n",
    "name: " + "x" * 2_000_000,
    "\ufeff\x00",
    "- - - a",
    "",
)


def package_cases(folder: Path) -> Mapping[str, tuple[Case, float]]:
    """Return the kinds of package cases with their shares; they write into a folder."""
    cases = PackageCases(folder)
    return {
        "card fields": (cases.fields_case, 0.55),
        "card text": (cases.text_case, 0.05),
        "card bomb": (cases.bomb_case, 0.02),
        "file": (cases.file_case, 0.28),
        "golden": (cases.golden_case, 0.1),
    }


class PackageCases:
    """One good package in a folder, whose copies are spoilt."""

    def __init__(self, folder: Path) -> None:
        """Write the good package."""
        write_package(folder)
        self._folder = folder
        self._text = (folder / CARD_FILE).read_bytes()
        self._json = json.dumps(yaml.safe_load(self._text))
        self._card = load_model_card(folder)
        self._files = {
            path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".yaml"
        }

    def fields_case(self, draw: Random) -> str:
        """Change a value of the card's data."""
        data = json.loads(self._json)
        kind, where = _change(data, draw)
        try:
            card = model_card_from_dict(data)
        except ModelCardError:
            return f"{kind} refused"
        require(kind == "value", f"accepted a card with {kind} at {where}")
        _require_bounded(card)
        return "value used"

    def text_case(self, draw: Random) -> str:
        """Break the card's bytes."""
        return self._load_card(broken_bytes(self._text, draw))

    def bomb_case(self, draw: Random) -> str:
        """Put a text that unfolds into more than it is in place of the card, or behind it."""
        bomb = draw.choice(BOMBS).encode()
        outcome = self._load_card(self._text + b"\nmetrics:\n  x: 1\n" + bomb)
        require(outcome == "refused" or not bomb, "accepted a card that ends in a bomb")
        outcome = self._load_card(bomb)
        require(outcome == "refused", "accepted a bomb as card")
        return outcome

    def _load_card(self, content: bytes) -> str:
        path = self._folder / "spoilt.yaml"
        path.write_bytes(content)
        try:
            _require_bounded(load_model_card(path))
        except ModelCardError as error:
            require(len(str(error)) < 100_000, "the message is a book itself")
            return "refused"
        return "used"

    def file_case(self, draw: Random) -> str:
        """Break a file of the package: only its very bytes may be taken."""
        name = draw.choice(list(self._files))
        content = broken_bytes(self._files[name], draw)
        path = self._folder / name
        path.write_bytes(content)
        try:
            self._verify(name)
        except ModelCardError:
            require(content != self._files[name], f"refused the good {name}")
            return f"{path.suffix} refused"
        finally:
            path.write_bytes(self._files[name])
        require(content == self._files[name], f"accepted a changed {name}")
        return f"{path.suffix} used"

    def _verify(self, name: str) -> None:
        card = self._card
        assert card.weights is not None
        assert card.golden is not None
        assert card.onnx is not None
        entries = (card.weights, card.golden, card.onnx.image, card.onnx.bev)
        (entry,) = [one for one in entries if one.file == name]
        if entry is card.golden:
            load_golden(card)
        else:
            card.verified_bytes(name, entry)

    def golden_case(self, draw: Random) -> str:
        """Break the golden file and let the card vouch for it: only the card's shapes are taken."""
        assert self._card.golden is not None
        name = self._card.golden.file
        content = broken_bytes(self._files[name], draw)
        (self._folder / name).write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        entry = self._card.golden.model_copy(update={"sha256": digest})
        card = self._card.model_copy(update={"golden": entry})
        try:
            golden = load_golden(card)
        except ModelCardError:
            return "refused"
        finally:
            (self._folder / name).write_bytes(self._files[name])
        assert golden is not None
        shape = (len(card.cameras), *card.image.input_hw, 3)
        require(golden.images.shape == shape, f"images of shape {golden.images.shape}")
        require(len(golden.head_maps) == len(card.tasks), "another number of tasks")
        arrays = [a for task in golden.head_maps for a in task.values()]
        arrays += [golden.bev_from_cam, golden.input_from_cam, golden.boxes.centers_m]
        require(all(np.isfinite(a).all() for a in arrays), "numbers that are not finite")
        return "used"


def _change(data: Any, draw: Random) -> tuple[str, str]:
    """Change something in nested data; return what kind of change it was, and of what."""
    parent, key = _pick(data, draw)
    value = parent[key]
    kind = draw.randrange(5)
    if kind == 0 and isinstance(parent, dict) and key not in OPTIONAL:
        del parent[key]
        return "missing key", key
    if kind == 1 and isinstance(parent, dict):
        parent[draw.choice(("colour", "Name", "", "__class__", "x" * 1000))] = value
        return "unknown key", key
    if kind == 2 and type(value) in WRONG_TYPES:
        parent[key] = draw.choice(WRONG_TYPES[type(value)])
        is_bad = parent[key] is not None or key not in OPTIONAL | {"weights"}
        return "wrong type" if is_bad else "value", f"{key}: {value!r} -> {parent[key]!r}"
    if isinstance(value, float):
        parent[key] = draw.choice(NUMBERS)
        return "value" if math.isfinite(parent[key]) else "not finite", f"{key}: {parent[key]}"
    if isinstance(value, bool):
        parent[key] = not value
    elif isinstance(value, int):
        parent[key] = draw.choice((-1, 0, 1, 2, *COUNTS, 10**30))
    elif isinstance(value, str):
        parent[key] = draw.choice((*TEXTS, "../" + value, value + ".pkl"))
    elif isinstance(value, list) and value:
        parent[key] = draw.choice((value[:-1], value + value[:1], value * 50))
    return "value", f"{key}: {value!r} -> {parent[key]!r}"


def _pick(data: Any, draw: Random) -> tuple[Any, Any]:
    """Return a container within nested data and one of its keys."""
    while True:
        keys = list(data) if isinstance(data, dict) else list(range(len(data)))
        key = draw.choice(keys)
        inner = data[key]
        if not isinstance(inner, dict | list) or not inner or draw.random() < 0.15:
            return data, key
        data = inner


def _require_bounded(card: ModelCard) -> None:
    """Check that a card which is accepted describes a network of a size that can be."""
    require(max(card.bev.grid.shape_xy) <= MAX_CELLS, "more cells than allowed")
    require(card.lift.depth.count <= MAX_DEPTH_BINS, "more depth bins than allowed")
    require(max(card.image.input_hw) <= 8192, "a larger input than allowed")
    require(min(*card.head_shape_xy, *card.feature_hw) >= 1, "an empty map")
    for entry in (card.weights, card.golden):
        require(entry is None or not set("/\\") & set(entry.file), "a file outside the package")
