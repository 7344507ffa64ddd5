# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import threading
from typing import Any

import pytest
from memory_store import MemoryStore

from simdistill_ros.shards.board import MAX_LOSSES, Coordinator, ShardError, check_inputs, work
from simdistill_ros.shards.ledger import Shard, cut_into_shards
from simdistill_ros.shards.meeting import MeetingError

LEASE_S = 5.0
SHARDS = cut_into_shards(["a", "b", "c", "d", "e"], 2)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def board(store: MemoryStore) -> Coordinator:
    board = Coordinator(store, {"weights": "abc"}, LEASE_S)
    board.queue(SHARDS)
    return board


def take(store: MemoryStore, worker: str) -> int:
    """Draw a ticket as a worker does, and do nothing more."""
    ticket = store.add("tickets", 1) - 1
    store.set(f"taken/{ticket}", worker)
    return int(store.get(f"queue/{ticket}"))


def collect_all(board: Coordinator) -> dict[Shard, Any]:
    found: dict[Shard, Any] = {}
    pause = threading.Event()
    while len(found) < len(SHARDS):
        found |= dict(board.collect())
        pause.wait(0.01)
    board.close()
    return found


def test_every_shard_is_done_once_and_comes_back(store: MemoryStore, board: Coordinator) -> None:
    done: list[tuple[str, ...]] = []

    def run(items: tuple[str, ...]) -> list[str]:
        done.append(items)
        return [item * 2 for item in items]

    workers = [threading.Thread(target=work, args=(store, name, run)) for name in ("x", "y")]
    for worker in workers:
        worker.start()
    found = collect_all(board)
    for worker in workers:
        worker.join(timeout=10)
    assert sorted(done) == [("a", "b"), ("c", "d"), ("e",)]
    assert found == {shard: [item * 2 for item in shard.items] for shard in SHARDS}
    assert board.workers == 2


def test_shards_of_a_silent_worker_are_handed_out_again(
    store: MemoryStore, board: Coordinator
) -> None:
    taken = take(store, "gone")
    store.add("beat/gone", 1)
    assert board.requeue_lost(0.0) == 0
    assert board.requeue_lost(LEASE_S) == 0
    assert board.requeue_lost(LEASE_S + 0.1) == 1
    assert board.requeue_lost(LEASE_S + 0.2) == 0
    rest = [take(store, "other") for _ in range(len(SHARDS))]
    assert sorted(rest) == sorted([*{0, 1, 2} - {taken}, taken])


def test_a_worker_that_beats_keeps_its_shard_however_long(
    store: MemoryStore, board: Coordinator
) -> None:
    take(store, "slow")
    for second in range(100):
        store.add("beat/slow", 1)
        assert board.requeue_lost(float(second)) == 0


def test_a_ticket_lost_before_it_was_used_is_no_loss_of_the_shard(
    store: MemoryStore, board: Coordinator
) -> None:
    store.add("tickets", 1)
    for second in (0.0, LEASE_S + 1):
        assert board.requeue_lost(second) == 0
    assert [take(store, "other") for _ in SHARDS] == [1, 2, 0]
    assert board.lost == {}


def test_a_shard_that_costs_worker_after_worker_ends_the_work(store: MemoryStore) -> None:
    board = Coordinator(store, {}, LEASE_S)
    board.queue(SHARDS[:1])
    for loss in range(MAX_LOSSES):
        take(store, f"victim-{loss}")
        board.requeue_lost(20.0 * loss)
        assert board.requeue_lost(20.0 * loss + 10) == 1
    take(store, "last")
    board.requeue_lost(100.0)
    with pytest.raises(ShardError, match=r"shard 0 \(a to b\) has cost 4 workers"):
        board.requeue_lost(110.0)


def test_what_a_worker_cannot_do_ends_the_work_with_its_reason(
    store: MemoryStore, board: Coordinator
) -> None:
    def run(items: tuple[str, ...]) -> None:
        raise ValueError(f"image of {items[0]} is missing")

    work(store, "node2:17", run)
    with pytest.raises(ShardError, match=r"image of a is missing \(worker node2:17\)"):
        board.collect()


def test_a_result_that_comes_twice_counts_once(store: MemoryStore, board: Coordinator) -> None:
    take(store, "slow")
    board.requeue_lost(0.0)
    board.requeue_lost(LEASE_S + 1)
    thread = threading.Thread(target=work, args=(store, "fast", list))
    thread.start()
    found = collect_all(board)
    thread.join(timeout=10)
    store.set("result/0", store.get("result/0"))
    assert len(found) == len(SHARDS)
    assert board.collect() == []


def test_a_large_result_comes_back_in_pieces(
    store: MemoryStore, board: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("simdistill_ros.shards.board.PIECE_BYTES", 10)
    thread = threading.Thread(target=work, args=(store, "one", lambda items: [*items, "x" * 999]))
    thread.start()
    found = collect_all(board)
    thread.join(timeout=10)
    assert found[SHARDS[2]] == ["e", "x" * 999]


def test_a_machine_with_other_inputs_is_refused_and_told_what_differs(
    store: MemoryStore, board: Coordinator
) -> None:
    check_inputs(store, {"weights": "abc"})
    with pytest.raises(MeetingError, match="weights: 'abd' here, 'abc' there"):
        check_inputs(store, {"weights": "abd"})
