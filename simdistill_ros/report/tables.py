# SPDX-License-Identifier: Apache-2.0
"""Tables of the page. Every number carries its full value in `data-value`, as in metrics.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from simdistill_ros.core.class_colors import CLASS_COLORS
from simdistill_ros.report.breakdown import Group

# Name -> what it is, and whether more is better.
SUMMARY = {
    "mAP": ("mean average precision", True),
    "NDS": ("nuScenes detection score", True),
    "mATE": ("translation error, m", False),
    "mASE": ("scale error, 1 - IoU", False),
    "mAOE": ("orientation error, rad", False),
    "mAVE": ("velocity error, m/s", False),
    "mAAE": ("attribute error, 1 - accuracy", False),
}
COLUMNS = {"AP": True, "ATE": False, "ASE": False, "AOE": False, "AVE": False, "AAE": False}


def number(value: float | None, key: str = "", digits: int = 3) -> str:
    """Return a cell; a value that does not exist is a dash."""
    if value is None:
        return '<td class="n none">-</td>'
    mark = f' data-metric="{escape(key)}" data-value="{value!r}"' if key else ""
    return f'<td class="n"{mark}>{value:.{digits}f}</td>'


def difference(
    before: float | None, after: float | None, more_is_better: bool, digits: int = 3
) -> str:
    """Return a cell with the change, coloured by whether it is one for the better."""
    if before is None or after is None:
        return '<td class="n none">-</td>'
    change = after - before
    # What rounds to nothing is no change, for better or worse.
    shown = change if abs(change) >= 0.5 * 10**-digits else 0.0
    kind = "same" if shown == 0.0 else "better" if (change > 0) == more_is_better else "worse"
    return f'<td class="n {kind}" data-value="{change!r}">{shown:+.{digits}f}</td>'


def summary_tiles(metrics: Mapping[str, Any]) -> str:
    """Return the scores as a row of tiles."""
    tiles = [
        f'<div class="tile{" main" if name in ("mAP", "NDS") else ""}"><b>{name}</b>'
        f'<span data-metric="{name}" data-value="{metrics[name]!r}">{metrics[name]:.4f}</span>'
        f"<small>{escape(meaning)}</small></div>"
        for name, (meaning, _) in SUMMARY.items()
    ]
    return f'<div class="tiles">{"".join(tiles)}</div>'


def streaming_table(metrics: Mapping[str, Any]) -> str:
    """Return the streaming score beside the ordinary one, or nothing where there is none."""
    streaming = metrics.get("streaming")
    if streaming is None:
        return ""
    head = "".join(f"<th>{name}</th>" for name in SUMMARY)
    offline = "".join(number(metrics[name], digits=4) for name in SUMMARY)
    online = "".join(number(streaming[name], f"streaming.{name}", 4) for name in SUMMARY)
    change = "".join(
        difference(metrics[name], streaming[name], more_is_better, 4)
        for name, (_, more_is_better) in SUMMARY.items()
    )
    age = streaming["age_ms"]
    old = f" They were {age['median']:.0f} ms old (median; p95 {age['p95']:.0f} ms)." if age else ""
    return (
        f'<table class="tight"><thead><tr><th>score</th>{head}</tr></thead><tbody>'
        f'<tr><th scope="row">answers to the frames themselves</th>{offline}</tr>'
        f'<tr><th scope="row">newest answer finished by then</th>{online}</tr>'
        f'<tr><th scope="row">what latency costs</th>{change}</tr></tbody></table>'
        f'<p class="hint">Streaming: each frame is scored with the newest answer that was there at '
        f"its time ({streaming['answered']} of {metrics['samples']} frames had one).{old}</p>"
    )


def class_table(metrics: Mapping[str, Any], groups: Sequence[Group]) -> str:
    """Return AP and errors of each class, and what was found above the score cut."""
    found = {group.name: group for group in groups}
    head = "".join(f"<th>{name}</th>" for name in ("objects", *COLUMNS, "recall", "precision"))
    rows = []
    for name, scores in metrics["per_class"].items():
        cells = [number(scores[column], f"{name}.{column}") for column in COLUMNS]
        shares = [number(found[name].recall), number(found[name].precision)]
        objects = metrics["ground_truths"].get(name, 0)
        count = f'<td class="n">{objects}</td>'
        kind = "" if objects else ' class="absent"'
        rows.append(f"<tr{kind}>{class_cell(name)}{count}{''.join(cells + shares)}</tr>")
    return (
        f"<table><thead><tr><th>class</th>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )


def class_cell(name: str) -> str:
    """Return the head of a class's row with its colour."""
    red, green, blue = CLASS_COLORS[name]
    dot = f'<i class="dot" style="background:rgb({red},{green},{blue})"></i>'
    return f'<th scope="row">{dot}{escape(name.replace("_", " "))}</th>'


def group_table(groups: Sequence[Group]) -> str:
    """Return found, mistaken and missed objects of each group, and false boxes where known."""
    columns = {
        "objects": [str(group.objects) for group in groups],
        "found": [str(group.found) for group in groups],
        "other class": [str(group.mistaken) for group in groups],
        "missed": [str(group.missed) for group in groups],
        "recall": [_share(group.recall) for group in groups],
    }
    if all(group.false is not None for group in groups):
        columns["false boxes"] = [str(group.false) for group in groups]
        columns["precision"] = [_share(group.precision) for group in groups]
    head = "".join(f"<th>{name}</th>" for name in columns)
    rows = []
    for group, cells in zip(groups, zip(*columns.values(), strict=True), strict=True):
        row = "".join(f'<td class="n">{cell}</td>' for cell in cells)
        rows.append(f'<tr><th scope="row">{escape(group.name)}</th>{row}</tr>')
    return (
        f'<table class="tight"><thead><tr><th></th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def run_facts(metrics: Mapping[str, Any], folder: str) -> dict[str, str]:
    """Return what ran, on what, where."""
    run, environment = dict(metrics["run"]), metrics.get("environment", {})
    facts = {"folder": folder}
    for key, value in run.items():
        if value is not None and value != "":
            text = ", ".join(value) if isinstance(value, list) else str(value)
            facts[key.replace("_", " ")] = text
    facts["samples"] = (
        f"{metrics['samples']}, answered {metrics['answered']}, lost {len(metrics['lost'])}, "
        f"sent again {metrics['republished']}"
    )
    return facts | {key.replace("_", " "): str(value) for key, value in environment.items()}


def fact_table(facts: Sequence[Mapping[str, str]], names: Sequence[str] = ()) -> str:
    """Return facts of one run, or of several beside each other; unequal ones are marked."""
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    head = f"<thead><tr><th></th>{head}</tr></thead>" if names else ""
    rows = []
    for key in dict.fromkeys(key for run in facts for key in run):
        values = [run.get(key, "-") for run in facts]
        kind = ' class="differs"' if len(set(values)) > 1 else ""
        cells = "".join(f"<td>{escape(value)}</td>" for value in values)
        rows.append(f'<tr{kind}><th scope="row">{escape(key)}</th>{cells}</tr>')
    return f'<table class="facts">{head}<tbody>{"".join(rows)}</tbody></table>'


@dataclass(frozen=True)
class FrameChange:
    """One frame of two runs.

    Attributes:
        name: Scene and number.
        mistakes: Missed objects and false boxes of A and of B.
        links: Where A's and B's own viewers show it; "" where there is none.
    """

    name: str
    mistakes: tuple[int, int]
    links: tuple[str, str]

    @property
    def change(self) -> int:
        """How many more B has."""
        return self.mistakes[1] - self.mistakes[0]


def frame_table(changes: Sequence[FrameChange]) -> str:
    """Return frames with their mistakes in both runs; each number leads to that run's viewer."""
    if not changes:
        return '<p class="hint">No frame has more mistakes in one run than in the other.</p>'
    rows = []
    for one in changes:
        cells = "".join(
            f'<td class="n"><a href="{escape(link)}">{count}</a></td>'
            if link
            else f'<td class="n">{count}</td>'
            for count, link in zip(one.mistakes, one.links, strict=True)
        )
        change = difference(one.mistakes[0], one.mistakes[1], more_is_better=False, digits=0)
        rows.append(f'<tr><th scope="row">{escape(one.name)}</th>{cells}{change}</tr>')
    head = "<th>frame</th><th>A</th><th>B</th><th>B - A</th>"
    return (
        f'<table class="tight"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
    )


def comparison_table(first: Mapping[str, Any], second: Mapping[str, Any]) -> str:
    """Return the scores of two runs with their difference."""
    rows = []
    for name, (meaning, more_is_better) in SUMMARY.items():
        a, b = first[name], second[name]
        cells = number(a, f"a.{name}", 4) + number(b, f"b.{name}", 4)
        change = difference(a, b, more_is_better, 4)
        rows.append(
            f'<tr><th scope="row">{name} <small>{escape(meaning)}</small></th>{cells}{change}</tr>'
        )
    for percent in ("median", "p95"):
        a, b = (metrics["latency_ms"].get(percent) for metrics in (first, second))
        cells = number(a, f"a.latency.{percent}", 1) + number(b, f"b.latency.{percent}", 1)
        rows.append(
            f'<tr><th scope="row">latency {percent} <small>ms</small></th>'
            f"{cells}{difference(a, b, False, 1)}</tr>"
        )
    head = "<th></th><th>A</th><th>B</th><th>B - A</th>"
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def class_comparison_table(first: Mapping[str, Any], second: Mapping[str, Any]) -> str:
    """Return AP and errors of each class: A, B and the difference of each."""
    head = "".join(f'<th colspan="3" class="group">{column}</th>' for column in COLUMNS)
    sub = "".join('<th class="first">A</th><th>B</th><th>Δ</th>' for _ in COLUMNS)
    rows = []
    for name in first["per_class"]:
        cells = []
        for column, more_is_better in COLUMNS.items():
            a, b = (metrics["per_class"][name][column] for metrics in (first, second))
            cells.append(number(a, f"a.{name}.{column}").replace('class="n', 'class="first n'))
            cells.append(number(b, f"b.{name}.{column}") + difference(a, b, more_is_better))
        absent = "" if first["ground_truths"].get(name) or second["ground_truths"].get(name) else (
            ' class="absent"'
        )  # fmt: skip
        rows.append(f"<tr{absent}>{class_cell(name)}{''.join(cells)}</tr>")
    return (
        f'<table class="wide"><thead><tr><th rowspan="2">class</th>{head}</tr>'
        f"<tr>{sub}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table>"
    )
