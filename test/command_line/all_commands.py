# SPDX-License-Identifier: Apache-2.0
"""Every command of the project: what people type, and the function that it calls."""

from __future__ import annotations

import argparse
import importlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NOT_FOR_PEOPLE = {"detector_node"}  # a ROS node: it has parameters instead of options
ENTRY = re.compile(r'"?(\w+)\s*=\s*"?([\w.]+):(\w+)"')


@dataclass(frozen=True)
class Command:
    """One program, or one command of a program.

    Attributes:
        words: What people type.
        module: Of its main function.
        before: Arguments that choose the command.
        bad_input: Arguments of something that cannot be used; NOWHERE stands for no such path.
        is_program: Whether it is a whole program, which knows -V and completion.
    """

    words: str
    module: str
    before: tuple[str, ...] = ()
    bad_input: tuple[str, ...] = ()
    is_program: bool = True

    def main(self, *arguments: str) -> int:
        """Call it; what argparse ends with is returned too."""
        main: Callable[[list[str]], int] = importlib.import_module(self.module).main
        try:
            return main([*self.before, *arguments])
        except SystemExit as ended:
            return int(ended.code or 0)


NOWHERE = "no/such/place"
DATA = ("--dataroot", NOWHERE)
RUNTIME = (
    Command("build_engines", "simdistill_ros.build_engines", (), ("--model", NOWHERE)),
    Command("demo", "simdistill_ros.replay.demo", (), ("--out", "/dev/null/NOWHERE", "--short")),
    Command("doctor", "simdistill_ros.doctor.cli", (), ("--bag", NOWHERE)),
    Command("generate_scenes", "simdistill_ros.scenes.generate", (),
            ("--out", "/dev/null/NOWHERE", "--scenes", "1")),
    Command("nuscenes_to_bag", "simdistill_ros.replay.nuscenes_to_bag", (),
            (*DATA, "--out", "bags")),
    Command("replay", "simdistill_ros.replay.replay", (), (*DATA, "--out", "out")),
    Command("report", "simdistill_ros.report.cli", (), (NOWHERE,)),
    Command("detect", "simdistill_ros.detect.cli", (), (NOWHERE, "--out", "out")),
)  # fmt: skip


def _training(name: str, *bad_input: str) -> Command:
    words = tuple(name.split())
    module = "simdistill_training.cli"
    return Command(f"simdistill {name}", module, words, bad_input, is_program=False)


TRAINING = (
    Command("simdistill", "simdistill_training.cli", (), ("evaluate", NOWHERE)),
    _training("train", NOWHERE),
    _training("evaluate", NOWHERE),
    _training("overfit", NOWHERE),
    _training("view-data", NOWHERE),
    _training("package", NOWHERE, "out", "--data", "none"),
    _training("export", NOWHERE),
    _training("quantize", NOWHERE, *DATA),
    _training("parity", NOWHERE, *DATA),
    _training("convert resnet50", NOWHERE, "out"),
    _training("bench", "--config", NOWHERE),
    _training("version"),
)


def _benchmark(name: str, *bad_input: str) -> Command:
    words = f"python -m benchmarks {name}".strip()
    return Command(words, "benchmarks.__main__", tuple(name.split()), bad_input)


BENCHMARKS = (
    _benchmark("", "--model", NOWHERE),
    _benchmark("camera_loss", *DATA),
    _benchmark("detector", "--model", NOWHERE, "--no-save"),
    _benchmark("ego_motion", *DATA),
    _benchmark("fuzz"),
    _benchmark("jpeg_scaling", NOWHERE),
    _benchmark("lifecycle_memory"),
    _benchmark("load"),
    _benchmark("node"),
    _benchmark("overlays"),
    _benchmark("pooling"),
    _benchmark("soak"),
    _benchmark("training", NOWHERE, "--no-save"),
    Command("python -m benchmarks.gpu", "benchmarks.gpu.__main__"),
)
ALL = (*RUNTIME, *TRAINING, *BENCHMARKS)


def installed_scripts() -> set[str]:
    """Return the names that the two distributions install."""
    texts = [(ROOT / name).read_text() for name in ("setup.py", "training/pyproject.toml")]
    return {found[1] for text in texts for found in ENTRY.finditer(text)} - NOT_FOR_PEOPLE


def parsers_of(command: Command) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield a program's parser and those of its commands, with what people type."""
    module = importlib.import_module(command.module)
    make = getattr(module, "make_parser", None) or module.parser
    yield from _with_children(make())


def _with_children(
    parser: argparse.ArgumentParser,
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    yield parser.prog, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from _with_children(child)
