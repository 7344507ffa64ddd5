# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from simdistill_ros.core.card_yaml import MAX_CHARACTERS, CardYamlError, read_card_yaml


def test_plain_data_comes_back():
    text = "a: 1\nb: [1.5, x]\nc: {d: null, e: true}\n"
    assert read_card_yaml(text) == {"a": 1, "b": [1.5, "x"], "c": {"d": None, "e": True}}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: &a [x]\nb: [*a, *a]\n", "anchors"),
        ("a: !!python/object/apply:os.getcwd []\n", "tag"),
        ("a: !!binary aGVsbG8=\n", "tag"),
        ("[" * 100 + "]" * 100, "nested deeper"),
        ("a: 1\na: 2\n", "'a' is given twice"),
        ("1: a\n", "expected a name as key"),
        ("? [a, b]\n: c\n", "expected a name as key"),
        ("a: 2026-13-45\n", "month"),
        ("a: " + "9" * 5000, "digits"),
        ("a: [", "expected"),
        ("a" * (MAX_CHARACTERS + 1), "at most 256000 characters"),
    ],
)
def test_what_no_card_needs_is_refused_by_name(text, words):
    with pytest.raises(CardYamlError, match=words):
        read_card_yaml(text)
