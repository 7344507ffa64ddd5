# SPDX-License-Identifier: Apache-2.0
"""Full sensor load: six 1600x900 cameras at 12 Hz into the node with a stub backend.

Two parts. Processor time: short turns of the node and of simpler programs, interleaved, a rig for
each turn. Endurance: one long run of the node with its memory over time and every image accounted
for. All processes run with the shipped Fast DDS profile and the environment of the launch files.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.load_rig import OFFSETS_MS, PERIOD_MS
from simdistill_ros.process_environment import PROCESS_ENVIRONMENT
from simdistill_ros.resources import share_folder

DOMAIN = 98
LEGACY_DISTRIBUTIONS = ("humble", "iron", "jazzy")  # their Fast DDS knows the older variable
SAMPLE_S = 0.5
WARM_UP_S = 2.0
SIGNALS, END_S = 3, 20.0
INGEST_AT_MOST = 1.15
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_MIB = os.sysconf("SC_PAGE_SIZE") / 2**20


@dataclass
class Turn:
    """One run of a subject against a rig.

    Attributes:
        sent: Images that the rig published.
        ms_per_image: Processor time of the subject, per image it received, after a warm-up.
        rss_mib: (time in s, resident memory) samples.
        rig: The rig's report.
        report: The subject's report.
    """

    sent: int
    ms_per_image: float
    rss_mib: list[tuple[float, float]] = field(default_factory=list)
    rig: dict[str, Any] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=dict)


def bench_load(kind: str, minutes: float, turn_s: float, rounds: int) -> dict[str, Any]:
    """Return processor times by subject, and the long run.

    Args:
        kind: `raw` or `jpeg`.
        minutes: Length of the long run.
        turn_s: Length of a turn.
        rounds: Turns of each subject.
    """
    subjects = ["floor", "bridge", "node"] + (["decoder"] if kind == "jpeg" else [])
    turns: dict[str, list[Turn]] = {subject: [] for subject in subjects}
    for number in range(rounds):
        for subject in subjects:
            print(f"  round {number + 1} of {rounds}: {subject}", flush=True)
            turns[subject].append(run_turn(subject, kind, turn_s))
    print(f"  {minutes:g} minutes of the node", flush=True)
    long = run_turn("node", kind, minutes * 60)
    return {
        "kind": kind,
        "what": f"six 1600x900 {kind} cameras at 12 Hz, stub backend, another process",
        "processor": processor_table(turns),
        "promise": promise(kind, turns),
        "endurance": endurance(long),
    }


def run_turn(subject: str, kind: str, seconds: float) -> Turn:
    """Run a subject against a rig that publishes for some seconds."""
    cycles = max(1, round(seconds * 1000 / PERIOD_MS))
    listener = _start("benchmarks.load_subjects", subject, kind)
    rig = _start("benchmarks.load_rig", kind, str(cycles))
    try:
        assert rig.stdout is not None
        if rig.stdout.readline().strip() != "go":
            raise RuntimeError(f"the rig did not start; is {subject} running?")
        cpu_share, rss = _watch(listener.pid, rig, seconds)
        rig_report = json.loads(rig.communicate(timeout=60)[0])
        output = _ended(listener)
    finally:
        for process in (rig, listener):
            process.kill()
    report = json.loads(output.strip().splitlines()[-1])
    sent = rig_report["images"]
    received_per_s = rig_report["rate_hz"] * len(OFFSETS_MS) * max(report["received"], 1) / sent
    return Turn(sent, cpu_share * 1e3 / received_per_s, rss, rig_report, report)


def _ended(listener: subprocess.Popen[str]) -> str:
    """Ask a subject to end, and return what it wrote.

    Ten minutes must not be lost because rclpy missed one signal.
    """
    for _ in range(SIGNALS - 1):
        listener.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return listener.communicate(timeout=END_S)[0]
    listener.send_signal(signal.SIGTERM)
    return listener.communicate(timeout=END_S)[0]


def _start(module: str, *arguments: str) -> subprocess.Popen[str]:
    profile = str(share_folder() / "config" / "fastdds_profile.xml")
    environment = {
        **os.environ,
        **PROCESS_ENVIRONMENT,
        "OMP_NUM_THREADS": "1",  # so that all work is on threads that are told apart
        "FASTDDS_DEFAULT_PROFILES_FILE": profile,
        "ROS_DOMAIN_ID": str(DOMAIN),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
    }
    if os.environ.get("ROS_DISTRO") in LEGACY_DISTRIBUTIONS:
        environment["FASTRTPS_DEFAULT_PROFILES_FILE"] = profile
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def _watch(
    pid: int, rig: subprocess.Popen[str], seconds: float
) -> tuple[float, list[tuple[float, float]]]:
    """Sample a process while the rig publishes.

    Returns:
        The share of a core that it used after a warm-up, and its memory over time.
    """
    start_s = time.monotonic()
    warm_s = min(WARM_UP_S, seconds / 4)
    samples: list[tuple[float, float, float]] = []
    while time.monotonic() - start_s < seconds and rig.poll() is None:
        time.sleep(SAMPLE_S)
        cpu_s, rss_mib = _cpu_and_memory(pid)
        samples.append((time.monotonic() - start_s, cpu_s, rss_mib))
    warm = [sample for sample in samples if sample[0] >= warm_s] or samples
    (first_s, first_cpu_s, _), (last_s, last_cpu_s, _) = warm[0], warm[-1]
    rss = [(round(at_s, 1), round(rss_mib, 1)) for at_s, _, rss_mib in samples]
    return (last_cpu_s - first_cpu_s) / max(last_s - first_s, SAMPLE_S), rss


def _cpu_and_memory(pid: int) -> tuple[float, float]:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S, resident * PAGE_MIB


def processor_table(turns: dict[str, list[Turn]]) -> list[dict[str, Any]]:
    """Return, by subject, milliseconds an image, the ratio to the floor and what was received.

    The node has rows for its parts: they are its total split as their processor times are.
    """
    floor_ms = statistics.median(turn.ms_per_image for turn in turns["floor"])
    rows = []
    for subject, own in turns.items():
        ms = statistics.median(turn.ms_per_image for turn in own)
        received = sum(turn.report["received"] for turn in own)
        share = received / sum(turn.sent for turn in own)
        rows.append(_row(subject, ms, floor_ms, share))
        if subject == "node":
            rows += [
                _row(f"node: {part}", ms * portion, floor_ms, share)
                for part, portion in _portions(own).items()
            ]
    return rows


def promise(kind: str, turns: dict[str, list[Turn]]) -> dict[str, Any]:
    """Return what the node's ingest costs against the least that it can cost.

    Raw: receiving, against the floor. JPEG: receiving and decoding, against a typed subscription
    that decodes; both decode with the same call.
    """
    node_ms = statistics.median(turn.ms_per_image for turn in turns["node"])
    portions = _portions(turns["node"])
    parts, least = (("receive", "decode"), "decoder") if kind == "jpeg" else (("receive",), "floor")
    ingest_ms = node_ms * sum(portions[part] for part in parts)
    least_ms = statistics.median(turn.ms_per_image for turn in turns[least])
    return {
        "what": f"the node's {' and '.join(parts)} against `{least}`",
        "ms_per_image": round(ingest_ms, 3),
        "least_ms": round(least_ms, 3),
        "ratio": round(ingest_ms / least_ms, 3),
        "at_most": INGEST_AT_MOST,
    }


def _row(subject: str, ms: float, floor_ms: float, share: float) -> dict[str, Any]:
    return {
        "subject": subject,
        "ms_per_image": round(ms, 3),
        "of_floor": round(ms / floor_ms, 3),
        "received": round(share, 5),
    }


def _portions(turns: list[Turn]) -> dict[str, float]:
    totals: dict[str, float] = {}
    for turn in turns:
        for part, seconds in turn.report["cpu_s"].items():
            totals[part] = totals.get(part, 0.0) + seconds
    whole = sum(totals.values())
    return {part: seconds / whole for part, seconds in totals.items()}


def endurance(turn: Turn) -> dict[str, Any]:
    """Return what became of the images of the long run, and how memory went."""
    settled = [mib for at_s, mib in turn.rss_mib if at_s >= turn.rss_mib[-1][0] * 0.2]
    quarter = max(1, len(settled) // 4)
    first, last = statistics.mean(settled[:quarter]), statistics.mean(settled[-quarter:])
    step = max(1, len(turn.rss_mib) // 60)
    return {
        "sent": turn.sent,
        "received": turn.report["received"],
        "complete_sets": turn.sent // len(OFFSETS_MS),
        "rss_first_mib": round(first, 1),
        "rss_last_mib": round(last, 1),
        "rss_growth_percent": round(100 * (last / first - 1), 2),
        "ms_per_image": round(turn.ms_per_image, 3),
        "rig": turn.rig,
        **{key: turn.report[key] for key in ("sync", "pipeline", "latency_ms", "faults", "cpu_s")},
        "rss_mib": turn.rss_mib[::step],
    }
