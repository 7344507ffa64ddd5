# SPDX-License-Identifier: Apache-2.0
import json
from dataclasses import replace

import pytest

from simdistill_training import bench
from simdistill_training.bench import run_bench
from simdistill_training.bench_plan import BenchConfig, ScenesConfig, planned_runs, variant_of
from simdistill_training.bench_table import SCORES, gain
from simdistill_training.config import ExperimentConfig
from simdistill_training.strict import CONFIGS, config_as_dict, read_config

SHIPPED = sorted(CONFIGS.glob("bench*.yaml"))


@pytest.fixture
def config() -> BenchConfig:
    return BenchConfig(
        schema_version=1,
        name="trial",
        scenes=ScenesConfig(1, 1, 1.0, 192, 108, 0, "none", 0.6),
        teacher="teacher-tiny",
        student="student-simdistill-tiny",
        smoke=True,
        seeds=2,
        single_term_seeds=1,
        set_teacher={"schedule.steps": 2, "schedule.warmup_steps": 1, "start.encoder": ""},
        set_student={"schedule.steps": 2, "schedule.warmup_steps": 1, "start.encoder": ""},
    )


@pytest.fixture
def full() -> ExperimentConfig:
    return read_config(ExperimentConfig, CONFIGS / "student-simdistill-tiny.yaml")


def result(variant, seed, score):
    metrics = dict.fromkeys(SCORES, score)
    return {"variant": variant, "seed": seed, "metrics": metrics}


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_shipped_benchmark_plans_three_seeds_of_both_and_each_single_term(file, tmp_path):
    runs = planned_runs(read_config(BenchConfig, file), tmp_path, tmp_path)
    names = [run.name for run in runs]
    for variant in ("baseline", "full"):
        assert {f"{variant}-seed{seed}" for seed in range(3)} <= set(names)
    for term in ("imd", "cmd", "mmd_feature", "mmd_prediction", "depth", "inherited"):
        assert f"{term}-seed0" in names
    assert names[0] == "teacher-seed0"


def test_students_differ_in_their_terms_only(config, tmp_path):
    runs = {run.name: run for run in planned_runs(config, tmp_path, tmp_path)}
    baseline, whole = (runs[f"{name}-seed1"].experiment for name in ("baseline", "full"))
    assert baseline.run == whole.run
    assert baseline.data == whole.data
    assert baseline.schedule == whole.schedule
    assert baseline.optimizer == whole.optimizer
    assert baseline.distillation is None
    assert baseline.losses.depth_weight == 0
    assert baseline.start.inherited == ()


def test_single_term_is_alone(full):
    for term in ("imd", "cmd", "mmd_feature", "mmd_prediction"):
        alone = variant_of(full, term)
        assert alone.distillation.enabled == (term,)
        assert alone.losses.depth_weight == 0
    depth = variant_of(full, "depth")
    assert depth.distillation is None
    assert depth.losses.depth_weight == full.losses.depth_weight > 0
    assert depth.start.inherited == ()
    inherited = variant_of(full, "inherited")
    assert inherited.distillation is None
    assert inherited.start.inherited == full.start.inherited != ()


def test_gain_is_the_mean_of_differences_of_equal_seeds():
    done = {
        "baseline-seed0": result("baseline", 0, 0.20),
        "full-seed0": result("full", 0, 0.26),
        "baseline-seed1": result("baseline", 1, 0.10),
        "full-seed1": result("full", 1, 0.14),
        "full-seed2": result("full", 2, 0.90),  # its baseline is not done
    }
    found = gain(done)
    assert found["seeds"] == [0, 1]
    assert found["mAP"] == pytest.approx(0.05)
    assert found["mAP_std"] == pytest.approx(0.02 / 2**0.5)


def test_gain_without_a_pair_is_none():
    assert gain({"full-seed0": result("full", 0, 0.5)})["NDS"] is None


def test_benchmark_goes_on_where_it_stopped(config, dataroot, tmp_path, monkeypatch):
    file = tmp_path / "bench.yaml"
    file.write_text(json.dumps(config_as_dict(replace(config, single_term_seeds=0, seeds=1))))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "scenes").symlink_to(dataroot)
    trained = []
    train = bench.train

    def counted(experiment, *arguments, **options):
        trained.append(experiment.name)
        return train(experiment, *arguments, **options)

    monkeypatch.setattr(bench, "train", counted)
    options = {"accelerator": "cpu"}
    run_bench(file, tmp_path / "out", tmp_path / "results", only="teacher", **options)
    table = run_bench(file, tmp_path / "out", tmp_path / "results", **options)
    run_bench(file, tmp_path / "out", tmp_path / "results", parallel=2, **options)
    assert trained == ["teacher", "baseline", "full"]
    summary = json.loads((tmp_path / "results" / "trial.json").read_text())
    assert summary["gain"].keys() == {"seeds", "mAP", "mAP_std", "NDS", "NDS_std"}
    assert set(summary["variants"]) == {"teacher", "baseline", "full"}
    assert len(summary["runs"]["full-seed0"]["metrics"]["per_class"]) == 10
    assert "Full method minus baseline" in table
