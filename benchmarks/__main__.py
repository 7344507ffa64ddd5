# SPDX-License-Identifier: Apache-2.0
"""Run every measurement, keep the numbers as JSON and rewrite benchmarks/README.md from them."""

from __future__ import annotations

import argparse
import datetime
import json
import re
from pathlib import Path
from typing import Any

from benchmarks.bench_detector import bench_detector
from benchmarks.bench_node import bench_node
from benchmarks.bench_pooling import bench_pooling
from benchmarks.bench_sync import bench_sync
from benchmarks.machine import describe_machine
from benchmarks.tables import render

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results"
NAMES = ("detector", "pooling", "node", "sync")


def main() -> None:
    """Measure, save, render."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--model", default="tiny", help="model to time (default: tiny)")
    parser.add_argument("--backend", default="auto", help="backend to time (default: auto)")
    parser.add_argument("--rounds", type=int, default=40, help="snapshots timed (default: 40)")
    parser.add_argument("--seconds", type=float, default=20, help="node run (default: 20 s)")
    parser.add_argument("--threads", type=int, default=2, help="decoding threads (default: 2)")
    parser.add_argument("--only", choices=NAMES, help="measure this alone, keep the day's others")
    parser.add_argument("--render-only", action="store_true", help="only rewrite the README")
    arguments = parser.parse_args()
    if not arguments.render_only:
        save(measure(arguments), keep_others=arguments.only is not None)
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
        ("pooling", lambda: bench_pooling(arguments.rounds)),
        ("node", lambda: bench_node(arguments.seconds)),
        ("sync", bench_sync),
    ):
        if arguments.only not in (None, name):
            continue
        print(f"measuring {name} ...", flush=True)
        results[name] = run()
    return results


def save(results: dict[str, Any], *, keep_others: bool = False) -> None:
    """Write the numbers of this machine and day, beside those of earlier today if asked to."""
    RESULTS.mkdir(exist_ok=True)
    slug = re.sub(r"[^a-z0-9]+", "-", results["machine"]["processor"].lower()).strip("-")
    path = RESULTS / f"{slug}-{results['machine']['cores']}cores-{results['date']}.json"
    if keep_others and path.exists():
        results = json.loads(path.read_text()) | results
    path.write_text(json.dumps(results, indent=2) + "\n")
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
