# SPDX-License-Identifier: Apache-2.0
"""The tables of a run of `make gpu`."""

from __future__ import annotations

from typing import Any


def gpu_sections(run: dict[str, Any]) -> list[str]:
    """Return the lines of a GPU run's sections; none for another run."""
    if "gpu_models" not in run:
        return []
    lines = ["### GPU: images on the device to boxes on the host\n"]
    lines += _models(run) + _stages(run["gpu_models"]) + _pooling(run["gpu_pooling"])
    failed = [check["name"] for check in run["gpu_checks"] if not check["passed"]]
    lines.append(f"{len(run['gpu_checks'])} checks against the CPU, {len(failed)} failed.\n")
    lines += [f"* FAILED: {name}" for name in failed]
    if run["gpu_skipped"]:
        lines.append("Left out for lack of time: " + "; ".join(run["gpu_skipped"]) + ".\n")
    return lines


def _models(run: dict[str, Any]) -> list[str]:
    limits = run["gpu_limits"]
    lines = [
        "`with upload` starts from images on the host; `textbook` is eager PyTorch with the outer "
        "product; `limit` is the network's operations at the measured rate of matrix products.\n",
        "| model | type | p50 | p95 | p99 | with upload | textbook | faster | limit |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in run["gpu_models"]:
        rate = limits.get(f"matmul_{row['precision']}_flop_per_s")
        limit = f"{row['flop'] / rate * 1e3:.2f}" if rate else "not measured"
        frame = row["frame_ms"]
        cells = [
            row["model"],
            row["precision"],
            *(f"{frame[key]:.2f}" for key in ("p50", "p95", "p99")),
            f"{row['frame_with_upload_ms']['p50']:.2f}",
            f"{row['textbook_ms']['p50']:.2f}",
            f"{row['speed_up']:.1f}x",
            limit,
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return [*lines, ""]


def _stages(models: list[dict[str, Any]]) -> list[str]:
    if not models:
        return []
    names = list(models[0]["stages_ms"])
    lines = [
        "Each stage as a graph of its own, p50 / p95 / p99:\n",
        "| model | type | " + " | ".join(names) + " |",
        "|---" * (len(names) + 2) + "|",
    ]
    for row in models:
        times = [
            " / ".join(f"{row['stages_ms'][name][key]:.3f}" for key in ("p50", "p95", "p99"))
            for name in names
        ]
        lines.append(f"| {row['model']} | {row['precision']} | " + " | ".join(times) + " |")
    return [*lines, ""]


def _pooling(rows: list[dict[str, Any]]) -> list[str]:
    if not rows:
        return []
    lines = [
        "Pooling of both branches; `share` is of the measured copy bandwidth, on the least traffic "
        "there could be:\n",
        "| model | type | points | p50 | limit | share | fastest launch |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        fastest = min(row["forms_ms"], key=lambda name: row["forms_ms"][name]["p50"])
        cells = [
            row["model"],
            row["type"],
            str(row["entries"]),
            f"{row['forms_ms']['used']['p50']:.4f}",
            f"{row['limit_ms']:.4f}",
            f"{row['share_of_copy_bandwidth']:.0%}",
            f"{fastest} ({row['forms_ms'][fastest]['p50']:.4f})",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return [*lines, ""]
