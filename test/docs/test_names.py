# SPDX-License-Identifier: Apache-2.0
"""Parameters and files that the text names exist."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).parent))  # for the modules beside this file

from code_blocks import inline_code

ROOT = Path(__file__).resolve().parents[2]


def flat(tree: dict[str, Any], prefix: str = "") -> set[str]:
    """Dotted names of a tree of parameters and of its groups."""
    names: set[str] = set()
    for key, value in tree.items():
        names.add(prefix + key)
        if isinstance(value, dict):
            names |= flat(value, f"{prefix}{key}.")
    return names


def test_parameters_of_the_node_that_the_text_names_exist() -> None:
    """Every `group.name` whose group is one of config/detector.yaml; `*` stands for any name."""
    tree = yaml.safe_load((ROOT / "config" / "detector.yaml").read_text())["/**"]["ros__parameters"]
    known = flat(tree)
    groups = {name for name, value in tree.items() if isinstance(value, dict)} - {"cameras"}
    named = {
        (page, found[0])
        for page, text in inline_code()
        if (found := re.match(r"(\w+)\.[\w.]+(?=\W|$)", text)) and found[1] in groups
    }
    known.add("model.yaml")  # the model card
    assert len(named) > 20
    assert {(page, name) for page, name in named if name.rstrip(".") not in known} == set()


def test_files_that_the_text_names_exist() -> None:
    """Every path below a folder of the repository's sources."""
    path = re.compile(r"(?:config|docs|launch|models|scripts|test|training|benchmarks)/[\w./-]+")
    named = {(page, text) for page, text in inline_code() if path.fullmatch(text)}
    homes = (ROOT, ROOT / "training")
    assert len(named) > 10
    assert {one for one in named if not any((home / one[1]).exists() for home in homes)} == set()
