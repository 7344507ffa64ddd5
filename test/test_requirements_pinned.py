# SPDX-License-Identifier: Apache-2.0
"""Every dependency is one version: what was tested is what is installed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

FILES = sorted((Path(__file__).resolve().parents[1] / "requirements").glob("*.txt"))
PINNED = re.compile(r"[A-Za-z0-9._-]+(\[[a-z0-9,-]+\])?==[A-Za-z0-9.+!_-]+( ; .+)?")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_requirement_is_pinned_to_one_version(file: Path) -> None:
    lines = [line.split(" #")[0].strip() for line in file.read_text().splitlines()]
    named = [line for line in lines if line and not line.startswith(("#", "-"))]
    assert named
    assert [line for line in named if not PINNED.fullmatch(line)] == []


def test_no_requirement_comes_from_a_web_address_or_a_folder() -> None:
    for file in FILES:
        assert not re.search(r"^[^#]*(git\+|@ |file:|\.whl)", file.read_text(), re.MULTILINE), file
