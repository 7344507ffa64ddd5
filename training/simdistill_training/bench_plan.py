# SPDX-License-Identifier: Apache-2.0
"""What a benchmark of the method consists of: data, a teacher, and students that are compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from simdistill_ros.core.model_card import ModelCard
from simdistill_training.config import ExperimentConfig
from simdistill_training.distillation import DistillationConfig
from simdistill_training.smoke import smoke_card, smoke_experiment
from simdistill_training.strict import (
    ConfigError,
    assign,
    config_as_dict,
    config_file,
    config_from_dict,
    read_config,
)
from simdistill_training.train import card_of

VERSION = "v1.0-mini"
TERMS = ("imd", "cmd", "mmd_feature", "mmd_prediction")
SINGLE = (*TERMS, "depth", "inherited")


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


def with_changes(config: BenchConfig, changes: Mapping[str, Any]) -> BenchConfig:
    """Return the benchmark with further changes of teacher and students."""
    return replace(
        config,
        set_teacher={**config.set_teacher, **changes},
        set_student={**config.set_student, **changes},
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
