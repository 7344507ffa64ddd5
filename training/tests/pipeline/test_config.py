# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from simdistill_ros.core.model_card import load_model_card
from simdistill_training.config import ExperimentConfig
from simdistill_training.smoke import smoke_card, smoke_experiment
from simdistill_training.strict import (
    CONFIGS,
    ConfigError,
    assign,
    config_as_dict,
    config_from_dict,
    read_config,
)
from simdistill_training.teacher.teacher import Teacher

REPOSITORY = Path(__file__).resolve().parents[3]
SHIPPED = sorted(CONFIGS.glob("[ts]*.yaml"))
TINY = CONFIGS / "student-simdistill-tiny.yaml"


def changed(**changes):
    data = yaml.safe_load(TINY.read_text())
    for key, value in changes.items():
        assign(data, key.replace("__", "."), value)
    return data


def test_three_experiments_are_shipped_for_each_model():
    models = ("small", "tiny", "r50-256x704", "swint-256x704")
    roles = ("teacher", "student-baseline", "student-simdistill")
    assert {f"{role}-{model}.yaml" for role in roles for model in models} == {
        file.name for file in SHIPPED
    }


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_shipped_experiment_is_complete_and_survives_a_round_trip(file):
    experiment = read_config(ExperimentConfig, file)
    assert experiment.name == file.stem
    data = config_as_dict(experiment)
    assert config_from_dict(ExperimentConfig, data, "again") == experiment
    assert experiment.role == ("teacher" if file.stem.startswith("teacher") else "student")


@pytest.mark.parametrize("model", ["small", "tiny", "r50-256x704", "swint-256x704"])
def test_baseline_differs_from_the_full_method_in_what_is_learnt_from_the_teacher_only(model):
    full = read_config(ExperimentConfig, CONFIGS / f"student-simdistill-{model}.yaml")
    baseline = read_config(ExperimentConfig, CONFIGS / f"student-baseline-{model}.yaml")
    reduced = replace(
        full,
        name=baseline.name,
        distillation=None,
        teacher_checkpoint="",
        teacher_cache="",
        losses=replace(full.losses, depth_weight=0.0),
        start=replace(full.start, inherited=()),
    )
    assert reduced == baseline


@pytest.mark.parametrize("file", [f for f in SHIPPED if f.stem.startswith("teacher")],
                         ids=lambda file: file.stem)  # fmt: skip
def test_shrunk_teacher_fits_the_shrunk_card(file):
    experiment = read_config(ExperimentConfig, file)
    card = smoke_card(load_model_card(REPOSITORY / "models" / experiment.model))
    Teacher(card, smoke_experiment(experiment, card).teacher)


@pytest.mark.parametrize("model", ["small", "tiny", "r50-256x704", "swint-256x704"])
def test_teachers_lidar_cells_are_the_students(model):
    card = load_model_card(REPOSITORY / "models" / model)
    teacher = read_config(ExperimentConfig, CONFIGS / f"teacher-{model}.yaml").teacher
    cell_m = 8 * teacher.sparse.voxel_m[0]
    if teacher.lidar == "pillars":
        cell_m = teacher.pillars.cell_m
        for _, _, stride in teacher.pillars.stages:
            cell_m *= stride
    cells = round((card.bev.x_m[1] - card.bev.x_m[0]) / cell_m)
    assert cells == card.compensated_shape_xy[0]


def test_unknown_key_is_an_error_that_names_it():
    data = yaml.safe_load(TINY.read_text())
    data["optimizer"]["learning_rat"] = 1.0
    with pytest.raises(ConfigError, match=r"here: optimizer\.learning_rat: unknown key"):
        config_from_dict(ExperimentConfig, data, "here")


def test_unknown_key_of_a_term_is_an_error():
    data = yaml.safe_load(TINY.read_text())
    data["distillation"]["cmd"]["wieght"] = 1.0
    with pytest.raises(ConfigError, match=r"distillation\.cmd\.wieght: unknown key"):
        config_from_dict(ExperimentConfig, data, "here")


def test_missing_key_is_an_error_that_names_it():
    data = yaml.safe_load(TINY.read_text())
    del data["schedule"]["steps"], data["name"]
    with pytest.raises(ConfigError) as caught:
        config_from_dict(ExperimentConfig, data, "here")
    assert "here: schedule.steps: missing" in str(caught.value)
    assert "here: name: missing" in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("optimizer__learning_rate", -0.001, "learning_rate: expected above 0, got -0.001"),
        ("optimizer__learning_rate", "fast", "learning_rate"),
        ("schedule__steps", 0, "steps: expected at least 1"),
        ("schedule__kind", "linear", "schedule.kind"),
        ("run__precision", "8", "run.precision"),
        ("run__batch_size", 0, "run.batch_size"),
        ("data__workers", -1, "data.workers"),
        ("losses__depth_weight", -1.0, "depth_weight"),
        ("role", "teacher", "parts for role teacher"),
        ("schema_version", 2, "schema_version"),
    ],
)
def test_wrong_value_is_an_error_that_names_the_key(key, value, message):
    with pytest.raises(ConfigError, match=message):
        config_from_dict(ExperimentConfig, changed(**{key: value}), "here")


def test_distillation_without_any_term_is_refused():
    data = yaml.safe_load(TINY.read_text())
    for term in ("imd", "cmd", "mmd_feature", "mmd_prediction"):
        data["distillation"][term]["enabled"] = False
    with pytest.raises(ConfigError, match="at least one term"):
        config_from_dict(ExperimentConfig, data, "here")


def test_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="nowhere"):
        read_config(ExperimentConfig, tmp_path / "nowhere.yaml")


def test_broken_yaml_is_named(tmp_path):
    file = tmp_path / "broken.yaml"
    file.write_text("a: [1, ")
    with pytest.raises(ConfigError, match=r"broken\.yaml: not readable"):
        read_config(ExperimentConfig, file)
