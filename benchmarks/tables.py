# SPDX-License-Identifier: Apache-2.0
"""Measured JSON → the tables of benchmarks/README.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.gpu_tables import gpu_sections
from benchmarks.training_speed import training_table

INTRODUCTION = """# Measured speed

Written by `make bench` from `results/*.json`; do not edit. Every table names its machine. Times are
milliseconds; machines are shared, so read medians and ratios, and the load beside them.
"""


def render(results: Path) -> str:
    """Return the page for all result files, newest first."""
    parts = [INTRODUCTION]
    for path in sorted(results.glob("*.json"), key=_date_and_name, reverse=True):
        parts.append(_page(json.loads(path.read_text())))
    return "\n".join(parts)


def _date_and_name(path: Path) -> tuple[str, str]:
    return str(json.loads(path.read_text())["date"]), path.stem


def _page(run: dict[str, Any]) -> str:
    machine = run["machine"]
    facts = ", ".join(
        f"{machine[key]}{unit}"
        for key, unit in (("cores", " cores"), ("memory", ""), ("system", ""))
    )
    lines = [
        f"\n## {machine['processor']}, {run['date']}\n",
        f"{facts}; Python {machine['python']}, torch {machine['torch']}; "
        f"load at start {machine['load_at_start']}.\n",
    ]
    for name, title in (
        ("detector", "Detector, six JPEGs in, boxes out"),
        ("node", "Node overhead"),
        ("node_near", "Node overhead, JPEGs decoded smaller"),
        ("node_444", "Node overhead, JPEGs with their colours at full size"),
        ("node_heavy", "Node overhead, JPEGs that compress little"),
    ):
        if name in run:
            lines += [f"### {title}\n", _facts(run[name]), *_stage_table(run[name]["stages_ms"])]
    if "paths" in run:
        lines += paths_table(run["paths"])
    for kind in ("raw", "jpeg"):
        if f"load_{kind}" in run:
            lines += _load(run[f"load_{kind}"])
    if "soak" in run:
        lines += _soak(run["soak"])
    if "pooling" in run:
        lines += ["### BEV pooling on the CPU\n", *_pooling(run["pooling"])]
    if "training" in run:
        lines += training_table(run["training"])
    lines += gpu_sections(run)
    if "jpeg_scaling" in run:
        scaling = run["jpeg_scaling"]
        lines += [
            f"### JPEGs decoded smaller: {scaling['what']}\n",
            f"{scaling['images']} real images. Differences of the network's input are grey levels "
            "of 255; the error of head maps is the largest difference over the largest value.\n",
            *_row_table(scaling["rows"]),
        ]
    if "sync" in run:
        lines += ["### Synchroniser, one message\n", *_row_table(run["sync"])]
    return "\n".join(lines) + "\n"


def _facts(result: dict[str, Any]) -> str:
    extra = {key: value for key, value in result.items() if key not in ("what", "stages_ms")}
    listed = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in extra.items())
    return f"{result['what']}" + (f"; {listed}." if listed else ".") + "\n"


def _soak(report: dict[str, Any]) -> list[str]:
    memory = report["memory_mb"]
    numbers = ("sent", "received", "matched", "unaccounted")
    rows = [
        {
            "camera": name,
            **{key: camera[key] for key in numbers},
            "dropped, by reason": ", ".join(f"{k} {n}" for k, n in camera["dropped"].items() if n),
        }
        for name, camera in report["cameras"].items()
    ]
    return [
        f"### Soak: {report['minutes']:g} minutes of faults\n",
        f"{report['sets']} sets, {report['snapshots']} taken, {report['published']} published; the "
        f"node's memory {memory['first']:g} to {memory['last']:g} MB, "
        f"{100 * report['memory_growth']:+.1f} % from the second quarter to the last. "
        f"Problems: {', '.join(report['problems']) or 'none'}.\n",
        *_row_table(rows),
    ]


def _pooling(result: dict[str, Any]) -> list[str]:
    lines = [
        f"{result['what']}; {result['points']} points in the grid.\n",
        "| form | min | p50 | p95 | p50 / ours |",
        "|---|---|---|---|---|",
    ]
    for form, row in result["stages_ms"].items():
        numbers = " | ".join(f"{row[key]:.1f}" for key in ("min", "p50", "p95"))
        lines.append(f"| {form} | {numbers} | {result['times_ours'][form]:.2f} |")
    lines += [f"\n{form}: not measured: {why}." for form, why in result.get("absent", {}).items()]
    return [*lines, ""]


def _stage_table(stages: dict[str, dict[str, float]]) -> list[str]:
    """Return a row a stage, with those percentiles that were kept."""
    names = ("min", "p50", "p95", "p99")
    kept = [name for name in names if all(name in row for row in stages.values())]
    lines = ["| stage | " + " | ".join(kept) + " |", "|---" * (len(kept) + 1) + "|"]
    for stage, row in stages.items():
        numbers = " | ".join(f"{row[key]:.2f}" for key in kept)
        lines.append(f"| {stage.replace('_', ' ')} | {numbers} |")
    return [*lines, ""]


def paths_table(result: dict[str, Any]) -> list[str]:
    """Return the section about every path from JPEGs to boxes."""
    allocator = "kept" if result["keeps_freed_memory"] else "returned to the kernel"
    return [
        "### From six 1600x900 JPEGs to boxes, every path in turn\n",
        f"{result['what']}; {result['cores']} cores, JPEGs of {result['jpeg_kB']} kB, freed memory "
        f"{allocator} but in `textbook`, which has an environment of its own that sets nothing. "
        "Medians. `frame`: one after the other; `period`: while the next frame's "
        "images are prepared; `processor`: all threads together.\n",
        *_row_table(result["paths"]),
        *[f"* not measured: {reason}" for reason in result["refused"]],
        "",
    ]


def _load(load: dict[str, Any]) -> list[str]:
    run = load["endurance"]
    return [
        f"### Load: {load['what']}\n",
        "Processor time an image, short turns taken in turn; the floor is a typed subscription "
        "with an empty callback.\n",
        *_row_table(load["processor"]),
        *_promise(load.get("promise")),
        f"Long run: {run['sent']} images sent, {run['received']} received, "
        f"{run['complete_sets']} sets, {run['pipeline']['published']} published; resident memory "
        f"{run['rss_first_mib']} MiB, at the end {run['rss_last_mib']} MiB "
        f"({run['rss_growth_percent']:+.2f} %). Faults: {run['faults'] or 'none'}.\n",
        *_stage_table(run["latency_ms"]),
    ]


def _promise(promise: dict[str, Any] | None) -> list[str]:
    if promise is None:
        return []
    return [
        f"Ingest, {promise['what']}: {promise['ms_per_image']} ms of {promise['least_ms']} ms, "
        f"{promise['ratio']} times; promised are {promise['at_most']}.\n"
    ]


def _row_table(rows: list[dict[str, Any]]) -> list[str]:
    keys = list(rows[0])
    lines = [
        "| " + " | ".join(key.replace("_", " ") for key in keys) + " |",
        "|---" * len(keys) + "|",
    ]
    for row in rows:
        lines.append("| " + " | ".join(str(row[key]) for key in keys) + " |")
    return [*lines, ""]
