# SPDX-License-Identifier: Apache-2.0
"""Signals end the node's process soon, whatever it is doing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("rclpy")

import rclpy
from processor_waits import processor_waits_s, waited_between_s

REPOSITORY = Path(__file__).resolve().parents[1]
LIMIT_S = 2.0
SCRIPT = """
import json, os, sys, time, threading
sys.path[:0] = [{test!r}, {repository!r}]
from processor_waits import processor_waits_s
end = os._exit

def end_with_account(status):
    say("account " + json.dumps([time.monotonic(), processor_waits_s("self")]))
    end(status)

os._exit = end_with_account
from rig_bench import OneBoxDetector
from simdistill_ros import detector_node

def say(word):
    print(word, flush=True)

def idle(parameters):
    threading.Timer(0.5, say, ["ready"]).start()
    return OneBoxDetector()

def loading(parameters):
    say("ready")
    {busy}

class Inferring(OneBoxDetector):
    def detect(self, snapshot, score_threshold=None):
        say("ready")
        {busy}

def inferring(parameters):
    return OneBoxDetector()

def activate_and_infer(self, state):
    result = activate(self, state)
    if {state} is inferring:
        self._pipeline._worker._process = lambda item: Inferring().detect(None)
        self._pipeline._worker.submit(object())
    return result

activate = detector_node.DetectorNode.on_activate
detector_node.DetectorNode.on_activate = activate_and_infer
detector_node.main([], {state})
"""
# Inside one library call, which no exception can interrupt, and without the lock of Python.
BUSY = "__import__('hashlib').pbkdf2_hmac('sha256', b'', b'', 10**9)"


def run(
    state: str, domain: int, signals: list[int], look: Callable[[int], None] = lambda pid: None
) -> tuple[float, int, str]:
    """Start the node, send signals once it is in a state; return seconds, status and output.

    Before the signals, `look` is called with the number of the process.

    The seconds are from the first signal to the end. Those in which a thread of the node was ready
    to run, but had no processor, are not the node's, so a busy machine changes nothing.
    """
    script = SCRIPT.format(
        test=str(REPOSITORY / "test"), repository=str(REPOSITORY), busy=BUSY, state=state
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "ROS_DOMAIN_ID": str(domain)},
    )
    assert process.stdout is not None
    said = []
    try:
        for line in process.stdout:
            said.append(line)
            if line.startswith("ready"):
                break
        time.sleep(0.5)  # from the word to the library call
        look(process.pid)
        waits_s = processor_waits_s(process.pid)
        started = time.monotonic()
        for number in signals:
            process.send_signal(number)
            time.sleep(0.1)
        rest, _ = process.communicate(timeout=25)
        account = next(line for line in rest.splitlines() if line.startswith("account "))
        ended, waits_at_end_s = json.loads(account.removeprefix("account "))
        seconds = ended - started - waited_between_s(waits_s, waits_at_end_s)
        return seconds, process.returncode, "".join(said) + rest
    finally:
        process.kill()


@pytest.mark.parametrize(
    ("state", "number", "last_words"),
    [
        ("loading", signal.SIGINT, ("still busy after",)),
        ("inferring", signal.SIGTERM, ("ended while a snapshot was in hand", "still busy after")),
    ],
)
def test_a_signal_ends_the_process_soon_and_without_an_error(
    state: str, number: int, last_words: tuple[str, ...], ros_domain: int
) -> None:
    seconds, status, said = run(state, ros_domain, [number])
    assert status == 0, said
    assert seconds < LIMIT_S, said
    assert "Traceback" not in said
    assert any(words in said for words in last_words)


def test_an_impatient_second_signal_changes_nothing(ros_domain: int) -> None:
    seconds, status, said = run("idle", ros_domain, [signal.SIGTERM, signal.SIGINT])
    assert status == 0, said
    assert "ended\n" in said
    assert seconds < LIMIT_S


@pytest.mark.skipif(
    "fastrtps" not in rclpy.get_rmw_implementation_identifier(),
    reason="what is looked for in /dev/shm are the segments of Fast DDS",
)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_no_shared_memory_of_the_middleware_is_left_behind(number: int, ros_domain: int) -> None:
    def segments() -> set[Path]:
        return set(Path("/dev/shm").glob("fastdds_*"))

    def look(pid: int) -> None:
        maps = Path(f"/proc/{pid}/maps").read_text()
        own.update(path for path in segments() - before if str(path) in maps)

    before, own = segments(), set[Path]()

    _, status, said = run("idle", ros_domain, [number], look)

    assert status == 0, said
    assert own
    assert not own & segments()
