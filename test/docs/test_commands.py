# SPDX-License-Identifier: Apache-2.0
"""Every command that the documentation shows is one that its program takes, and says where it runs.

What is neither marked nor covered elsewhere is run by test_runs.py.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for the modules beside this file

from code_blocks import FENCE, SHELL, Block, all_blocks, commands_of, inline_code, pages
from own_commands import (
    commands_of_parser,
    complaint_of,
    console_scripts,
    options_of,
    own_command,
    parser_of,
)

ROOT = Path(__file__).resolve().parents[2]
LANGUAGES = {*SHELL, "python", "text", "yaml", "json", "bibtex"}
# Not ours; what they are told is not checked, but who shows them says what they need.
OTHERS = {"git", "cd", "sudo", "apt", "apt-get", "colcon", "source", "export", "nvpmodel", "lscpu"}
OTHERS_OF_ROS = {"bag", "param", "topic", "lifecycle", "security", "doctor"}
OPTIONS_OF_OTHERS = {"--clock", "--loop", "--no-deps", "--system-site-packages", "--reset"}
SHELL_BLOCKS = all_blocks(*SHELL)


def place(block: Block) -> str:
    return block.place


def complaint(words: list[str]) -> str:
    """What is wrong with a command; empty: nothing."""
    command = own_command(words)
    if command:
        return complaint_of(*command)
    known = {"make": _make, "pip": _pip, "ros2": _ros2, "torchrun": _torchrun}
    known |= {"sbatch": _script, ".": _script}
    if words[0] in known:
        return known[words[0]](words[1:])
    if "/" in words[0]:
        return "" if (ROOT / words[0]).is_file() else "no such file"
    return "" if words[0] in OTHERS else "not a command that this test knows"


def _make(words: list[str]) -> str:
    makefile = (ROOT / "Makefile").read_text()
    for word in words:
        name, equals, value = word.partition("=")
        if not equals and not re.search(rf"^{name}:", makefile, re.MULTILINE):
            return f"no such target: {word}"
        if equals and name not in makefile and name not in (ROOT / "scripts/setup.sh").read_text():
            return f"no such variable: {name}"
        if name == "DEMO_ARGS":
            return complaint(["python", "-m", "simdistill_ros.replay.demo", *value.split()])
    return ""


def _pip(words: list[str]) -> str:
    files = [words[i + 1] for i, word in enumerate(words) if word == "-r"]
    missing = [
        name for name in files if not (ROOT / name.removeprefix("simdistill_ros/")).is_file()
    ]
    return f"no such file: {missing}" if missing else ""


def _ros2(words: list[str]) -> str:
    if words[:2] == ["launch", "simdistill_ros"]:
        text = (ROOT / "launch" / words[2]).read_text()
        declared = re.findall(r'(?:DeclareLaunchArgument\(\s*|^ +\()"(\w+)"', text, re.MULTILINE)
        given = [word.partition(":=")[0] for word in words[3:] if ":=" in word]
        unknown = set(given) - set(declared)
        return f"no such launch arguments: {unknown}" if unknown else ""
    if words[:2] == ["run", "simdistill_ros"]:
        return "" if words[2] == "detector_node" else f"no such executable: {words[2]}"
    return "" if words[0] in OTHERS_OF_ROS else "not a verb that this test knows"


def _torchrun(words: list[str]) -> str:
    return complaint(words[words.index("--no-python") + 1 :])


def _script(words: list[str]) -> str:
    scripts = [word for word in words if word.endswith(".sh")]
    return "" if scripts and all((ROOT / name).is_file() for name in scripts) else "no such script"


def test_every_block_says_its_language_so_that_no_command_hides() -> None:
    assert [block.place for block in all_blocks() if block.info not in LANGUAGES] == []


def test_no_command_is_shown_as_an_indented_block() -> None:
    command = re.compile(r"^ {4}(python|ros2|simdistill|make|pip|replay)\b", re.MULTILINE)
    assert [page.name for page in pages() if command.search(FENCE.sub("", page.read_text()))] == []


@pytest.mark.parametrize("block", SHELL_BLOCKS, ids=place)
def test_every_command_is_one_that_its_program_takes(block: Block) -> None:
    """Options, choices and required arguments, also of commands that cannot be run here."""
    wrong = {
        " ".join(words): said for words in commands_of(block.text) if (said := complaint(words))
    }
    assert wrong == {}


@pytest.mark.parametrize("block", [b for b in all_blocks() if b.covered_by], ids=place)
def test_the_test_that_covers_a_block_exists(block: Block) -> None:
    for name in block.covered_by:
        file, _, what = name.partition("::")
        text = (ROOT / file).read_text()
        assert what
        assert (f"def {what}(" if file.endswith(".py") else what) in text, name


@pytest.mark.parametrize("block", [b for b in SHELL_BLOCKS if not b.is_run], ids=place)
def test_a_block_is_marked_once(block: Block) -> None:
    assert bool(block.needs) != bool(block.covered_by)


def parser_read_by(text: str) -> argparse.ArgumentParser | None:
    """The parser of one of our commands that stands in the prose; None for other texts."""
    words = re.sub(r"[][]", "", text).split()
    if words[:2] != ["python", "-m"] and not console_scripts().keys() & words[:1]:
        return None
    command = own_command(words)
    assert command
    return parser_of(*command)


def test_options_and_commands_that_the_text_names_exist() -> None:
    options, commands = set(OPTIONS_OF_OTHERS), {}
    for name in console_scripts():
        command = own_command([name])
        assert command
        parser = parser_of(*command)
        options |= options_of(parser)
        commands[name] = set(commands_of_parser(parser))
    unknown = []
    for page, text in inline_code():
        own = parser_read_by(text)
        known = options | (options_of(own) if own else set())
        named = re.findall(r"(?<![\w-])--[a-z][\w-]*", text)
        first, second = (*text.split(), "", "")[:2]
        is_command = not commands.get(first) or not second.islower() or second in commands[first]
        if not is_command or not known.issuperset(named):
            unknown.append(f"{page}: {text}")
    assert unknown == []


@pytest.mark.parametrize(
    "command",
    [
        "simdistill train teacher-tiny --no-such-option 1",
        "simdistill no-such-command",
        "replay --dataroot DATA",  # without --out
        "ros2 run simdistill_ros doctor --no-such-option",
        "ros2 run simdistill_ros no_such_executable",
        "ros2 launch simdistill_ros detector.launch.py no_such_argument:=1",
        "python -m benchmarks load --kind neither",
        "make no-such-target",
        'make demo DEMO_ARGS="--no-such-option"',
        "pip install -r requirements/no-such-file.txt",
        "no-such-program",
    ],
)
def test_a_command_that_is_wrong_is_found(command: str) -> None:
    (words,) = commands_of(command)
    assert complaint(words)
