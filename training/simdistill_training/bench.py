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
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from simdistill_ros.core.model_card import ModelCard
from simdistill_ros.scenes.config import GeneratorConfig
from simdistill_ros.scenes.generate import generate_dataroot
from simdistill_training.config import ExperimentConfig
from simdistill_training.distillation import DistillationConfig
from simdistill_training.environment import environment
from simdistill_training.evaluate_model import evaluate_model
from simdistill_training.smoke import smoke_card, smoke_experiment
from simdistill_training.strict import (
    ConfigError,
    assign,
    config_as_dict,
    config_file,
    config_from_dict,
    read_config,
)
from simdistill_training.train import Machine, card_of, train

VERSION = "v1.0-mini"
TERMS = ("imd", "cmd", "mmd_feature", "mmd_prediction")
SINGLE = (*TERMS, "depth", "inherited")
SCORES = ("mAP", "NDS", "mATE", "mASE", "mAOE", "mAVE", "mAAE")
RESULT_FILE = "result.json"


@dataclass(frozen=True)
class ScenesConfig:
    """What is generated; validation scenes have other towns and object looks.

    Attributes:
        train: Training scenes.
        val: Validation scenes.
        duration_s: Length of a scene; two samples a second.
        width: Image width, pixels.
        height: Image height, pixels.
        seed: Of the generator.
        sweeps: `none` or `lidar`.
        traffic: Density; 1 is a busy street.
    """

    train: int
    val: int
    duration_s: float
    width: int
    height: int
    seed: int
    sweeps: str
    traffic: float


@dataclass(frozen=True)
class BenchConfig:
    """A benchmark.

    Attributes:
        schema_version: Of this file.
        name: Of the result.
        scenes: The data.
        teacher: Experiment of the teacher; a file or a shipped name.
        student: Experiment of the full method. The others are it with terms switched off.
        smoke: Shrink network and trainings to a CPU minute.
        seeds: Runs of the baseline and of the full method.
        single_term_seeds: Runs of each term alone.
        set_teacher: Changes of the teacher's experiment, key → value.
        set_student: Changes of all students' experiments.
    """

    schema_version: int
    name: str
    scenes: ScenesConfig
    teacher: str
    student: str
    smoke: bool
    seeds: int
    single_term_seeds: int
    set_teacher: dict[str, Any]
    set_student: dict[str, Any]

    def __post_init__(self) -> None:
        """Refuse a benchmark without comparison."""
        if self.seeds < 1 or self.single_term_seeds < 0:
            raise ValueError(f"seeds: expected at least 1 and none negative, got {self}")


@dataclass(frozen=True)
class Run:
    """One training of the benchmark."""

    variant: str
    seed: int
    experiment: ExperimentConfig
    card: ModelCard

    @property
    def name(self) -> str:
        """Variant and seed."""
        return f"{self.variant}-seed{self.seed}"


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


def with_changes(config: BenchConfig, changes: Mapping[str, Any]) -> BenchConfig:
    """Return the benchmark with further changes of teacher and students."""
    return replace(
        config,
        set_teacher={**config.set_teacher, **changes},
        set_student={**config.set_student, **changes},
    )


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
        progress=True,
    )


def planned_runs(config: BenchConfig, scenes: Path, runs: Path) -> list[Run]:
    """Return all runs in the order in which they are done."""
    teacher, card = _experiment(config.teacher, config.set_teacher, scenes, config.smoke)
    planned = [_run("teacher", 0, teacher, card)]
    student, card = _experiment(config.student, config.set_student, scenes, config.smoke)
    cache = str(runs / "teacher-cache") if student.data.views else ""
    student = replace(student, teacher_checkpoint=str(runs / "teacher-seed0"), teacher_cache=cache)
    if student.distillation is None:
        raise ConfigError(f"{config.student}: expected an experiment with distillation")
    for seed in range(config.seeds):
        for variant in ("baseline", "full"):
            planned.append(_run(variant, seed, variant_of(student, variant), card))
    for seed in range(config.single_term_seeds):
        for term in SINGLE:
            planned.append(_run(term, seed, variant_of(student, term), card))
    return planned


def variant_of(student: ExperimentConfig, variant: str) -> ExperimentConfig:
    """Return the full method with everything learnt from the teacher off but one thing, or all.

    Args:
        student: The full method.
        variant: `full`, `baseline`, or one of `SINGLE`: a distillation term, LiDAR depth
            supervision, or the weights inherited from the teacher.
    """
    if variant == "full":
        return student
    assert student.distillation is not None
    is_taught = variant in (*TERMS, "inherited")
    return replace(
        student,
        losses=student.losses if variant == "depth" else replace(student.losses, depth_weight=0.0),
        start=student.start if variant == "inherited" else replace(student.start, inherited=()),
        distillation=_only(student.distillation, variant) if variant in TERMS else None,
        teacher_checkpoint=student.teacher_checkpoint if is_taught else "",
        teacher_cache=student.teacher_cache if variant in TERMS else "",
    )


def _only(distillation: DistillationConfig, term: str) -> DistillationConfig:
    off: dict[str, Any] = {
        name: replace(getattr(distillation, name), enabled=False) for name in TERMS if name != term
    }
    return replace(distillation, **off)


def _experiment(
    name: str, changes: Mapping[str, Any], scenes: Path, smoke: bool
) -> tuple[ExperimentConfig, ModelCard]:
    experiment = read_config(ExperimentConfig, config_file(name))
    card = card_of(experiment)
    if smoke:
        card = smoke_card(card)
        experiment = smoke_experiment(experiment, card)
    data = config_as_dict(experiment)
    for key, value in changes.items():
        assign(data, key, value)
    experiment = config_from_dict(ExperimentConfig, data, f"benchmark, {name}")
    located = replace(
        experiment.data,
        dataroot=str(scenes),
        version=VERSION,
        train="sim_train",
        val="sim_val",
        cache=str(scenes / "cache"),
    )
    return replace(experiment, data=located), card


def _run(variant: str, seed: int, experiment: ExperimentConfig, card: ModelCard) -> Run:
    experiment = replace(experiment, name=variant, run=replace(experiment.run, seed=seed))
    return Run(variant, seed, experiment, card)


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
    return evaluate_model(
        checkpoint,
        out=folder / "evaluation",
        device=_device(accelerator),
        batch_size=run.experiment.run.batch_size,
        workers=run.experiment.data.workers,
        threshold=run.experiment.run.score_threshold,
    )


def _device(accelerator: str) -> str:
    import torch

    wants_cuda = accelerator in ("auto", "gpu", "cuda")
    return "cuda" if wants_cuda and torch.cuda.is_available() else "cpu"


def _digest(experiment: ExperimentConfig) -> str:
    return hashlib.sha256(json.dumps(config_as_dict(experiment)).encode()).hexdigest()


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
