# SPDX-License-Identifier: Apache-2.0
"""Two runs beside each other, with what changed from the first to the second."""

from __future__ import annotations

import os
from html import escape
from pathlib import Path
from string import Template
from urllib.parse import quote

from simdistill_ros.report import charts
from simdistill_ros.report.breakdown import RunGroups
from simdistill_ros.report.page import (
    REPORT,
    asset,
    latency_chart,
    notes,
    page_head,
    precision_recall,
)
from simdistill_ros.report.run_data import RunData, load_run, open_tables
from simdistill_ros.report.tables import (
    FrameChange,
    class_comparison_table,
    comparison_table,
    fact_table,
    frame_table,
    run_facts,
)
from simdistill_ros.report.viewer_data import mistakes

CHANGED_FRAMES = 12


def write_comparison(first: Path, second: Path, out: Path, dataroot: Path | None = None) -> Path:
    """Write one page about two runs and return its path.

    Args:
        first: Folder of run A, what is compared with.
        second: Folder of run B.
        out: The file to write.
        dataroot: Where the data is, if not where it was at the replays.

    Raises:
        ValueError: If a folder holds no scored run or its data is not there.
        OSError: If the page cannot be written.
    """
    runs = [load_run(folder, open_tables(folder, dataroot)) for folder in (first, second)]
    out.parent.mkdir(parents=True, exist_ok=True)
    body = Template(asset("compare.html")).substitute(_texts(runs[0], runs[1], out.parent))
    out.write_text(
        page_head("Comparison of two runs") + body + "</body>\n</html>\n", encoding="utf-8"
    )
    return out


def _own_notes(name: str, run: RunData) -> str:
    """Return the warnings about one run under its name; nothing when there is none."""
    own = notes(run.metrics)
    return f"<h3>{name}</h3>{own}" if own else ""


def _texts(first: RunData, second: RunData, place: Path) -> dict[str, str]:
    named = [("A", first), ("B", second)]
    groups = [(name, RunGroups.of(run)) for name, run in named]
    metrics = [run.metrics for _, run in named]
    stages = [(name, run.metrics["stages_ms"]) for name, run in named if run.metrics["stages_ms"]]
    facts = [run_facts(run.metrics, run.folder.resolve().name) for _, run in named]
    return {
        "first": escape(first.title),
        "second": escape(second.title),
        "notes": _same_samples(first, second),
        "own_notes": "".join(_own_notes(name, run) for name, run in named),
        "summary": comparison_table(*metrics),
        "classes": class_comparison_table(*metrics),
        "precision_recall": precision_recall(named),
        "distance": charts.recall_of_runs("distance", [(n, g.by_distance) for n, g in groups]),
        "visibility": charts.recall_of_runs(
            "visibility", [(n, g.by_visibility) for n, g in groups]
        ),
        "cuts": f"A: {first.cut:.3f} ({escape(first.cut_reason)}), "
        f"B: {second.cut:.3f} ({escape(second.cut_reason)})",
        "latency": latency_chart(named),
        "stages": charts.stage_bars(stages) if len(stages) == len(named) else "",
        "frames": frame_table(changed_frames(first, second, place)),
        "facts": fact_table(facts, ("A", "B")),
    }


def changed_frames(first: RunData, second: RunData, place: Path) -> list[FrameChange]:
    """Return the frames whose mistakes changed most, from the best change to the worst.

    Args:
        first: Run A.
        second: Run B.
        place: Folder of the page, for the links to the runs' own pages.
    """
    shared = {sample.token for sample in second.samples}
    changes = [
        FrameChange(
            name=f"{sample.scene} {number + 1}",
            mistakes=(mistakes(first, sample.token), mistakes(second, sample.token)),
            links=(_link(first, sample.token, place), _link(second, sample.token, place)),
        )
        for number, sample in enumerate(first.samples)
        if sample.token in shared
    ]
    most = sorted(changes, key=lambda one: -abs(one.change))[:CHANGED_FRAMES]
    return sorted((one for one in most if one.change), key=lambda one: one.change)


def _link(run: RunData, token: str, place: Path) -> str:
    page = run.folder.resolve() / REPORT
    if not page.is_file():
        return ""
    return f"{quote(os.path.relpath(page, place.resolve()))}#frame={token}"


def _same_samples(first: RunData, second: RunData) -> str:
    tokens = [{sample.token for sample in run.samples} for run in (first, second)]
    if tokens[0] == tokens[1]:
        return ""
    shared = len(tokens[0] & tokens[1])
    return (
        f'<p class="note">The runs were scored on different frames ({len(tokens[0])} and '
        f"{len(tokens[1])}, {shared} of them the same): differences are not the models' alone.</p>"
    )
