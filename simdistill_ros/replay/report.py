# SPDX-License-Identifier: Apache-2.0
"""Numbers of a replay for people: latency statistics and a short table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from simdistill_ros.replay.answers import Answer
from simdistill_ros.replay.sample_record import SampleRecord

_COLUMNS = ("AP", "ATE", "ASE", "AOE", "AVE", "AAE")
_SUMMARY = ("mAP", "NDS", "mATE", "mASE", "mAOE", "mAVE", "mAAE")


def latencies_of_samples(
    samples: Iterable[SampleRecord],
    cameras: Sequence[str],
    published_ns: Mapping[int, int],
    answers: Mapping[int, Answer],
) -> dict[str, float]:
    """Return sample token -> milliseconds from its newest image to its answer, of those answered.

    Args:
        samples: The keyframes.
        cameras: The detector's.
        published_ns: Reference stamp -> time of publication.
        answers: Reference stamp -> answer; times on the same clock.
    """
    stamps = {sample.token: sample.reference_stamp_ns(cameras) for sample in samples}
    return {
        token: (answers[stamp].received_ns - published_ns[stamp]) / 1e6
        for token, stamp in stamps.items()
        if stamp in answers and stamp in published_ns
    }


def latency_statistics(
    published_ns: Mapping[int, int], answers: Mapping[int, Answer]
) -> dict[str, float]:
    """Return milliseconds from publishing a set's newest image to holding its answer.

    Args:
        published_ns: Reference stamp -> time of publication.
        answers: Reference stamp -> answer; times on the same clock.
    """
    latencies_ms = [
        (answer.received_ns - published_ns[stamp]) / 1e6
        for stamp, answer in answers.items()
        if stamp in published_ns
    ]
    if not latencies_ms:
        return {}
    median, p95 = np.percentile(latencies_ms, [50, 95])
    return {
        "median": round(float(median), 2),
        "p95": round(float(p95), 2),
        "max": round(max(latencies_ms), 2),
        "count": len(latencies_ms),
    }


def format_report(metrics: Mapping[str, Any]) -> str:
    """Return the table that is printed after a replay."""
    run = metrics["run"]
    lines = [f"{run['detector']}, {run['mode']}, {run['input']} images, {', '.join(run['scenes'])}"]
    if run["weights"] == "untrained":
        lines.append("The model has NO TRAINED WEIGHTS: a score near zero is all it can reach.")
    lines.append(
        f"samples {metrics['samples']}, answered {metrics['answered']}, "
        f"lost {len(metrics['lost'])}, sent again {metrics['republished']}"
    )
    if latency := metrics["latency_ms"]:
        lines.append(
            f"latency ms: median {latency['median']:.1f}, p95 {latency['p95']:.1f}, "
            f"max {latency['max']:.1f}"
        )
    if "mAP" in metrics:
        lines += ["", *_score_lines(metrics)]
    if streaming := metrics.get("streaming"):
        lines += ["", _streaming_line(streaming)]
    return "\n".join(lines)


def _score_lines(metrics: Mapping[str, Any]) -> list[str]:
    lines = ["  ".join(f"{name} {metrics[name]:.4f}" for name in _SUMMARY)]
    absent = [name for name in metrics["per_class"] if not metrics["ground_truths"].get(name)]
    if absent:
        lines.append(f"without ground truth, counted as AP 0: {', '.join(absent)}")
        lines.append(f"mAP of the classes present {metrics['mAP_of_present_classes']:.4f}")
    lines.append("")
    lines.append(f"{'class':<22}{'objects':>8}" + "".join(f"{name:>8}" for name in _COLUMNS))
    for name, scores in metrics["per_class"].items():
        count = metrics["ground_truths"].get(name, 0)
        cells = "".join(_cell(scores[column]) for column in _COLUMNS)
        lines.append(f"{name:<22}{count:>8}{cells}")
    return lines


def _streaming_line(streaming: Mapping[str, Any]) -> str:
    age = streaming["age_ms"]
    old = f", boxes {age['median']:.0f} ms old (p95 {age['p95']:.0f})" if age else ""
    scores = f"NDS {streaming['NDS']:.4f}, mAP {streaming['mAP']:.4f}"
    return f"streaming (newest finished answer at each time): {scores}{old}"


def _cell(value: float | None) -> str:
    return f"{'-':>8}" if value is None else f"{value:>8.3f}"
