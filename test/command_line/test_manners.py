# SPDX-License-Identifier: Apache-2.0
"""All commands behave alike: one table of commands, one test for each habit."""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from all_commands import (
    ALL,
    BENCHMARKS,
    NOWHERE,
    RUNTIME,
    TRAINING,
    Command,
    installed_scripts,
    parsers_of,
)

for _needed in ("nuscenes", "rclpy", "embreex", "lightning"):
    pytest.importorskip(_needed)

from benchmarks.__main__ import COMMANDS, OWN
from simdistill_ros import __version__

PROGRAMS = [command for command in (*RUNTIME, TRAINING[0])]
# One name for one thing, everywhere.
OTHER_NAMES = {"--data-root", "--nusc", "--output", "--output-dir", "--model-path"}
OTHER_NAMES |= {"--num-threads", "--random-seed", "--nthreads", "--verbosity", "--silent"}
KINDS = {"--dataroot": {Path, None}, "--out": {Path}, "--threads": {int}, "--seed": {int}}


def typed(command: Command) -> str:
    return command.words


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a command can do no harm, and with none of the caller's wishes."""
    monkeypatch.chdir(tmp_path)
    for name in ("SIMDISTILL_DEBUG", "NO_COLOR", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)


def test_the_table_has_every_command() -> None:
    assert {command.words for command in PROGRAMS} == installed_scripts()
    measurements = {command.before[0] for command in BENCHMARKS if command.before}
    assert measurements == {*OWN, *COMMANDS}
    names = {prog for prog, _ in parsers_of(TRAINING[0])}
    table = {command.words for command in TRAINING}
    assert {name for name in names if not name.startswith("simdistill convert")} <= table


@pytest.mark.parametrize("command", ALL, ids=typed)
def test_help_has_examples_of_this_command_and_the_exit_status(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main("--help") == 0
    text = capsys.readouterr().out
    examples = text.partition("\nexamples:\n")[2].partition("\n\n")[0].splitlines()
    lines = [line.strip() for line in examples if line.startswith("  ") and line[2] != " "]
    assert lines
    assert any(line.startswith((command.words, "make gpu")) for line in lines)
    assert "exit status: 0 fine; 1 " in text
    for option in ("--quiet", "--debug", "--json"):
        assert option in text or command.words == "simdistill"


@pytest.mark.parametrize("command", PROGRAMS, ids=typed)
def test_examples_are_command_lines_that_are_understood(command: Command) -> None:
    top = dict(parsers_of(command))
    for parser in top.values():
        assert parser.epilog is not None
        for line in parser.epilog.splitlines():
            words = shlex.split(line) if line.startswith(f"  {command.words} ") else []
            if words and words[1:] != ["COMMAND", "--help"]:
                top[command.words].parse_args(words[1:])


@pytest.mark.parametrize("command", [c for c in ALL if c.is_program], ids=typed)
def test_the_programs_version_is_printed(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main("-V") == 0
    assert capsys.readouterr().out.strip().endswith(f" {__version__}")


def test_version_is_a_command_of_simdistill_too(capsys: pytest.CaptureFixture[str]) -> None:
    (command,) = (c for c in TRAINING if c.before == ("version",))
    assert command.main() == 0
    assert capsys.readouterr().out == f"simdistill {__version__}\n"
    assert command.main("--json") == 0
    assert json.loads(capsys.readouterr().out) == {"version": __version__}
    assert command.main("--quiet") == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("command", ALL, ids=typed)
def test_an_option_that_does_not_exist_is_wrong_use(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(*command.bad_input, "--no-such-option") == 2
    said = capsys.readouterr()
    assert "--no-such-option" in said.err
    assert said.out == ""


@pytest.mark.parametrize("command", [c for c in ALL if c.bad_input], ids=typed)
def test_bad_input_is_named_without_a_traceback_and_ends_with_two(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(*command.bad_input) == 2
    said = capsys.readouterr()
    last = said.err.splitlines()[-1]
    assert said.err.count(command.words.split(" convert")[0]) >= 1
    assert NOWHERE in said.err or "NOWHERE" in said.err
    assert "Traceback" not in said.err
    assert "\033" not in said.err
    assert "Errno" not in last


@pytest.mark.parametrize("command", [RUNTIME[6], TRAINING[5], BENCHMARKS[1]], ids=typed)
@pytest.mark.parametrize("way", ["--debug", "SIMDISTILL_DEBUG"])
def test_a_traceback_is_there_for_those_who_ask(
    command: Command,
    way: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = [way] if way.startswith("-") else []
    if not options:
        monkeypatch.setenv(way, "1")
    assert command.main(*command.bad_input, *options) == 2
    assert "Traceback (most recent call last)" in capsys.readouterr().err


@pytest.mark.parametrize("command", PROGRAMS, ids=typed)
def test_every_option_is_explained_and_called_the_same_everywhere(command: Command) -> None:
    for prog, parser in parsers_of(command):
        options = parser._option_string_actions
        assert {"--quiet", "-q", "--debug"} <= options.keys(), prog
        assert not OTHER_NAMES & options.keys(), prog
        for name, kinds in KINDS.items():
            if name in options:
                assert options[name].type in kinds, f"{prog} {name}"
        for action in parser._actions:
            if not isinstance(action, argparse._SubParsersAction):
                assert action.help, f"{prog} {action.dest} has no help"
        # --version is nuScenes' word for its tables; the program's own is -V.
        assert not isinstance(options.get("--version"), argparse._VersionAction), prog


@pytest.mark.parametrize("command", PROGRAMS, ids=typed)
def test_completion_for_zsh_names_the_command(
    command: Command, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pytest.importorskip("shtab")
    assert command.main("--print-completion", "zsh") == 0
    script = capsys.readouterr().out
    assert script.startswith(f"#compdef {command.words}\n")
    assert "--quiet" in script
    if shutil.which("zsh"):
        (tmp_path / "script").write_text(script)
        subprocess.run(["zsh", "-n", str(tmp_path / "script")], check=True)


@pytest.mark.parametrize(
    ("command", "words", "expected"),
    [
        (RUNTIME[5], ["--data"], {"--dataroot"}),
        (RUNTIME[5], ["--mode", ""], {"step", "realtime"}),
        (RUNTIME[2], ["--str"], {"--strict"}),
        (TRAINING[0], ["ev"], {"evaluate"}),
        (TRAINING[0], ["evaluate", "--addr"], {"--address"}),
    ],
    ids=lambda value: getattr(value, "words", None),
)
def test_bash_completes_options_choices_and_commands(
    command: Command,
    words: list[str],
    expected: set[str],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    pytest.importorskip("shtab")
    assert command.main("--print-completion", "bash") == 0
    script = tmp_path / "script"
    script.write_text(capsys.readouterr().out)
    line = " ".join(shlex.quote(word) for word in [command.words, *words])
    ask = (
        f"source {script}; COMP_WORDS=({line}); COMP_CWORD={len(words)}; "
        f"complete -p {command.words} >/dev/null; "
        f"f=$(complete -p {command.words} | sed 's/.*-F \\([^ ]*\\).*/\\1/'); "
        f'$f; printf "%s\\n" "${{COMPREPLY[@]}}"'
    )
    done = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, check=True)
    assert {word.strip() for word in done.stdout.splitlines()} == expected, done.stderr


def test_a_command_speaks_to_people_to_programs_or_not_at_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    generate = RUNTIME[3]
    sizes = ["--scenes", "1", "--width", "64", "--height", "36", "--duration-s", "0.5"]
    sizes += ["--keyframe-only", "--antialias", "none", "--traffic", "0.1"]
    said: dict[str, Any] = {}
    for manner in ("", "--json", "--quiet"):
        out = tmp_path / f"scenes{manner}"
        assert generate.main("--out", str(out), *sizes, *([manner] if manner else [])) == 0
        said[manner] = capsys.readouterr()
    assert "1 scenes, 2 keyframes" in said[""].out
    facts = json.loads(said["--json"].out)
    assert (facts["samples"], facts["dataroot"]) == (2, str(tmp_path / "scenes--json"))
    assert said["--quiet"].out == ""
    assert [one.err for one in said.values()] == ["", "", ""]  # no bars outside a terminal
