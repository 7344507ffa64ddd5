# SPDX-License-Identifier: Apache-2.0
"""Score a run or a model package, and turn a run into a package."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from simdistill_ros.core.model_card import ModelCard
from simdistill_ros.core.model_card_parts import TrainingCard
from simdistill_ros.replay.nuscenes_reader import load_nuscenes
from simdistill_ros.shards.ledger import clear_shards
from simdistill_ros.shards.run import Sharing, run_in_shards
from simdistill_training.checkpoint import CheckpointError, load_checkpoint, write_package
from simdistill_training.environment import git_commit
from simdistill_training.evaluate import Records, score_records
from simdistill_training.evaluation_job import EvaluationJob, find_source
from simdistill_training.evaluation_report import write_evaluation_report
from simdistill_training.load_model import load_model
from simdistill_training.networks import restore_network

SHIPPED_SCORES = ("mAP", "NDS", "mATE", "mASE", "mAOE", "mAVE", "mAAE")


def evaluate_model(
    path: Path,
    *,
    config: Path | None = None,
    dataroot: str | None = None,
    version: str | None = None,
    split: str | None = None,
    out: Path | None = None,
    threshold: float | None = None,
    device: str = "cpu",
    batch_size: int = 1,
    workers: int = 0,
    threads: int | None = None,
    sharing: Sharing | None = None,
    report: bool = False,
) -> dict[str, Any] | None:
    """Return the benchmark's scores of a run or package.

    Records are made in shards, which an evaluation that was stopped goes on with; the devkit scores
    all of them once.

    Args:
        path: Run folder, checkpoint or model package.
        config: Experiment that names the data, for packages.
        dataroot: Instead of the run's.
        version: Instead of the run's.
        split: Instead of the run's validation split.
        out: Folder of submission and scores.
        threshold: Boxes must score above it; None takes the card's.
        device: Where to run.
        batch_size: Samples at a time.
        workers: Loading processes of each process.
        threads: Of the network in each process; None: as many as PyTorch takes.
        sharing: Who does the work; None for this process alone.
        report: Write `report.html` too.

    Returns:
        The scores; None where another machine coordinates and has them.

    Raises:
        ValueError: If model, data or sharing cannot be used.
        OSError: If files are missing.
    """
    model = load_model(path)
    try:
        source = find_source(model, config, dataroot=dataroot, version=version, split=split)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    job = EvaluationJob(path, source, threshold, device, batch_size, workers, threads)
    folder = out or (path if path.is_dir() else path.parent) / f"evaluation-{source.split}"
    shards = folder / "shards"
    results = run_in_shards(job, shards, sharing or Sharing(), "evaluate")
    if results is None:
        return None
    records: Records = {token: own for result in results for token, own in result.items()}
    nusc = load_nuscenes(source.dataroot, source.version)
    metrics = score_records(records, list(records), nusc=nusc, folder=folder, role=model.role)
    clear_shards(shards)
    if report:
        write_evaluation_report(folder, job, model, list(records), nusc)
    return metrics


def package_run(
    run: Path,
    folder: Path,
    *,
    data: str,
    name: str | None = None,
    metrics: Mapping[str, Any] | None = None,
) -> ModelCard:
    """Write the model package of a student's run.

    Args:
        run: Run folder or checkpoint.
        folder: Where the package goes.
        data: What it was trained on, in words.
        name: Of the model; None keeps the card's.
        metrics: Scores; the summary goes into the card.

    Raises:
        CheckpointError: If it is a teacher's run.
    """
    checkpoint = load_checkpoint(run)
    if checkpoint.experiment.role != "student":
        raise CheckpointError(
            f"{checkpoint.file}: expected a student's run; teachers are not shipped"
        )
    card = checkpoint.card.model_copy(update={"name": name or checkpoint.card.name})
    commit = git_commit()
    return write_package(
        folder,
        card,
        restore_network(checkpoint),
        training=TrainingCard(commit=commit, data=data, seed=checkpoint.experiment.run.seed),
        metrics={key: float(metrics[key]) for key in SHIPPED_SCORES} if metrics else None,
    )
