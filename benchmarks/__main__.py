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
from pathlib import Path
from typing import Any

from benchmarks import camera_loss, detector_paths, ego_motion, lifecycle_memory
from benchmarks.bench_detector import bench_detector
from benchmarks.bench_jpeg_scaling import bench_jpeg_scaling
from benchmarks.bench_load import bench_load
from benchmarks.bench_node import bench_node
from benchmarks.bench_pooling import bench_pooling
from benchmarks.bench_sync import bench_sync
from benchmarks.machine import describe_machine
from benchmarks.tables import paths_table, render

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results"
# Commands that are folders of their own: `python -m benchmarks NAME --help`.
COMMANDS = ("fuzz", "soak")


def main() -> None:
    """Measure, save, render; or run the measurement that the first argument names."""
    own = {
        "camera_loss": camera_loss.main,
        "detector": compare_paths,
        "ego_motion": ego_motion.main,
        "lifecycle_memory": lifecycle_memory.main,
        "load": load,
        "jpeg_scaling": jpeg_scaling,
        "pooling": pooling,
    }
    if sys.argv[1:2] and sys.argv[1] in own:
        own[sys.argv[1]](sys.argv[2:])
        return
    if len(sys.argv) > 1 and sys.argv[1] in COMMANDS:
        command = importlib.import_module(f"benchmarks.{sys.argv[1]}.__main__")
        sys.exit(command.main(sys.argv[2:]))
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--model", default="tiny", help="model to time (default: tiny)")
    parser.add_argument("--backend", default="auto", help="backend to time (default: auto)")
    parser.add_argument("--rounds", type=int, default=40, help="snapshots timed (default: 40)")
    parser.add_argument("--seconds", type=float, default=20, help="node run (default: 20 s)")
    parser.add_argument("--threads", type=int, default=2, help="decoding threads (default: 2)")
    parser.add_argument("--render-only", action="store_true", help="only rewrite the README")
    arguments = parser.parse_args()
    if not arguments.render_only:
        save(measure(arguments))
    (FOLDER / "README.md").write_text(render(RESULTS))
    print(f"wrote {FOLDER / 'README.md'}")


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the results of all measurements."""
    machine = describe_machine()
    print(f"machine: {machine['processor']}, {machine['cores']} cores, load", end=" ")
    print(machine["load_at_start"])
    results: dict[str, Any] = {"machine": machine, "date": datetime.date.today().isoformat()}
    detector = (arguments.model, arguments.rounds, arguments.threads, arguments.backend)
    for name, run in (
        ("detector", lambda: bench_detector(*detector)),
        ("pooling", lambda: bench_pooling(min(arguments.rounds, 20))),
        ("node", lambda: bench_node(arguments.seconds)),
        ("node_near", lambda: bench_node(arguments.seconds, "near")),
        ("sync", bench_sync),
    ):
        print(f"measuring {name} ...", flush=True)
        results[name] = run()
    return results


def compare_paths(own_arguments: list[str]) -> None:
    """Measure every path from JPEGs to boxes, save, render."""
    arguments = detector_paths.arguments(own_arguments)
    results: dict[str, Any] = {
        "machine": describe_machine(),
        "date": datetime.date.today().isoformat(),
    }
    results["paths"] = detector_paths.bench_paths(
        arguments.model, arguments.rounds, arguments.threads
    )
    print("\n".join(paths_table(results["paths"])))
    if not arguments.no_save:
        save(results, "-paths")
        (FOLDER / "README.md").write_text(render(RESULTS))


def load(own_arguments: list[str]) -> None:
    """Measure the node under full sensor load, save, render."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks load", description=__doc__)
    parser.add_argument("--kind", choices=("raw", "jpeg"), default="raw", help="default: raw")
    parser.add_argument("--minutes", type=float, default=10, help="long run (default: 10)")
    parser.add_argument("--turn-s", type=float, default=15, help="length of a turn (default: 15)")
    parser.add_argument("--rounds", type=int, default=3, help="turns a subject (default: 3)")
    parser.add_argument("--no-save", action="store_true", help="only print the numbers")
    arguments = parser.parse_args(own_arguments)
    results: dict[str, Any] = {
        "machine": describe_machine(),
        "date": datetime.date.today().isoformat(),
    }
    name = f"load_{arguments.kind}"
    results[name] = bench_load(
        arguments.kind, arguments.minutes, arguments.turn_s, arguments.rounds
    )
    if arguments.no_save:
        print(json.dumps(results, indent=2))
        return
    save(results, f"-{name}")
    (FOLDER / "README.md").write_text(render(RESULTS))


def pooling(own_arguments: list[str]) -> None:
    """Measure BEV pooling alone, save, render."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks pooling", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="turns a form (default: 20)")
    parser.add_argument("--no-save", action="store_true", help="only print the numbers")
    arguments = parser.parse_args(own_arguments)
    results: dict[str, Any] = {
        "machine": describe_machine(),
        "date": datetime.date.today().isoformat(),
        "pooling": bench_pooling(arguments.rounds),
    }
    if arguments.no_save:
        print(json.dumps(results, indent=2))
        return
    save(results, "-pooling")
    (FOLDER / "README.md").write_text(render(RESULTS))


def jpeg_scaling(own_arguments: list[str]) -> None:
    """Measure what decoding JPEGs smaller saves and changes, save, render."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks jpeg_scaling", description=__doc__)
    parser.add_argument("images", type=Path, help="folder with a folder of JPEGs a camera")
    parser.add_argument("--model", default="tiny", help="model (default: tiny)")
    parser.add_argument("--snapshots", type=int, default=12, help="sets compared (default: 12)")
    arguments = parser.parse_args(own_arguments)
    results: dict[str, Any] = {
        "machine": describe_machine(),
        "date": datetime.date.today().isoformat(),
        "jpeg_scaling": bench_jpeg_scaling(arguments.images, arguments.model, arguments.snapshots),
    }
    save(results, f"-jpeg_scaling-{arguments.model}")
    (FOLDER / "README.md").write_text(render(RESULTS))


def save(results: dict[str, Any], suffix: str = "") -> None:
    """Write the numbers of this machine and day."""
    RESULTS.mkdir(exist_ok=True)
    slug = re.sub(r"[^a-z0-9]+", "-", results["machine"]["processor"].lower()).strip("-")
    path = RESULTS / f"{slug}-{results['machine']['cores']}cores-{results['date']}{suffix}.json"
    path.write_text(json.dumps(results, indent=2) + "\n")
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
