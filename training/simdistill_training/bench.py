# SPDX-License-Identifier: Apache-2.0
"""What distillation gains: equal trainings with and without it, on scenes that are generated here.

Runs are independent: each leaves `result.json`, and a benchmark that was stopped goes on with what
is missing. Gains are differences of runs with the same seed, full method minus baseline.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from simdistill_ros.scenes.config import GeneratorConfig
from simdistill_ros.scenes.generate import generate_dataroot
from simdistill_training.bench_plan import (
    VERSION,
    BenchConfig,
    Run,
    ScenesConfig,
    planned_runs,
    with_changes,
)
from simdistill_training.bench_table import RESULT_FILE, format_table, summarise
from simdistill_training.config import ExperimentConfig
from simdistill_training.environment import environment
from simdistill_training.evaluate_model import evaluate_model
from simdistill_training.strict import config_as_dict, read_config
from simdistill_training.train import Machine, train


def run_bench(
    config_path: Path,
    out: Path,
    results: Path,
    *,
    accelerator: str = "auto",
    jobs: int = 2,
    changes: Mapping[str, Any] | None = None,
    only: str = "",
    minutes: float = 0.0,
    parallel: int = 1,
    table_only: bool = False,
) -> str:
    """Do what is missing of a benchmark, and return the table of what is done.

    Args:
        config_path: YAML of a `BenchConfig`.
        out: Scenes and runs.
        results: Folder for `<name>.json` and `<name>.md`.
        accelerator: Lightning's name.
        jobs: Processes that generate scenes.
        changes: Changes of all experiments that the machine asks for, key → value.
        only: Do only runs whose name contains this.
        minutes: Begin no run later than this; 0 for no limit.
        parallel: Students that are trained at a time, each in a process of its own.
        table_only: Run nothing.
    """
    deadline = time.time() + 60 * minutes if minutes else math.inf
    config = with_changes(read_config(BenchConfig, config_path), changes or {})
    scenes = out / "scenes"
    if not table_only:
        generate_scenes(config.scenes, scenes, jobs)
    runs = planned_runs(config, scenes, out / "runs")
    if not table_only:
        chosen = [run for run in runs if only in run.name]
        perform_all(chosen, out / "runs", accelerator, deadline, parallel)
    summary = summarise(config, runs, out / "runs")
    results.mkdir(parents=True, exist_ok=True)
    (results / f"{config.name}.json").write_text(json.dumps(summary, indent=2) + "\n")
    table = format_table(summary)
    (results / f"{config.name}.md").write_text(table)
    return table


def generate_scenes(scenes: ScenesConfig, folder: Path, jobs: int) -> None:
    """Generate the data, unless it is there."""
    if (folder / VERSION / "splits.json").is_file():
        return
    generate_dataroot(
        GeneratorConfig(
            out=folder,
            scenes=scenes.train + scenes.val,
            val_scenes=scenes.val,
            seed=scenes.seed,
            width=scenes.width,
            height=scenes.height,
            duration_s=scenes.duration_s,
            sweeps=scenes.sweeps,
            version=VERSION,
            traffic=scenes.traffic,
            jobs=jobs,
        ),
    )


def perform_all(
    runs: Sequence[Run], folder: Path, accelerator: str, deadline: float, parallel: int
) -> None:
    """Do runs, the teacher's first and alone, the students' several at a time."""
    teachers = [run for run in runs if run.experiment.role == "teacher"]
    students = [run for run in runs if run.experiment.role == "student"]
    for run in teachers if parallel > 1 else runs:
        perform(run, folder / run.name, accelerator, deadline)
    if parallel > 1:
        # Spawned, because a forked process can neither use CUDA nor end its parent's threads.
        with ProcessPoolExecutor(parallel, mp_context=get_context("spawn")) as pool:
            pending = [
                pool.submit(perform, run, folder / run.name, accelerator, deadline)
                for run in students
            ]
            for future in pending:
                future.result()


def perform(run: Run, folder: Path, accelerator: str, deadline: float = math.inf) -> None:
    """Train and score a run, unless that is done; go on where an interrupted one stopped.

    Args:
        run: What to do.
        folder: Of the run.
        accelerator: Lightning's name.
        deadline: Unix time, seconds, after which nothing is begun.
    """
    if (folder / RESULT_FILE).is_file() or time.time() > deadline:
        return
    started = time.monotonic()
    machine = Machine(accelerator=accelerator)
    checkpoint = train(run.experiment, folder, card=run.card, resume=True, machine=machine)
    trained = time.monotonic()
    metrics = _final_scores(run, folder, checkpoint, accelerator)
    result = {
        "variant": run.variant,
        "seed": run.seed,
        "steps": run.experiment.schedule.steps,
        "batch_size": run.experiment.run.batch_size,
        "training_s": round(trained - started, 1),  # validation included; last piece if resumed
        "config_sha256": _digest(run.experiment),
        "environment": environment(),
        "metrics": metrics,
    }
    (folder / RESULT_FILE).write_text(json.dumps(result, indent=2) + "\n")


def _final_scores(run: Run, folder: Path, checkpoint: Path, accelerator: str) -> dict[str, Any]:
    """Return the scores after the last step: the training's own, or computed here."""
    last = folder / "validation" / f"step-{run.experiment.schedule.steps:07d}" / "metrics.json"
    if last.is_file():
        scores: dict[str, Any] = json.loads(last.read_text())
        return scores
    found = evaluate_model(
        checkpoint,
        out=folder / "evaluation",
        device=_device(accelerator),
        batch_size=run.experiment.run.batch_size,
        workers=run.experiment.data.workers,
        threshold=run.experiment.run.score_threshold,
    )
    assert found is not None  # nobody else was asked to help
    return found


def _device(accelerator: str) -> str:
    import torch

    wants_cuda = accelerator in ("auto", "gpu", "cuda")
    return "cuda" if wants_cuda and torch.cuda.is_available() else "cpu"


def _digest(experiment: ExperimentConfig) -> str:
    return hashlib.sha256(json.dumps(config_as_dict(experiment)).encode()).hexdigest()
