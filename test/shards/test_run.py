# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import signal
import socket
import threading
import time
from pathlib import Path

import pytest
from square_job import SquareJob, begun

from simdistill_ros.shards.ledger import clear_shards
from simdistill_ros.shards.meeting import MeetingError, meet, parse_address
from simdistill_ros.shards.run import Sharing, run_in_shards

EXPECTED = [{str(n): n * n / 3 for n in (m, m + 1)} for m in range(0, 12, 2)]
ALONE = Sharing(shard_size=2)


def kill_the_victim(folder: Path) -> None:
    """Kill, with SIGKILL, the worker that holds still in the middle of a shard."""
    file = folder / "victim"
    while not file.is_file() or not file.read_text():
        time.sleep(0.05)
    os.kill(int(file.read_text()), signal.SIGKILL)


def test_one_process_returns_results_in_order(tmp_path: Path) -> None:
    assert run_in_shards(SquareJob(tmp_path), tmp_path / "shards", ALONE, "squares") == EXPECTED
    assert len(begun(tmp_path)) == 6


def test_work_that_was_stopped_goes_on_with_what_is_missing(tmp_path: Path) -> None:
    shards = tmp_path / "shards"
    with pytest.raises(ValueError, match="6 cannot be squared"):
        run_in_shards(SquareJob(tmp_path, broken="6"), shards, ALONE, "squares")
    assert begun(tmp_path) == ["0", "2", "4", "6"]
    assert run_in_shards(SquareJob(tmp_path), shards, ALONE, "squares") == EXPECTED
    assert begun(tmp_path)[4:] == ["6", "8", "10"]
    clear_shards(shards)
    assert not shards.exists()


def test_shards_of_other_inputs_are_done_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    shards = tmp_path / "shards"
    run_in_shards(SquareJob(tmp_path, flavour="old"), shards, ALONE, "squares")
    assert run_in_shards(SquareJob(tmp_path), shards, ALONE, "squares") == EXPECTED
    assert len(begun(tmp_path)) == 12
    assert "6 shards in" in caplog.text


def test_a_killed_worker_costs_its_shard_and_nothing_else(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    killer = threading.Thread(target=kill_the_victim, args=(tmp_path,), daemon=True)
    killer.start()
    sharing = Sharing(processes=2, shard_size=2, lease_s=4.0)
    found = run_in_shards(SquareJob(tmp_path, victim=True), tmp_path / "shards", sharing, "squares")
    killer.join(timeout=1)
    assert not killer.is_alive()
    assert found == EXPECTED
    assert len(begun(tmp_path)) == 6 + 1


def test_a_shard_that_cannot_be_done_ends_all_workers_with_the_reason(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    sharing = Sharing(processes=1, address=f"127.0.0.1:{free_port()}", shard_size=2)
    with pytest.raises(ValueError, match=r"8 cannot be squared \(worker "):
        run_in_shards(SquareJob(tmp_path, broken="8"), tmp_path / "shards", sharing, "squares")


def test_who_comes_second_joins_and_is_refused_with_other_inputs(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    address = parse_address(f"127.0.0.1:{free_port()}")
    first = meet(address)
    first.store.set("inputs", '{"flavour": "plain", "count": 12}')
    assert first.is_coordinator
    sharing = Sharing(address=str(address))
    with pytest.raises(MeetingError, match="flavour: 'other' here, 'plain' there"):
        run_in_shards(SquareJob(tmp_path, flavour="other"), tmp_path, sharing, "squares")


def test_the_meeting_listens_on_its_address_only(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    meeting = meet(None)
    with socket.socket() as other:
        other.bind(("127.0.0.2", meeting.address.port))  # taken if it listened everywhere


@pytest.mark.parametrize("text", ["node1", ":29400", "node1:port", "node1:70000"])
def test_an_address_that_is_none_is_named(text: str) -> None:
    with pytest.raises(MeetingError, match="expected HOST:PORT"):
        parse_address(text)


def test_a_host_that_does_not_exist_is_named(tmp_path: Path) -> None:
    sharing = Sharing(address="nowhere.invalid:29400")
    with pytest.raises(MeetingError, match="no such host"):
        run_in_shards(SquareJob(tmp_path), tmp_path, sharing, "squares")


def test_fewer_than_one_process_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--processes: expected at least 1, got 0"):
        run_in_shards(SquareJob(tmp_path), tmp_path, Sharing(processes=0), "squares")


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
