# SPDX-License-Identifier: Apache-2.0
"""Throw mutated messages and model packages at the code that the node runs on them.

Exit status 1 on a finding: a crash, a case over the time bound, an undocumented exception, or
something accepted that must be refused.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2

from benchmarks.fuzz.findings import Case
from benchmarks.fuzz.forks import MakeCases, Progress, run_forked
from benchmarks.fuzz.geometry import TransformCases, info_case
from benchmarks.fuzz.packages import package_cases
from benchmarks.fuzz.pictures import compressed_case, raw_case
from benchmarks.fuzz.serialized import SerializedCases
from benchmarks.fuzz.streams import StreamCases
from simdistill_ros.command_line.parser import command_parser
from simdistill_ros.command_line.run import FINE, FOUND, Outcome, run_command


def message_cases(progress: Progress) -> Mapping[str, tuple[Case, float]]:
    """Return the kinds of message cases with their shares."""
    transforms = TransformCases()
    return {
        "image": (raw_case, 0.25),
        "compressed": (compressed_case, 0.25),
        "camera_info": (info_case, 0.2),
        "tf": (transforms.case, 0.1),
        "serialized": (SerializedCases(TransformCases(), progress.in_middleware).case, 0.15),
        "stream": (StreamCases().case, 0.05),
    }


def fuzz(messages: int, packages: int, seed: int) -> dict[str, Any]:
    """Run both and return a report with numbers, outcomes and findings."""
    cv2.setNumThreads(0)  # a fork has none of its parent's threads
    report: dict[str, Any] = {"seed": seed}
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        parts: dict[str, tuple[MakeCases, int]] = {
            "messages": (message_cases, messages),
            "packages": (lambda _: package_cases(Path(folder)), packages),
        }
        for name, (make_cases, count) in parts.items():
            report[name] = _part(make_cases, seed, count)
    return report


def _part(make_cases: MakeCases, seed: int, count: int) -> dict[str, Any]:
    tally, crashes = run_forked(make_cases, seed, count)
    return {
        "cases": tally.cases,
        "seconds": round(tally.seconds, 1),
        "per_second": round(tally.cases / tally.seconds) if tally.seconds else 0,
        "slowest_ms": round(1000 * tally.slowest_s, 1),
        "outcomes": dict(sorted(Counter(tally.outcomes).items())),
        "findings": tally.findings,
        "middleware_crashes": crashes,
    }


def describe(report: Mapping[str, Any]) -> str:
    """Return the report for people."""
    lines = []
    for name in ("messages", "packages"):
        part = report[name]
        lines.append(
            f"{name}: {part['cases']} cases in {part['seconds']} s ({part['per_second']} a second, "
            f"slowest {part['slowest_ms']} ms), {len(part['findings'])} findings"
        )
        lines += [f"    {count:>8}  {outcome}" for outcome, count in part["outcomes"].items()]
        for finding in part["findings"]:
            lines.append(f"FINDING seed {report['seed']} case {finding['case']} {finding['kind']}:")
            lines.append(finding["what"])
        if part["middleware_crashes"]:
            cases = ", ".join(str(crash["case"]) for crash in part["middleware_crashes"][:10])
            lines.append(
                f"the middleware's own deserialiser ended the process "
                f"{len(part['middleware_crashes'])} times (cases {cases}); not of this project"
            )
    return "\n".join(lines)


NAME = "python -m benchmarks fuzz"
EXAMPLES = (
    (f"{NAME} --messages 2000 --packages 100", "a short run"),
    (f"{NAME} --seed 3 --out out/fuzz.json", "other cases, kept as JSON"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = command_parser(NAME, __doc__, EXAMPLES, completes=False)
    parser.add_argument("--messages", type=int, default=100_000, help="default %(default)s")
    parser.add_argument("--packages", type=int, default=10_000, help="default %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default %(default)s")
    parser.add_argument("--out", type=Path, help="also write the report as JSON")
    arguments = parser.parse_args(argv)
    return run_command(NAME, arguments, lambda: _fuzz(arguments))


def _fuzz(arguments: argparse.Namespace) -> Outcome:
    report = fuzz(arguments.messages, arguments.packages, arguments.seed)
    if arguments.out:
        arguments.out.write_text(json.dumps(report, indent=2) + "\n")
    has_findings = any(report[name]["findings"] for name in ("messages", "packages"))
    return Outcome(describe(report), report, FOUND if has_findings else FINE)


if __name__ == "__main__":
    sys.exit(main())
