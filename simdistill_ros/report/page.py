# SPDX-License-Identifier: Apache-2.0
"""The report of one run: one file, nothing loaded from anywhere else."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from simdistill_ros.command_line.terminal import progress
from simdistill_ros.core.boxes import IntArray
from simdistill_ros.report import charts
from simdistill_ros.report.breakdown import (
    RunGroups,
    confusions,
    total,
)
from simdistill_ros.report.run_data import RunData, load_run, open_tables
from simdistill_ros.report.tables import (
    class_table,
    fact_table,
    group_table,
    run_facts,
    streaming_table,
    summary_tiles,
)
from simdistill_ros.report.viewer_data import (
    frames_to_show,
    spread_ms,
    viewer_frame,
    viewer_header,
)

REPORT = "report.html"
# Frames with pictures; each takes about 0.2 MB of the page.
MAX_FRAMES = 150


def write_report(
    folder: Path, nusc: Any = None, *, dataroot: Path | None = None, max_frames: int = MAX_FRAMES
) -> Path:
    """Write `report.html` into a run's folder and return its path.

    Args:
        folder: A replay's folder: metrics.json, results_nusc.json and what else it left there.
        nusc: The devkit's tables, where they are loaded already.
        dataroot: Where the data is, if not where it was at the replay.
        max_frames: Frames that the viewer has at most.

    Raises:
        ValueError: If the folder holds no scored run or its data is not there.
        OSError: If images are missing.
    """
    tables = open_tables(folder, dataroot) if nusc is None else nusc
    run = load_run(folder, tables)
    path = folder / REPORT
    partial = path.with_suffix(".part")
    with partial.open("w", encoding="utf-8") as file:
        file.writelines(_page(run, tables, max_frames))
    partial.replace(path)
    return path


def _page(run: RunData, nusc: Any, max_frames: int) -> Iterator[str]:
    samples = frames_to_show(run, max_frames)
    body = Template(asset("report.html")).substitute(_texts(run, len(samples)))
    yield page_head(f"Report: {run.title}")
    yield body
    frames = []
    for number, sample in enumerate(progress(samples, "report", len(samples))):
        frame, pictures = viewer_frame(run, nusc, sample)
        frames.append(frame)
        # Each frame's pictures stay text until they are looked at.
        yield _json_script(f"pictures-{number}", pictures)
    yield _json_script("viewer-data", {**viewer_header(run), "frames": frames})
    for name in ("geometry.js", "drawing.js", "viewer.js"):
        yield f"<script>\n{asset(name)}</script>\n"
    yield "</body>\n</html>\n"


def page_head(title: str) -> str:
    """Return everything before the content; the policy forbids the page to load anything."""
    return Template(asset("head.html")).substitute(title=escape(title), style=asset("style.css"))


def asset(name: str) -> str:
    """Return the text of one of the page's own files."""
    return (files("simdistill_ros.report") / "assets" / name).read_text(encoding="utf-8")


def _json_script(name: str, value: Any) -> str:
    text = json.dumps(value, separators=(",", ":")).replace("</", "<\\/")
    return f'<script type="application/json" id="{name}">{text}</script>\n'


def _texts(run: RunData, shown: int) -> dict[str, str]:
    groups = RunGroups.of(run)
    all_ = total(groups.by_class)
    metrics = run.metrics
    card = f"<details><summary>Model card</summary><pre>{escape(run.model_card)}</pre></details>"
    return {
        "title": escape(run.title),
        "subtitle": escape(_subtitle(run)),
        "notes": notes(metrics),
        "tiles": summary_tiles(metrics),
        "streaming": streaming_table(metrics),
        "present_map": f"{metrics['mAP_of_present_classes']:.4f}",
        "class_table": class_table(metrics, groups.by_class),
        "cut": f"{run.cut:.3f}",
        "cut_reason": escape(run.cut_reason),
        "found": str(all_.found),
        "objects": str(all_.objects),
        "false": str(all_.false),
        "precision_recall": precision_recall([("", run)]),
        "distance_chart": charts.found_and_missed("distance", groups.by_distance),
        "distance_table": group_table(groups.by_distance),
        "visibility_chart": charts.found_and_missed("visibility", groups.by_visibility),
        "visibility_table": group_table(groups.by_visibility),
        "confusion": confusion_charts(confusions(run)),
        "latency": latency_chart([("", run)]),
        "spread": charts.histogram("spread", [("", _spreads(run))], "oldest to newest image, ms"),
        "stages": charts.stage_bars([("", metrics["stages_ms"])]) if metrics["stages_ms"] else "",
        "facts": fact_table([run_facts(metrics, str(run.folder.resolve().name))]),
        "model_card": card if run.model_card else "",
        "frames": str(shown),
        "all_frames": str(len(run.samples)),
    }


def _subtitle(run: RunData) -> str:
    what = run.metrics["run"]
    when = run.metrics.get("environment", {}).get("date", "")
    scenes = ", ".join(what["scenes"][:3]) + (" …" if len(what["scenes"]) > 3 else "")
    parts = [f"{run.metrics['samples']} frames of {scenes}", f"{what['mode']} mode", when]
    return " · ".join(part for part in parts if part)


def notes(metrics: Mapping[str, Any]) -> str:
    """Return warnings that a reader needs before the numbers."""
    texts = []
    if metrics["run"]["weights"] == "untrained":
        texts.append("The model has <b>no trained weights</b>: its boxes mean nothing.")
    if metrics["run"]["detector"] == "oracle":
        texts.append("<b>Oracle</b>: ground truth in place of the network, sent through the node.")
    absent = [n for n in metrics["per_class"] if not metrics["ground_truths"].get(n)]
    if absent and metrics["ground_truths"]:
        names = ", ".join(name.replace("_", " ") for name in absent)
        texts.append(f"Without ground truth here, so counted as AP 0: {names}.")
    if metrics["lost"]:
        texts.append(f"{len(metrics['lost'])} frames were never answered and count as empty.")
    return "".join(f'<p class="note">{text}</p>' for text in texts)


def confusion_charts(matrices: Mapping[str, IntArray]) -> str:
    """Return one matrix after the other, all but the first hidden, and what chooses among them."""
    options = "".join(f'<option value="{i}">{escape(n)}</option>' for i, n in enumerate(matrices))
    shown = [
        f'<div class="chart" data-confusion="{i}"{" hidden" if i else ""}>'
        f"{charts.confusion_matrix(counts, f'confusion-{i}')}</div>"
        for i, counts in enumerate(matrices.values())
    ]
    label = "objects by distance or visibility"
    choice = f'<select id="confusion-of" aria-label="{label}">{options}</select>'
    return f'<p class="bar"><label>objects: {choice}</label></p>{"".join(shown)}'


def precision_recall(runs: Sequence[tuple[str, RunData]]) -> str:
    """Return the curves of one or two runs, or a sentence that there are none."""
    if not any(run.curves for _, run in runs):
        return "<p>No boxes were submitted, so there are no curves.</p>"
    return charts.precision_recall(
        [(name, run.curves) for name, run in runs], [run.metrics for _, run in runs]
    )


def latency_chart(runs: Sequence[tuple[str, RunData]]) -> str:
    """Return the histogram of latencies, or a sentence that they were not recorded."""
    series = [(name, list(run.latencies_ms.values())) for name, run in runs if run.latencies_ms]
    if len(series) < len(runs):
        return '<p class="hint">The latency of each frame was not recorded in this run.</p>'
    return charts.histogram("latency", series, "newest image to answer, ms")


def _spreads(run: RunData) -> list[float]:
    return [spread_ms(sample) for sample in run.samples]
