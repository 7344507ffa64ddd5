# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from simdistill_ros.shards.ledger import Ledger, Shard, cut_into_shards

INPUTS = {"weights": "abc", "split": "val"}
SHARD = Shard(3, ("a", "b"))


def test_shards_are_consecutive_and_hold_every_item_once() -> None:
    shards = cut_into_shards([str(n) for n in range(7)], 3)
    assert [shard.items for shard in shards] == [("0", "1", "2"), ("3", "4", "5"), ("6",)]
    with pytest.raises(ValueError, match="at least 1"):
        cut_into_shards(["a"], 0)


def test_what_was_written_is_read_back_exactly(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, INPUTS)
    assert ledger.read(SHARD) is None
    ledger.write(SHARD, {"a": [0.1 + 0.2, 1e-300]})
    assert ledger.read(SHARD) == {"a": [0.1 + 0.2, 1e-300]}
    assert [path.name for path in tmp_path.iterdir()] == ["000003.json"]


@pytest.mark.parametrize(
    "inputs", [{**INPUTS, "weights": "abd"}, {**INPUTS, "score_threshold": 0.1}, {}]
)
def test_a_shard_of_other_inputs_is_refused(tmp_path: Path, inputs: dict[str, object]) -> None:
    Ledger(tmp_path, inputs).write(SHARD, {})
    ledger = Ledger(tmp_path, INPUTS)
    assert ledger.read(SHARD) is None
    assert ledger.refused([SHARD, Shard(4, ("c",))]) == 1


def test_a_shard_of_another_cut_is_refused(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, INPUTS)
    ledger.write(Shard(3, ("a",)), {})
    assert ledger.read(SHARD) is None


@pytest.mark.parametrize("kept", [0, 10, -2])
def test_a_damaged_shard_is_refused(tmp_path: Path, kept: int) -> None:
    ledger = Ledger(tmp_path, INPUTS)
    ledger.write(SHARD, {"a": 1})
    file = tmp_path / "000003.json"
    file.write_text(file.read_text()[:kept])
    assert ledger.read(SHARD) is None
