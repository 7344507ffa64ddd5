# SPDX-License-Identifier: Apache-2.0
"""Run every measurement, keep the numbers as JSON and rewrite benchmarks/README.md from them.

`python -m benchmarks load` is the long one; `detector` compares every way from JPEGs to boxes;
`jpeg_scaling` needs real images. They have result files of their own.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import camera_loss, detector_paths, ego_motion, lifecycle_memory, overlays
from benchmarks.bench_detector import bench_detector
from benchmarks.bench_jpeg_scaling import bench_jpeg_scaling
from benchmarks.bench_load import bench_load
from benchmarks.bench_node import bench_node
from benchmarks.bench_pooling import bench_pooling
from benchmarks.bench_sync import bench_sync
from benchmarks.machine import describe_machine
from benchmarks.tables import paths_table, render
from benchmarks.training_speed import bench_training, make_parser, training_table
from simdistill_ros.command_line.parser import command_parser
from simdistill_ros.command_line.run import Outcome, run_command
from simdistill_ros.command_line.terminal import say
from simdistill_ros.core.backends.base import BackendError

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results"
# Commands that are folders of their own: `python -m benchmarks NAME --help`.
COMMANDS = ("fuzz", "soak")


NAME = "python -m benchmarks"
EXAMPLES = (
    ("python -m benchmarks", "the ordinary measurements; rewrites benchmarks/README.md"),
    ("python -m benchmarks --render-only", "only rewrite it from the results that are there"),
    ("python -m benchmarks detector --model out/mine --no-save", "one of: camera_loss, detector, "
     "ego_motion, fuzz, jpeg_scaling, lifecycle_memory, load, node, overlays, pooling, soak, "
     "training"),
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, save, render; or run the measurement that the first argument names."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] in OWN:
        return OWN[words[0]](words[1:])
    if words and words[0] in COMMANDS:
        command = importlib.import_module(f"benchmarks.{words[0]}.__main__")
        return int(command.main(words[1:]))
    parser = command_parser(NAME, __doc__, EXAMPLES, completes=False)
    parser.add_argument("--model", default="tiny", help="model to time (default: tiny)")
    parser.add_argument("--backend", default="auto", help="backend to time (default: auto)")
    parser.add_argument("--rounds", type=int, default=40, help="snapshots timed (default: 40)")
    parser.add_argument("--seconds", type=float, default=20, help="node run (default: 20 s)")
    parser.add_argument("--threads", type=int, default=2, help="decoding threads (default: 2)")
    parser.add_argument("--render-only", action="store_true", help="only rewrite the README")
    arguments = parser.parse_args(words)
    return run_command(NAME, arguments, lambda: _everything(arguments), mendable=(BackendError,))


def _everything(arguments: argparse.Namespace) -> Outcome:
    if arguments.render_only:
        return _rendered([])
    results = measure(arguments)
    return _rendered([save(results)], results)


def _parsed(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Return the options of a measurement that need not be kept."""
    parser.add_argument("--no-save", action="store_true", help="only print the numbers")
    return parser.parse_args(words)


def _measurement(
    name: str,
    arguments: argparse.Namespace,
    take: Callable[[], dict[str, Any]],
    suffix: str,
    tell: Callable[[dict[str, Any]], str] = lambda numbers: json.dumps(numbers, indent=2),
) -> int:
    """Run a command that takes one measurement and, unless told otherwise, keeps it."""

    def command() -> Outcome:
        results: dict[str, Any] = {
            "machine": describe_machine(),
            "date": datetime.date.today().isoformat(),
        }
        results |= take()
        if getattr(arguments, "no_save", False):
            return Outcome(tell(results), results)
        return _rendered([tell(results), save(results, suffix)], results)

    return run_command(f"{NAME} {name}", arguments, command, mendable=(BackendError,))


def _rendered(lines: list[str], results: dict[str, Any] | None = None) -> Outcome:
    """Write the README and return what to tell."""
    page = FOLDER / "README.md"
    page.write_text(render(RESULTS))
    return Outcome("\n".join([*lines, f"wrote {page}"]), results or {"page": str(page)})


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the results of all measurements."""
    machine = describe_machine()
    load = machine["load_at_start"]
    say(f"machine: {machine['processor']}, {machine['cores']} cores, load {load}")
    results: dict[str, Any] = {"machine": machine, "date": datetime.date.today().isoformat()}
    detector = (arguments.model, arguments.rounds, arguments.threads, arguments.backend)
    for name, run in (
        ("detector", lambda: bench_detector(*detector)),
        ("pooling", lambda: bench_pooling(min(arguments.rounds, 20))),
        ("sync", bench_sync),
        ("training", lambda: bench_training(["tiny"])),
    ):
        say(f"measuring {name} ...")
        results[name] = run()
    return results | node_overheads(arguments.seconds)


def node_overheads(seconds: float) -> dict[str, Any]:
    """Return the node's overhead for each way of decoding and kind of JPEG."""
    results = {}
    for name, scaling, kind in (
        ("node", "exact", "jpeg"),
        ("node_near", "near", "jpeg"),
        ("node_444", "exact", "jpeg_444"),
        ("node_heavy", "exact", "heavy"),
    ):
        say(f"measuring {name} ...")
        results[name] = bench_node(seconds, scaling, kind)
    return results


def compare_paths(own_arguments: Sequence[str]) -> int:
    """Measure every path from JPEGs to boxes, save, render."""
    arguments = detector_paths.make_parser().parse_args(own_arguments)

    def take() -> dict[str, Any]:
        options = (arguments.model, arguments.rounds, arguments.threads)
        return {"paths": detector_paths.bench_paths(*options)}

    def tell(results: dict[str, Any]) -> str:
        return "\n".join(paths_table(results["paths"]))

    suffix = f"-paths-{Path(arguments.model).name}"
    return _measurement("detector", arguments, take, suffix, tell)


def load(own_arguments: Sequence[str]) -> int:
    """Measure the node under full sensor load, save, render."""
    examples = [(f"{NAME} load --kind jpeg --minutes 1", "a short run with JPEGs")]
    parser = command_parser(f"{NAME} load", load.__doc__, examples, completes=False)
    parser.add_argument("--kind", choices=("raw", "jpeg"), default="raw", help="default: raw")
    parser.add_argument("--minutes", type=float, default=10, help="long run (default: 10)")
    parser.add_argument("--turn-s", type=float, default=15, help="length of a turn (default: 15)")
    parser.add_argument("--rounds", type=int, default=3, help="turns a subject (default: 3)")
    arguments = _parsed(parser, own_arguments)
    name = f"load_{arguments.kind}"

    def take() -> dict[str, Any]:
        options = (arguments.kind, arguments.minutes, arguments.turn_s, arguments.rounds)
        return {name: bench_load(*options)}

    return _measurement("load", arguments, take, f"-{name}")


def node(own_arguments: Sequence[str]) -> int:
    """Measure what the node adds to inference, save, render."""
    examples = [(f"{NAME} node --seconds 10 --no-save", "a quick look")]
    parser = command_parser(f"{NAME} node", node.__doc__, examples, completes=False)
    parser.add_argument("--seconds", type=float, default=20, help="of each run (default: 20)")
    arguments = _parsed(parser, own_arguments)
    return _measurement("node", arguments, lambda: node_overheads(arguments.seconds), "-node")


def pooling(own_arguments: Sequence[str]) -> int:
    """Measure BEV pooling alone, save, render."""
    examples = [(f"{NAME} pooling --rounds 5 --no-save", "a quick look")]
    parser = command_parser(f"{NAME} pooling", pooling.__doc__, examples, completes=False)
    parser.add_argument("--rounds", type=int, default=20, help="turns a form (default: 20)")
    arguments = _parsed(parser, own_arguments)

    def take() -> dict[str, Any]:
        return {"pooling": bench_pooling(arguments.rounds)}

    return _measurement("pooling", arguments, take, "-pooling")


def jpeg_scaling(own_arguments: Sequence[str]) -> int:
    """Measure what decoding JPEGs smaller saves and changes, save, render."""
    examples = [(f"{NAME} jpeg_scaling DATA/samples", "real images: a folder a camera")]
    parser = command_parser(f"{NAME} jpeg_scaling", jpeg_scaling.__doc__, examples, completes=False)
    parser.add_argument("images", type=Path, help="folder with a folder of JPEGs a camera")
    parser.add_argument("--model", default="tiny", help="model (default: tiny)")
    parser.add_argument("--snapshots", type=int, default=12, help="sets compared (default: 12)")
    arguments = parser.parse_args(own_arguments)

    def take() -> dict[str, Any]:
        options = (arguments.images, arguments.model, arguments.snapshots)
        return {"jpeg_scaling": bench_jpeg_scaling(*options)}

    return _measurement("jpeg_scaling", arguments, take, f"-jpeg_scaling-{arguments.model}")


def training(own_arguments: Sequence[str]) -> int:
    """Measure how fast experiments train, save, render."""
    arguments = make_parser().parse_args(own_arguments)

    def take() -> dict[str, Any]:
        return {"training": bench_training(arguments.models, arguments.steps)}

    def tell(results: dict[str, Any]) -> str:
        return "\n".join(training_table(results["training"]))

    return _measurement("training", arguments, take, "-training", tell)


# Commands that are functions.
OWN: dict[str, Callable[[Sequence[str]], int]] = {
    "camera_loss": camera_loss.main,
    "detector": compare_paths,
    "ego_motion": ego_motion.main,
    "lifecycle_memory": lifecycle_memory.main,
    "load": load,
    "jpeg_scaling": jpeg_scaling,
    "node": node,
    "overlays": overlays.main,
    "pooling": pooling,
    "training": training,
}


def save(results: dict[str, Any], suffix: str = "") -> str:
    """Write the numbers of this machine and day; return a line that says where."""
    RESULTS.mkdir(exist_ok=True)
    slug = re.sub(r"[^a-z0-9]+", "-", results["machine"]["processor"].lower()).strip("-")
    path = RESULTS / f"{slug}-{results['machine']['cores']}cores-{results['date']}{suffix}.json"
    path.write_text(json.dumps(results, indent=2) + "\n")
    return f"wrote {path}"


if __name__ == "__main__":
    sys.exit(main())
