# SPDX-License-Identifier: Apache-2.0
"""An evaluation that several processes share gives the bytes of one process."""

import json
import os
import signal
import threading
import time

import pytest
from slow_evaluation import FOLDER, SlowEvaluation

from simdistill_ros.core.model_card_parts import TrainingCard
from simdistill_ros.shards.run import Sharing
from simdistill_training import evaluate_model as evaluation
from simdistill_training.checkpoint import write_package
from simdistill_training.evaluation_job import DataSource, EvaluationJob, hash_of_weights
from simdistill_training.networks import build_network

VERSION = "v1.0-mini"


@pytest.fixture(scope="module")
def package(card, experiment_named, tmp_path_factory):
    network = build_network(experiment_named("student-baseline-tiny"), card).eval()
    folder = tmp_path_factory.mktemp("package")
    write_package(folder, card, network, training=TrainingCard(commit="none", data="none", seed=0))
    return folder


@pytest.fixture
def evaluate(package, dataroot, cache, index, monkeypatch):
    """Score the package on both scenes in shards of one sample; return the folder's files."""
    monkeypatch.chdir(cache.parent)  # where out/cache is made
    split = ",".join(index.scene_names.tolist())

    def run(folder, sharing):
        evaluation.evaluate_model(
            package,
            dataroot=str(dataroot),
            version=VERSION,
            split=split,
            out=folder,
            threshold=0.05,
            threads=1,
            sharing=sharing,
        )
        return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}

    return run


def kill_the_victim(folder):
    """Kill, with SIGKILL, the worker that stands still half-way."""
    file = folder / "victim"
    while not file.is_file() or not file.read_text():
        time.sleep(0.05)
    os.kill(int(file.read_text()), signal.SIGKILL)


def test_two_workers_one_killed_half_way_write_the_bytes_of_one(evaluate, tmp_path, monkeypatch):
    alone = evaluate(tmp_path / "alone", Sharing(shard_size=1))
    monkeypatch.setenv(FOLDER, str(tmp_path))
    monkeypatch.setattr(evaluation, "EvaluationJob", SlowEvaluation)
    scored = []
    score = evaluation.score_records
    monkeypatch.setattr(
        evaluation, "score_records", lambda *a, **k: scored.append(1) or score(*a, **k)
    )
    killer = threading.Thread(target=kill_the_victim, args=(tmp_path,), daemon=True)
    killer.start()
    together = evaluate(tmp_path / "together", Sharing(processes=2, shard_size=1, lease_s=4.0))
    killer.join(timeout=1)
    assert not killer.is_alive()
    begun = [line for f in tmp_path.glob("begun-*") for line in f.read_text().splitlines()]
    samples = json.loads(alone["results_nusc.json"])["results"]
    assert len(samples) == 6
    assert sum(len(boxes) for boxes in samples.values()) > 100
    assert sorted({*begun}) == sorted(samples)
    assert len(begun) == len(samples) + 1  # the one that the killed worker had in hand
    assert together == alone
    assert len(scored) == 1
    assert not (tmp_path / "together" / "shards").exists()


def test_other_weights_are_other_inputs(package, dataroot, index, cache, card, tmp_path):
    source = DataSource(dataroot, VERSION, "sim_val", cache)
    inputs = EvaluationJob(package, source).open(None).inputs
    assert EvaluationJob(package, source).open(None).inputs == inputs
    network = evaluation.load_model(package).network
    before = hash_of_weights(network)
    next(network.parameters()).data.view(-1)[0] += 1e-3
    assert hash_of_weights(network) != before == inputs["weights"]
    for job in (
        EvaluationJob(package, source, threshold=0.3),
        EvaluationJob(package, DataSource(dataroot, VERSION, "sim_train", cache)),
        EvaluationJob(package, source, batch_size=2),
    ):
        assert job.open(None).inputs != inputs
