# SPDX-License-Identifier: Apache-2.0
"""Cases in child processes, so that one which ends its process or never ends is a finding.

Cases run in batches, each in a fork. A batch that dies is repeated up to the case that killed it,
then the next one starts behind it; the same numbers do the same again.
"""

from __future__ import annotations

import json
import mmap
import os
import resource
import signal
import struct
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.fuzz.findings import Case, Tally, run_cases

BATCH = 2000
HANG_S = 60.0
POLL_S = 0.02
MEMORY_BYTES = 16 << 30
# What a batch's process tells while it runs: the number of its case, and whether it is in code of
# the middleware.
_STATE = "qq"
NONE = -1


class Progress:
    """Memory that a batch's process shares with its parent."""

    def __init__(self) -> None:
        """Allocate; no case has begun."""
        self._memory = mmap.mmap(-1, struct.calcsize(_STATE))
        self.start(NONE)

    def start(self, number: int) -> None:
        """Tell which case begins."""
        struct.pack_into("q", self._memory, 0, number)

    def in_middleware(self, inside: bool) -> None:
        """Tell whether the middleware has the word."""
        struct.pack_into("q", self._memory, 8, int(inside))

    def read(self) -> tuple[int, bool]:
        """Return the case and whether the middleware has the word."""
        number, inside = struct.unpack_from(_STATE, self._memory)
        return int(number), bool(inside)


MakeCases = Callable[[Progress], Mapping[str, tuple[Case, float]]]


def run_forked(make_cases: MakeCases, seed: int, count: int) -> tuple[Tally, list[dict[str, Any]]]:
    """Run `count` cases; return what came out, and the cases at which the middleware crashed."""
    tally, crashes, start = Tally(), [], 0
    while start < count:
        stop = min(start + BATCH, count)
        died_at = _run_batch(make_cases, seed, start, stop, tally)
        if died_at is not None:
            number, what, in_middleware = died_at
            _run_batch(make_cases, seed, start, number, tally)
            finding = {"case": number, "kind": "process", "what": what}
            (crashes if in_middleware else tally.findings).append(finding)
            tally.outcomes["serialized: MIDDLEWARE CRASHED" if in_middleware else what] += 1
            tally.cases += 1
            stop = number + 1
        start = stop
    return tally, crashes


def _run_batch(
    make_cases: MakeCases, seed: int, start: int, stop: int, tally: Tally
) -> tuple[int, str, bool] | None:
    """Add a batch to the tally, or return at which case it died, how, and whose code it was in."""
    progress = Progress()
    with tempfile.NamedTemporaryFile() as result:
        child = os.fork()
        if child == 0:
            _child(make_cases, progress, seed, range(start, stop), result.name)
        status = _wait(child, progress)
        if status == 0:
            tally.add(json.loads(result.read()))
            return None
    number, in_middleware = progress.read()
    if number == NONE:
        raise RuntimeError(f"the cases could not be made: the process {_how(status)}")
    return number, _how(status), in_middleware


def _child(
    make_cases: MakeCases, progress: Progress, seed: int, numbers: range, result: str
) -> None:
    """Run a batch and end the process."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    try:
        cases = make_cases(progress)
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 2)  # the middleware prints a line for each message it refuses
        tally = run_cases(cases, seed, numbers, progress.start)
        with open(result, "w") as file:
            json.dump(vars(tally), file)
        os._exit(0)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


def _wait(child: int, progress: Progress) -> int:
    last, since_s = progress.read(), time.monotonic()
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status
        now = progress.read()
        if now != last:
            last, since_s = now, time.monotonic()
        elif time.monotonic() - since_s > HANG_S:
            os.kill(child, signal.SIGKILL)
        time.sleep(POLL_S)


def _how(status: int) -> str:
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        name = signal.Signals(number).name
        return f"hung for {HANG_S:g} s" if number == signal.SIGKILL else f"died of {name}"
    return f"ended with status {os.WEXITSTATUS(status)}"
