# SPDX-License-Identifier: Apache-2.0
"""How shards are handed out and results come back, through a key-value store.

A worker draws tickets; ticket t gets what stands at `queue/t`. It beats while it works. A shard
whose worker beats no more is queued once more, so a lost worker costs that shard and nothing else.

    inputs            what results depend on, JSON        work/N     the items of shard N
    tickets           counter of tickets drawn            queue/T    the shard of ticket T
    taken/T           the worker that works on ticket T   beat/W     counter of worker W
    result/N/W/I      shard N by worker W in pieces       result/N   worker and number of pieces
    failed            why the work cannot go on           over       set when nothing is left
"""

from __future__ import annotations

import json
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from simdistill_ros.shards.ledger import Shard
from simdistill_ros.shards.meeting import MeetingError, Store

LEASE_S = 15.0
POLL_S = 0.2
MAX_LOSSES = 3
# The store takes at most 8 MiB a value.
PIECE_BYTES = 4 << 20


class ShardError(ValueError):
    """A shard cannot be done; the message says which and why."""


class Coordinator:
    """Queues shards and gathers their results."""

    def __init__(self, store: Store, inputs: Mapping[str, Any], lease_s: float = LEASE_S) -> None:
        """Open the board.

        Args:
            store: Where workers meet.
            inputs: What results depend on; workers with others are refused.
            lease_s: A worker that is silent for so long is lost.
        """
        self._store, self._lease_s = store, lease_s
        self._shards: dict[int, Shard] = {}
        self._queue: list[int] = []
        self._waiting: dict[int, _Watch] = {}  # by ticket
        self.lost: dict[int, int] = {}
        store.set("lease_s", str(lease_s))
        store.set("inputs", json.dumps(inputs))

    def queue(self, shards: Sequence[Shard]) -> None:
        """Offer shards to workers."""
        for shard in shards:
            self._shards[shard.number] = shard
            self._store.set(f"work/{shard.number}", json.dumps(shard.items))
            self._offer(shard.number)

    def collect(self) -> list[tuple[Shard, Any]]:
        """Return the shards that were finished since the last call, with their results.

        Raises:
            ShardError: If a worker says that its shard cannot be done.
        """
        if self._store.check(["failed"]):
            raise ShardError(self._store.get("failed").decode())
        finished = []
        for ticket in self._drawn():
            number = self._queue[ticket]
            if number in self._shards and self._store.check([f"result/{number}"]):
                finished.append((self._shards.pop(number), self._result(number)))
            if number not in self._shards:
                del self._waiting[ticket]
        return finished

    def requeue_lost(self, now_s: float) -> int:
        """Queue shards of workers that are silent once more; return how many.

        Raises:
            ShardError: If a shard was lost too often.
        """
        lost = 0
        for ticket in self._drawn():
            worker = self._worker_of(ticket)
            if not self._waiting[ticket].is_lost(self._beat_of(worker), now_s, self._lease_s):
                continue
            number = self._queue[ticket]
            del self._waiting[ticket]
            if worker:  # else it was lost before it began, which says nothing about the shard
                self._count_loss(number)
                lost += 1
            self._offer(number)
        return lost

    def close(self) -> None:
        """Let workers go."""
        self._store.set("over", "1")

    @property
    def workers(self) -> int:
        """Number of workers that have come so far."""
        return self._store.add("workers", 0)

    def _offer(self, number: int) -> None:
        ticket = len(self._queue)
        self._queue.append(number)
        self._waiting[ticket] = _Watch()
        self._store.set(f"queue/{ticket}", str(number))

    def _drawn(self) -> list[int]:
        """Return the tickets that somebody has and whose shard is not known to be done."""
        count = self._store.add("tickets", 0)
        return [ticket for ticket in self._waiting if ticket < count]

    def _worker_of(self, ticket: int) -> str:
        """Return who works on a ticket; "" for nobody yet."""
        key = f"taken/{ticket}"
        return self._store.get(key).decode() if self._store.check([key]) else ""

    def _beat_of(self, worker: str) -> bytes:
        """Return what changes as long as a worker lives."""
        key = f"beat/{worker}"
        return self._store.get(key) if worker and self._store.check([key]) else b""

    def _count_loss(self, number: int) -> None:
        self.lost[number] = self.lost.get(number, 0) + 1
        if self.lost[number] > MAX_LOSSES:
            items = self._shards[number].items
            raise ShardError(
                f"shard {number} ({items[0]} to {items[-1]}) has cost {self.lost[number]} workers; "
                "look at what they printed, and whether they had enough memory"
            )

    def _result(self, number: int) -> Any:
        worker, count = json.loads(self._store.get(f"result/{number}"))
        keys = [f"result/{number}/{worker}/{piece}" for piece in range(count)]
        data = b"".join(self._store.get(key) for key in keys)
        for key in keys:
            self._store.set(key, "")  # what the store holds is this machine's memory
        return json.loads(zlib.decompress(data))


class _Watch:
    """Watches for the sign of life of whoever has a ticket; clocks of machines do not matter."""

    def __init__(self) -> None:
        self._seen: bytes | None = None
        self._changed_s = 0.0

    def is_lost(self, sign: bytes, now_s: float, lease_s: float) -> bool:
        if sign != self._seen:
            self._seen, self._changed_s = sign, now_s
        return now_s - self._changed_s > lease_s


def check_inputs(store: Store, own: Mapping[str, Any]) -> None:
    """Refuse to work on other inputs than the coordinator's.

    Raises:
        MeetingError: Naming what differs.
    """
    theirs = json.loads(store.get("inputs"))
    mine = json.loads(json.dumps(own))
    differing = sorted(n for n in {*mine, *theirs} if mine.get(n) != theirs.get(n))
    if differing:
        facts = "; ".join(f"{n}: {mine.get(n)!r} here, {theirs.get(n)!r} there" for n in differing)
        raise MeetingError(
            f"this machine would work on other inputs than the coordinator: {facts[:800]}; "
            "use the same model, data and options on all machines"
        )


def work(store: Store, worker: str, run: Callable[[tuple[str, ...]], Any]) -> int:
    """Do shards until none is left; return how many.

    Args:
        store: Where the coordinator is.
        worker: A name that nobody else has.
        run: Returns the result of a shard's items as plain data. Its ValueError or OSError ends the
            whole work: the same would happen to whoever tried next.
    """
    store.add("workers", 1)
    done = 0
    with _beating(store, worker):
        while (number := _draw(store, worker)) is not None:
            items = json.loads(store.get(f"work/{number}"))
            try:
                result = run(tuple(items))
            except (ValueError, OSError) as error:
                store.set("failed", f"{error} (worker {worker})")
                break
            _hand_in(store, worker, number, result)
            done += 1
    return done


def _draw(store: Store, worker: str) -> int | None:
    """Return the shard of this worker's next ticket; None when the work is over."""
    ticket = store.add("tickets", 1) - 1
    pause = threading.Event()
    while not store.check([f"queue/{ticket}"]):
        if store.check(["over"]):
            return None
        pause.wait(POLL_S)
    store.set(f"taken/{ticket}", worker)
    return int(store.get(f"queue/{ticket}"))


def _hand_in(store: Store, worker: str, number: int, result: Any) -> None:
    data = zlib.compress(json.dumps(result).encode(), 1)
    pieces = [data[start : start + PIECE_BYTES] for start in range(0, len(data), PIECE_BYTES)]
    for index, piece in enumerate(pieces):
        store.set(f"result/{number}/{worker}/{index}", piece)
    store.set(f"result/{number}", json.dumps([worker, len(pieces)]))


@contextmanager
def _beating(store: Store, worker: str) -> Iterator[None]:
    """Show the coordinator that this worker lives."""
    period_s = float(store.get("lease_s")) / 5
    stop = threading.Event()

    def beat() -> None:
        while not stop.is_set():
            try:
                store.add(f"beat/{worker}", 1)
            except RuntimeError:
                return  # the coordinator has gone; the main thread says so
            stop.wait(period_s)

    thread = threading.Thread(target=beat, name="beat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
