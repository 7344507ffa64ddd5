# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from simdistill_ros.command_line.run import CheckFailedError, Outcome, run_command
from simdistill_ros.command_line.terminal import (
    RED,
    painted,
    progress,
    progress_bar,
    say,
    set_audience,
    wants_color,
)

PLAIN = argparse.Namespace(quiet=False, json=False, debug=False)
ROOT = Path(__file__).resolve().parents[2]


class Terminal(io.StringIO):
    """Something that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _plain_audience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("SIMDISTILL_DEBUG", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    set_audience(quiet=False, json=False)


def failing(error: BaseException) -> Callable[[], Outcome]:
    def command() -> Outcome:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (ValueError("--rate: expected a positive number, got 0"), 2, "it: --rate: expected a"),
        (FileNotFoundError(2, "No such file or directory", "a/b"), 2, "it: a/b: no such file"),
        (PermissionError(13, "Permission denied", "/x"), 2, "/x: permission denied; choose"),
        (FileExistsError("bag x exists already"), 2, "bag x exists already"),
        (LookupError("mended so"), 2, "it: mended so"),
        (CheckFailedError("the oracle must score 1"), 1, "it: the oracle must score 1"),
        (KeyError("stamp"), 3, "it: a bug: KeyError: 'stamp'"),
        (KeyboardInterrupt(), 130, "it: interrupted"),
    ],
)
def test_each_kind_of_failure_has_its_status_and_its_words(
    error: BaseException, status: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    mendable = (LookupError,) if "mended" in str(error) else ()
    assert run_command("it", PLAIN, failing(error), mendable=mendable) == status
    said = capsys.readouterr()
    assert words in said.err
    assert "Traceback" not in said.err
    assert said.out == ""


@pytest.mark.parametrize(
    ("wishes", "out"),
    [({}, "found two\n"), ({"json": True}, '{\n  "found": 2\n}\n'), ({"quiet": True}, "")],
)
def test_an_outcome_is_told_as_wished_and_its_status_stays(
    wishes: dict[str, bool], out: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = argparse.Namespace(**{**vars(PLAIN), **wishes})
    outcome = Outcome("found two", {"found": 2}, 1)
    assert run_command("it", arguments, lambda: outcome) == 1
    assert capsys.readouterr().out == out


def test_words_on_the_way_do_not_disturb_a_program_that_reads(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def command() -> Outcome:
        say("half-way")
        return Outcome("done", {"done": True})

    run_command("it", argparse.Namespace(**{**vars(PLAIN), "json": True}), command)
    said = capsys.readouterr()
    assert json.loads(said.out) == {"done": True}
    assert said.err == "half-way\n"


def test_colour_is_for_terminals_whose_owner_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert painted("bad", RED, Terminal()) == "\033[1;31mbad\033[0m"
    assert painted("bad", RED, io.StringIO()) == "bad"
    monkeypatch.setenv("NO_COLOR", "1")
    assert not wants_color(Terminal())
    monkeypatch.setenv("NO_COLOR", "")  # empty is as good as unset: no-color.org
    assert wants_color(Terminal())
    monkeypatch.setenv("TERM", "dumb")
    assert not wants_color(Terminal())


def test_a_bar_on_a_terminal_tells_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress_bar("frames", 4, 1, unit="frame") as bar:
        bar.update(1)
        bar.refresh()
    text = terminal.getvalue()
    assert "frames:" in text
    assert " 2/4 [" in text
    assert "<" in text  # elapsed<left


@pytest.mark.parametrize("quiet", [False, True])
def test_there_is_no_bar_in_a_file_nor_where_nobody_wants_to_hear(
    quiet: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = Terminal() if quiet else io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    set_audience(quiet=quiet, json=False)
    assert list(progress(range(3), "frames", 3)) == [0, 1, 2]
    assert stream.getvalue() == ""


def test_a_reader_that_leaves_early_is_no_error() -> None:
    code = (
        "import argparse, sys; from simdistill_ros.command_line.run import *; "
        "a = argparse.Namespace(quiet=False, json=True, debug=False); "
        "sys.exit(run_command('it', a, lambda: Outcome(data=['x' * 99] * 9999)))"
    )
    pipe = f'{sys.executable} -c "{code}" | head -c 10; echo ${{PIPESTATUS[0]}}'
    done = subprocess.run(
        ["bash", "-c", pipe], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith("141\n")
    assert done.stderr == ""
