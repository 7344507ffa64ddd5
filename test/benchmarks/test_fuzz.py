# SPDX-License-Identifier: Apache-2.0
"""The fuzzer finds what is planted, and nothing in a short run over the node's own functions."""

from __future__ import annotations

import faulthandler
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rclpy")

from benchmarks.fuzz.findings import require, run_cases
from benchmarks.fuzz.forks import run_forked
from benchmarks.fuzz.pictures import may_be_used
from benchmarks.fuzz.seeds import raw_image

REPOSITORY = Path(__file__).resolve().parents[2]


def test_a_short_run_over_messages_and_packages_finds_nothing(tmp_path):
    command = [sys.executable, "-m", "benchmarks", "fuzz", "--out", str(tmp_path / "report.json")]
    command += ["--messages", "4000", "--packages", "400", "--seed", "20"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    for name, count in (("messages", 4000), ("packages", 400)):
        assert report[name]["cases"] == sum(report[name]["outcomes"].values()) == count
        assert report[name]["findings"] == []
    kinds = {outcome.split(":")[0] for outcome in report["messages"]["outcomes"]}
    assert kinds == {"image", "compressed", "camera_info", "tf", "serialized", "stream"}
    used = [outcome for outcome in report["messages"]["outcomes"] if outcome.endswith(": used")]
    assert {outcome.split(":")[0] for outcome in used} == {"image", "compressed", "camera_info"}


def test_wrong_acceptance_undocumented_exceptions_and_slow_cases_are_findings(monkeypatch):
    def accepts(draw):
        require(False, "accepted a planted fault")

    def raises(draw):
        raise KeyError("undocumented")

    def good(draw):
        return "used"

    monkeypatch.setattr("benchmarks.fuzz.findings.SLOW_S", -1.0)
    for case, words in ((accepts, "planted fault"), (raises, "undocumented"), (good, "allowed")):
        tally = run_cases({"case": (case, 1.0)}, seed=1, numbers=range(3))
        assert [finding["case"] for finding in tally.findings[-1:]] == [2]
        assert words in tally.findings[0]["what"]


def abort():
    """End this process as a crash does, without pytest's page of stack traces."""
    faulthandler.disable()
    os.abort()


def forked(case, count, monkeypatch):
    monkeypatch.setattr("benchmarks.fuzz.forks.BATCH", 10)
    return run_forked(lambda progress: {"case": (lambda draw: case(draw, progress), 1.0)}, 1, count)


def test_a_case_that_ends_its_process_is_found_by_number_and_the_others_still_run(monkeypatch):
    def dies(draw, progress):
        if progress.read()[0] == 13:
            abort()
        return "used"

    tally, crashes = forked(dies, 30, monkeypatch)
    assert [(f["case"], f["what"]) for f in tally.findings] == [(13, "died of SIGABRT")]
    assert crashes == []
    assert tally.cases == 30
    assert tally.outcomes["case: used"] == 29


def test_a_crash_of_the_middleware_is_told_apart(monkeypatch):
    def dies(draw, progress):
        progress.in_middleware(True)
        if progress.read()[0] == 3:
            abort()
        progress.in_middleware(False)
        return "used"

    tally, crashes = forked(dies, 5, monkeypatch)
    assert tally.findings == []
    assert [crash["case"] for crash in crashes] == [3]


def test_a_case_that_never_ends_is_killed_and_found(monkeypatch):
    monkeypatch.setattr("benchmarks.fuzz.forks.HANG_S", 0.5)

    def hangs(draw, progress):
        while progress.read()[0] == 2:
            pass
        return "used"

    tally, _ = forked(hangs, 4, monkeypatch)
    assert [(f["case"], f["what"]) for f in tally.findings] == [(2, "hung for 0.5 s")]


def test_cases_that_cannot_be_made_are_an_error_and_no_endless_loop():
    def make(progress):
        raise OSError("no room")

    with pytest.raises(RuntimeError, match="could not be made"):
        run_forked(make, seed=1, count=5)


def test_the_oracle_of_raw_images_tells_good_from_bad():
    from random import Random

    message = raw_image(Random(1))
    assert may_be_used(message)
    message.step -= 1
    assert not may_be_used(message)
