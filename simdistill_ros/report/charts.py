# SPDX-License-Identifier: Apache-2.0
"""Charts as inline SVG, drawn by matplotlib; ink and grid take the colours of the page's theme."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from simdistill_ros.core.boxes import NUSCENES_CLASSES, IntArray
from simdistill_ros.report.breakdown import Group

# Stand-ins that the page's style replaces.
_INK, _MUTED, _GRID = "#010203", "#010204", "#010205"
_THEME = {_INK: "var(--ink)", _MUTED: "var(--muted)", _GRID: "var(--grid)"}
GOOD, WARN, BAD = "#2f9e6e", "#e0a030", "#d1495b"
RUN_COLORS = ("#4287f5", "#e0762b")
_DISTANCES = {"0.5": "#9ec5fe", "1.0": "#5b9bf8", "2.0": "#2864c8", "4.0": "#e0762b"}
_STYLE = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9.0,
    "text.color": _INK,
    "axes.labelcolor": _MUTED,
    "axes.edgecolor": _GRID,
    "axes.titlesize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "grid.color": _GRID,
    "legend.frameon": False,
}


def _draw(name: str, size: tuple[float, float], paint: Callable[[Figure], None]) -> str:
    """Return the SVG element of a figure of this size in inches; `name` makes its ids unique."""
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=size, layout="constrained")
        figure.patch.set_alpha(0.0)
        paint(figure)
        for axes in figure.axes:
            axes.patch.set_alpha(0.0)
        buffer = io.StringIO()
        metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
        figure.savefig(buffer, format="svg", metadata=metadata)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'id="', f'id="{name}-', svg)
    svg = re.sub(r"(url\(|href=\")#", rf"\1#{name}-", svg)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg).replace("xlink:href", "href")
    for stand_in, variable in _THEME.items():
        svg = svg.replace(stand_in, variable)
    return re.sub(r' (width|height)="[\d.]+pt"', "", svg, count=2)


def precision_recall(
    runs: Sequence[tuple[str, Mapping[str, Any]]], metrics: Sequence[Mapping[str, Any]]
) -> str:
    """Return ten small charts, a class each.

    One run has a line for each of the benchmark's distances; of several runs each has one line, at
    two metres.

    Args:
        runs: Name and the devkit's details of each run.
        metrics: The scores of each run.
    """

    def paint(figure: Figure) -> None:
        grid = figure.subplots(2, 5, sharex=True, sharey=True)
        for axes, name in zip(grid.flat, NUSCENES_CLASSES, strict=True):
            _precision_recall_of_class(axes, name, runs, metrics)
        for axes in grid[:, 0]:
            axes.set_ylabel("precision")
        for axes in grid[-1]:
            axes.set_xlabel("recall")
        handles, labels = grid.flat[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4)

    return _draw("pr", (11.5, 5.3), paint)


def _precision_recall_of_class(
    axes: Any,
    name: str,
    runs: Sequence[tuple[str, Mapping[str, Any]]],
    metrics: Sequence[Mapping[str, Any]],
) -> None:
    precisions = " / ".join(f"{m['per_class'][name]['AP']:.3f}" for m in metrics)
    axes.set_title(f"{name.replace('_', ' ')}\nAP {precisions}", loc="left")
    recall = np.linspace(0.0, 1.0, 101)
    if len(runs) == 1:
        lines = [(f"{d} m", f"{name}:{d}", runs[0][1], c) for d, c in _DISTANCES.items()]
    else:
        lines = [
            (title, f"{name}:2.0", curves, color)
            for (title, curves), color in zip(runs, RUN_COLORS, strict=True)
        ]
    for label, key, curves, color in lines:
        precision = curves[key]["precision"] if key in curves else np.zeros(101)
        axes.plot(recall, precision, color=color, linewidth=1.6, label=label)
    if not any(m["ground_truths"].get(name) for m in metrics):
        axes.text(0.5, 0.5, "no objects", color=_MUTED, ha="center", va="center")
    axes.set(xlim=(0, 1), ylim=(0, 1.03), xticks=(0.0, 0.5, 1.0))
    axes.grid(True, linewidth=0.6)


def found_and_missed(name: str, groups: Sequence[Group]) -> str:
    """Return stacked bars of found, mistaken and missed objects, with the recall of each group."""

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        places = np.arange(len(groups))
        bottom = np.zeros(len(groups))
        for what, color in (("found", GOOD), ("mistaken", WARN), ("missed", BAD)):
            heights = np.array([getattr(group, what) for group in groups])
            label = "as another class" if what == "mistaken" else what
            axes.bar(places, heights, 0.62, bottom=bottom, color=color, label=label)
            bottom += heights
        for place, top, group in zip(places, bottom, groups, strict=True):
            text = "none" if group.recall is None else f"{group.recall:.0%}"
            axes.text(place, top, text, ha="center", va="bottom", color=_INK)
        axes.set_xticks(places, [group.name for group in groups])
        axes.set_ylabel("objects")
        axes.margins(y=0.12)
        axes.yaxis.grid(True, linewidth=0.6)
        figure.legend(loc="outside upper left", ncols=3)

    return _draw(name, (5.4, 2.9), paint)


def recall_of_runs(name: str, runs: Sequence[tuple[str, Sequence[Group]]]) -> str:
    """Return bars of recall, a run beside the other, a group each."""

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        width = 0.8 / len(runs)
        for index, ((title, groups), color) in enumerate(zip(runs, RUN_COLORS, strict=True)):
            places = np.arange(len(groups)) + (index - (len(runs) - 1) / 2) * width
            bars = axes.bar(
                places, [g.recall or 0.0 for g in groups], width * 0.92, color=color, label=title
            )
            axes.bar_label(bars, [f"{g.recall or 0:.0%}" for g in groups], color=_INK, fontsize=8)
        axes.set_xticks(np.arange(len(runs[0][1])), [group.name for group in runs[0][1]])
        axes.set(ylim=(0, 1.08), ylabel="recall")
        axes.yaxis.grid(True, linewidth=0.6)
        figure.legend(loc="outside upper left", ncols=2)

    return _draw(name, (5.4, 2.9), paint)


def confusion_matrix(counts: IntArray, name: str = "confusion") -> str:
    """Return the matrix as a heat map by rows, with its counts."""

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        size = len(counts)
        for row, column in np.ndindex(size, size):
            right = row == column
            color = GOOD if right else (BAD if column == size - 1 or row == size - 1 else WARN)
            if counts[row, column]:
                alpha = 0.12 + 0.78 * shares[row, column]
                axes.add_patch(_cell(column, row, color, alpha))
                axes.text(
                    column, row, f"{counts[row, column]}", ha="center", va="center", fontsize=8
                )
        names = [name.replace("_", " ") for name in NUSCENES_CLASSES]
        axes.set_xticks(range(size), [*names, "missed"], rotation=38, ha="right")
        axes.set_yticks(range(size), [*names, "false box"])
        axes.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5))
        axes.set(xlabel="found as", ylabel="object")
        axes.tick_params(length=0)
        axes.set_xticks(np.arange(-0.5, size), minor=True)
        axes.set_yticks(np.arange(-0.5, size), minor=True)
        axes.grid(True, which="minor", linewidth=0.5)
        axes.tick_params(which="minor", length=0)

    return _draw(name, (6.4, 5.0), paint)


def _cell(column: int, row: int, color: str, alpha: float) -> Any:
    return Rectangle((column - 0.5, row - 0.5), 1, 1, color=color, alpha=alpha, linewidth=0)


def histogram(name: str, runs: Sequence[tuple[str, Sequence[float]]], label: str) -> str:
    """Return a histogram in milliseconds with the median and the 95th percentile marked."""

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        everything = np.concatenate([np.asarray(values, dtype=float) for _, values in runs])
        low, high = float(everything.min()), float(everything.max())
        # Times that are all alike still deserve a bar with a width.
        bins = np.linspace(low, high, 25).tolist() if high - low > 0.5 else [low - 1, high + 1]
        for (title, values), color in zip(runs, RUN_COLORS, strict=False):
            axes.hist(values, bins, color=color, alpha=0.75, label=title)
            for percent, dashes in ((50, "-"), (95, "--")):
                value = float(np.percentile(values, percent))
                text = f"p{percent} {value:.1f} ms"
                axes.axvline(value, color=color if len(runs) > 1 else _INK,
                             linestyle=dashes, linewidth=1.2, label=text)  # fmt: skip
        axes.set(xlabel=label, ylabel="frames")
        axes.yaxis.grid(True, linewidth=0.6)
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        handles, labels = axes.get_legend_handles_labels()
        if len(runs) == 1:
            pairs = [(h, t) for h, t in zip(handles, labels, strict=True) if t.startswith("p")]
            handles, labels = [h for h, _ in pairs], [t for _, t in pairs]
        figure.legend(handles, labels, loc="outside upper left", ncols=3)

    return _draw(name, (5.4, 2.9), paint)


def stage_bars(runs: Sequence[tuple[str, Mapping[str, float]]]) -> str:
    """Return the median of each stage of a snapshot's way through the node, milliseconds."""

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        stages = list(dict.fromkeys(stage for _, values in runs for stage in values))
        height = 0.8 / len(runs)
        for index, ((title, values), color) in enumerate(zip(runs, RUN_COLORS, strict=False)):
            places = np.arange(len(stages)) + (index - (len(runs) - 1) / 2) * height
            widths = [values.get(stage, 0.0) for stage in stages]
            bars = axes.barh(places, widths, height * 0.9, color=color, label=title)
            axes.bar_label(bars, [f" {w:.1f}" for w in widths], color=_INK, fontsize=8)
        axes.set_yticks(np.arange(len(stages)), [s.replace("_", " ") for s in stages])
        axes.invert_yaxis()
        axes.margins(x=0.12)
        axes.set_xlabel("median, ms")
        axes.xaxis.grid(True, linewidth=0.6)
        if len(runs) > 1:
            figure.legend(loc="outside upper left", ncols=2)

    return _draw("stages", (5.4, 2.9), paint)
