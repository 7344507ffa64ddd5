# SPDX-License-Identifier: Apache-2.0
"""The worker processes of this machine: started, watched, started again when they are lost."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol

from simdistill_ros.shards.board import ShardError, check_inputs, work
from simdistill_ros.shards.meeting import Address, MeetingError, connection_errors, join

MAX_RESTARTS = 3  # a worker process
STOP_S = 10.0
# Exit statuses of a worker.
WRONG_INPUT = 2
COORDINATOR_GONE = 3


@dataclass(frozen=True)
class OpenJob:
    """A job that is ready to run.

    Attributes:
        inputs: What results depend on, as plain data.
        items: Names of all items, in the order of the result.
        run: Returns the result of some items as plain data.
    """

    inputs: Mapping[str, Any]
    items: tuple[str, ...]
    run: Callable[[tuple[str, ...]], Any]


class Job(Protocol):
    """What can be done in shards; small, since each process gets a copy and opens it."""

    def open(self, worker: int | None) -> OpenJob:
        """Load what the job needs.

        Args:
            worker: Number of the process on its machine; None only to know inputs and items.
        """


class LocalWorkers:
    """Worker processes that do one job; a context that ends them."""

    def __init__(self, job: Job, address: Address, prefix: str, count: int) -> None:
        """Start them."""
        # Else a lost coordinator is a page of C++ frames; a worker says it in one line.
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
        self._start = (job, address, prefix)
        self._context = multiprocessing.get_context("spawn")
        self._restarts = [0] * count
        self._processes = [self._started(number) for number in range(count)]

    def __enter__(self) -> LocalWorkers:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Wait for those that find the work done; end them at once after an error."""
        for process in self._processes:
            if error is None:
                process.join(STOP_S)
            process.terminate()
        for process in self._processes:
            process.join(STOP_S)
            if process.is_alive():
                process.kill()

    def check(self) -> bool:
        """Start lost workers again; return whether any is still at work.

        Raises:
            ShardError: If one cannot work here, or is lost again and again.
            MeetingError: If the coordinator has gone.
        """
        for number, process in enumerate(self._processes):
            if process.exitcode in (None, 0):
                continue
            if process.exitcode == WRONG_INPUT:
                raise ShardError(f"worker {number} of this machine cannot work; it says why above")
            if process.exitcode == COORDINATOR_GONE:
                raise MeetingError(
                    f"{self._start[1]}: the coordinator has gone before the work was done; it "
                    "keeps the finished shards: start the command again, there and here"
                )
            self._restarts[number] += 1
            if self._restarts[number] > MAX_RESTARTS:
                raise ShardError(
                    f"worker {number} of this machine ended {self._restarts[number]} times, last "
                    f"with exit status {process.exitcode}; see what it printed, and the memory"
                )
            self._processes[number] = self._started(number)
        return any(process.exitcode is None for process in self._processes)

    def _started(self, number: int) -> Any:
        process = self._context.Process(
            target=_work, args=(*self._start, number), name=f"worker {number}"
        )
        process.start()
        return process


def _work(job: Job, address: Address, prefix: str, number: int) -> None:
    """Be a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers
    try:
        store = join(address, prefix)
        opened = job.open(number)
        check_inputs(store, opened.inputs)
        name = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:6]}"
        work(store, name, opened.run)
    except (ValueError, OSError) as error:
        print(f"worker {number}: {error}", file=sys.stderr)
        sys.exit(WRONG_INPUT)
    except connection_errors():
        sys.exit(COORDINATOR_GONE)
