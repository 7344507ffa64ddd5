# SPDX-License-Identifier: Apache-2.0
"""An active node's garbage collector leaves alone what was there before."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from simdistill_ros.free_memory import give_memory_back, spare_from_collection


@pytest.fixture(autouse=True)
def _nothing_is_spared_afterwards() -> Iterator[None]:
    yield
    gc.unfreeze()


def test_objects_that_are_there_are_spared_and_later_ones_are_looked_at() -> None:
    before: list[object] = []
    spare_from_collection()
    later: list[object] = []

    looked_at = {id(one) for one in gc.get_objects()}
    assert id(before) not in looked_at
    assert id(later) in looked_at


def test_memory_is_given_back_of_what_had_been_spared_too() -> None:
    spared: list[object] = []
    spare_from_collection()

    give_memory_back()

    assert id(spared) in {id(one) for one in gc.get_objects()}
