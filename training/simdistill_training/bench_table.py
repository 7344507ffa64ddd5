# SPDX-License-Identifier: Apache-2.0
"""Results of a benchmark's runs → one summary with the gain, and a table for people."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from simdistill_training.bench_plan import BenchConfig, Run
from simdistill_training.environment import environment
from simdistill_training.strict import config_as_dict

SCORES = ("mAP", "NDS", "mATE", "mASE", "mAOE", "mAVE", "mAAE")
RESULT_FILE = "result.json"


def summarise(config: BenchConfig, runs: Iterable[Run], folder: Path) -> dict[str, Any]:
    """Return everything about the runs that are done."""
    done: dict[str, dict[str, Any]] = {}
    for run in runs:
        file = folder / run.name / RESULT_FILE
        if file.is_file():
            done[run.name] = json.loads(file.read_text())
    variants: dict[str, dict[str, Any]] = {}
    for result in done.values():
        variants.setdefault(result["variant"], {"seeds": []})["seeds"].append(result["seed"])
    for variant, entry in variants.items():
        own = [r["metrics"] for r in done.values() if r["variant"] == variant]
        for score in SCORES:
            entry[score] = mean(metrics[score] for metrics in own)
            entry[f"{score}_std"] = _spread([metrics[score] for metrics in own])
    return {
        "name": config.name,
        "config": config_as_dict(config),
        "environment": environment(),
        "gain": gain(done),
        "variants": variants,
        "runs": done,
    }


def gain(done: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Return mean and spread of full minus baseline over the seeds that have both; fractions."""
    metrics = {(r["variant"], r["seed"]): r["metrics"] for r in done.values()}
    seeds = sorted(s for v, s in metrics if v == "full" and ("baseline", s) in metrics)
    result: dict[str, Any] = {"seeds": seeds}
    for score in ("mAP", "NDS"):
        differences = [metrics["full", s][score] - metrics["baseline", s][score] for s in seeds]
        result[score] = mean(differences) if differences else None
        result[f"{score}_std"] = _spread(differences)
    return result


def _spread(values: list[float]) -> float | None:
    return stdev(values) if len(values) > 1 else None


def format_table(summary: Mapping[str, Any]) -> str:
    """Return the results as Markdown."""
    lines = [f"# {summary['name']}", "", f"Machine: {summary['environment']['machine']}.", ""]
    lines += [f"| variant | seeds | {' | '.join(SCORES)} |", "|---" * (2 + len(SCORES)) + "|"]
    for variant, entry in summary["variants"].items():
        cells = [_cell(entry[score], entry[f"{score}_std"]) for score in SCORES]
        lines.append(f"| {variant} | {len(entry['seeds'])} | {' | '.join(cells)} |")
    of = summary["gain"]
    if of["seeds"]:
        scores = [f"{name} {_points(of[name], of[f'{name}_std'])}" for name in ("mAP", "NDS")]
        seeds = f"{len(of['seeds'])} seeds"
        lines += ["", f"Full method minus baseline, points: {', '.join(scores)} ({seeds})."]
    return "\n".join(lines) + "\n"


def _cell(value: float, spread: float | None) -> str:
    return f"{value:.3f}" + (f" ± {spread:.3f}" if spread is not None else "")


def _points(value: float, spread: float | None) -> str:
    return f"{100 * value:+.1f}" + (f" ± {100 * spread:.1f}" if spread is not None else "")
