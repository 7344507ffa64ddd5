# SPDX-License-Identifier: Apache-2.0
"""Do a job in shards, here alone or with others, and return the results in order.

However the work was shared, results are the same: they come from the same shards, through the same
files. A job that was stopped goes on with the shards that are missing.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simdistill_ros.command_line.terminal import progress_bar
from simdistill_ros.shards.board import LEASE_S, POLL_S, Coordinator, check_inputs
from simdistill_ros.shards.ledger import Ledger, Shard, cut_into_shards
from simdistill_ros.shards.local_workers import Job, LocalWorkers, OpenJob
from simdistill_ros.shards.meeting import Meeting, meet, parse_address

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sharing:
    """Who does the work.

    Attributes:
        address: HOST:PORT where machines meet; "" for this machine alone.
        processes: Worker processes of this machine.
        shard_size: Items a shard; what a lost worker costs.
        lease_s: A worker that is silent for so long is lost.
    """

    address: str = ""
    processes: int = 1
    shard_size: int = 32
    lease_s: float = LEASE_S

    @property
    def is_shared(self) -> bool:
        """Whether anybody but this process works."""
        return bool(self.address) or self.processes != 1 or "TORCHELASTIC_RUN_ID" in os.environ


def run_in_shards(job: Job, folder: Path, sharing: Sharing, what: str) -> list[Any] | None:
    """Return the results of all shards, in order.

    Args:
        job: What to do.
        folder: Where finished shards are kept until `clear_shards`.
        sharing: Who does it.
        what: Title of the progress bar.

    Returns:
        The results; None where another machine coordinates and has them.

    Raises:
        ValueError: If an option, the address or a shard's inputs cannot be used.
        OSError: If files are missing.
    """
    if sharing.processes < 1:
        raise ValueError(f"--processes: expected at least 1, got {sharing.processes}")
    if not sharing.is_shared:
        return _run_alone(job.open(0), folder, sharing, what)
    meeting = meet(parse_address(sharing.address) if sharing.address else None)
    opened = job.open(None)
    if not meeting.is_coordinator:
        _help(job, opened, meeting, sharing)
        return None
    return _coordinate(job, opened, meeting, folder, sharing, what)


def _run_alone(opened: OpenJob, folder: Path, sharing: Sharing, what: str) -> list[Any]:
    plan = _Plan(opened, folder, sharing)
    with progress_bar(what, plan.total, plan.kept) as bar:
        for shard in plan.missing:
            plan.ledger.write(shard, opened.run(shard.items))
            bar.update(len(shard.items))
    return plan.results()


def _coordinate(
    job: Job, opened: OpenJob, meeting: Meeting, folder: Path, sharing: Sharing, what: str
) -> list[Any]:
    plan = _Plan(opened, folder, sharing)
    board = Coordinator(meeting.store, opened.inputs, sharing.lease_s)
    board.queue(plan.missing)
    missing = {shard.number for shard in plan.missing}
    if sharing.address:
        LOGGER.info("coordinating at %s: start the same command on other machines", meeting.address)
    workers = LocalWorkers(job, meeting.address, meeting.prefix, sharing.processes)
    try:
        with workers, progress_bar(what, plan.total, plan.kept) as bar:
            while missing:
                for shard, result in board.collect():
                    plan.ledger.write(shard, result)
                    missing.discard(shard.number)
                    bar.update(len(shard.items))
                if board.requeue_lost(time.monotonic()):
                    LOGGER.warning("lost a worker: its shard is handed out again")
                workers.check()
                time.sleep(POLL_S)
            board.close()
            time.sleep(5 * POLL_S)  # so that workers of other machines hear it
    finally:
        board.close()
    return plan.results()


def _help(job: Job, opened: OpenJob, meeting: Meeting, sharing: Sharing) -> None:
    """Work for the coordinator until nothing is left."""
    check_inputs(meeting.store, opened.inputs)
    LOGGER.info("working for %s with %d process(es)", meeting.address, sharing.processes)
    with LocalWorkers(job, meeting.address, meeting.prefix, sharing.processes) as workers:
        while workers.check():
            time.sleep(POLL_S)
    LOGGER.info("done: the results are with %s", meeting.address.host)


class _Plan:
    """The shards of a job and which of them are missing."""

    def __init__(self, opened: OpenJob, folder: Path, sharing: Sharing) -> None:
        inputs = {**opened.inputs, "shard_size": sharing.shard_size}
        self.ledger = Ledger(folder, inputs)
        self._shards = cut_into_shards(opened.items, sharing.shard_size)
        done = {s.number for s in self._shards if self.ledger.read(s) is not None}
        self.missing: Sequence[Shard] = [s for s in self._shards if s.number not in done]
        self.total = len(opened.items)
        self.kept = self.total - sum(len(shard.items) for shard in self.missing)
        if done:
            LOGGER.info("%d of %d shards are done already", len(done), len(self._shards))
        refused = self.ledger.refused(self.missing)
        if refused:
            LOGGER.info("%d shards in %s are of other inputs: done again", refused, folder)

    def results(self) -> list[Any]:
        """Return the results of all shards.

        Raises:
            ValueError: If a shard's file is gone.
        """
        found = [self.ledger.read(shard) for shard in self._shards]
        gone = [shard.number for shard, one in zip(self._shards, found, strict=True) if one is None]
        if gone:
            raise ValueError(
                f"{self.ledger.folder}: expected all shards, got none for {gone[:5]}; does another "
                "run use this folder? Run the command again"
            )
        return found
