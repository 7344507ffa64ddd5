# SPDX-License-Identifier: Apache-2.0
import base64
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from simdistill_ros.core.backends.torch_backend import TorchBackend
from simdistill_ros.core.boxes import transform_detections
from simdistill_ros.core.detector import Detector
from simdistill_ros.core.frames import EGO_FRAME, inverse
from simdistill_ros.core.model_card_parts import TrainingCard
from simdistill_ros.replay.nuscenes_reader import load_nuscenes, snapshot_of_sample
from simdistill_ros.replay.submission import records_from_detections
from simdistill_ros.report.page import write_report
from simdistill_training.checkpoint import write_package
from simdistill_training.data.index import LIDAR, pose_matrix
from simdistill_training.data.loader import collate
from simdistill_training.evaluate import (
    RecordMaker,
    detections_of_batch,
    evaluate_network,
    score_records,
)
from simdistill_training.evaluate_model import evaluate_model
from simdistill_training.networks import PixelNorm, build_network, heads_of
from simdistill_training.targets import center_targets

VERSION = "v1.0-mini"


def perfect_heads(batch, card):
    """Return head maps that say exactly what the targets are."""
    heads = []
    for task in center_targets(batch.boxes, card):
        maps = {"heatmap": torch.logit(task.heatmap.clamp(1e-4, 1 - 1e-4))}
        shape = (len(batch), 10, *task.heatmap.shape[-2:])
        codes = torch.zeros(shape).flatten(2)
        for sample in range(len(batch)):
            filled = task.mask[sample]
            own = task.codes[sample, filled].nan_to_num()
            codes[sample][:, task.cell_index[sample, filled]] = own.T
        parts = codes.view(shape).split([2, 1, 3, 2, 2], dim=1)
        maps |= dict(zip(("reg", "height", "dim", "rot", "vel"), parts, strict=True))
        heads.append(maps)
    return heads


def test_perfect_maps_score_almost_one(dataset, card, tmp_path):
    metrics = evaluate_network(
        lambda batch: perfect_heads(batch, card),
        dataset,
        version=VERSION,
        folder=tmp_path,
        role="student",
    )
    # Cells of 1.6 m hold one object of a task each; a few crowded ones are lost.
    assert metrics["mAP_of_present_classes"] > 0.85
    assert metrics["mATE"] < 0.35
    submission = json.loads((tmp_path / "results_nusc.json").read_text())
    assert submission["meta"]["use_lidar"] is False
    assert set(submission["results"]) == {str(dataset.index.tokens[s]) for s in dataset.samples}


def test_detections_are_those_of_the_vehicles_detector(dataset, card, experiment_named, tmp_path):
    network = build_network(experiment_named("student-baseline-tiny"), card).eval()
    origin = TrainingCard(commit="none", data="none", seed=0)
    package = write_package(tmp_path, card, network, training=origin, half=False)
    detector = Detector(package, TorchBackend(package))
    nusc = load_nuscenes(dataset.dataroot, VERSION)
    batch = collate([dataset[0]])
    cameras = tuple(name.lower() for name in card.cameras)
    snapshot = snapshot_of_sample(nusc, batch.tokens[0], cameras)
    expected = detector.detect(snapshot, score_threshold=0.09)
    with torch.inference_mode():
        heads = heads_of(network, PixelNorm(card)(batch.images), batch)
    (actual,) = detections_of_batch(heads, card, [snapshot.stamp_ns], 0.09)
    assert len(expected) > 50
    assert abs(len(actual) - len(expected)) <= 2
    np.testing.assert_allclose(actual.scores[:50], expected.scores[:50], atol=2e-4)
    distances = np.linalg.norm(actual.centers_m[:, None] - expected.centers_m[None], axis=-1)
    assert np.quantile(distances.min(0), 0.95) < 1e-2


def test_ground_truth_as_records_scores_one(dataset, tmp_path):
    maker = RecordMaker(dataset)
    records = {}
    for sample in dataset.samples:
        token = str(dataset.index.tokens[sample])
        boxes = dataset.boxes_of(int(sample))
        boxes = transform_detections(np.eye(4), boxes, EGO_FRAME)
        global_from_ego = dataset.global_from_ego(int(sample))
        sample_from_global = inverse(pose_matrix(dataset.index.poses[sample, LIDAR]))
        records[token] = records_from_detections(
            boxes,
            token,
            global_from_frame=global_from_ego,
            ego_from_frame=sample_from_global @ global_from_ego,
        )
    for own in records.values():
        for record in own:
            record["velocity"] = np.nan_to_num(record["velocity"]).tolist()
    nusc = load_nuscenes(dataset.dataroot, VERSION)
    metrics = score_records(records, maker.tokens, nusc=nusc, folder=tmp_path, role="student")
    assert metrics["mAP_of_present_classes"] == pytest.approx(1.0, abs=0.02)


def test_teachers_submission_says_that_it_used_lidar(teacher_run, tmp_path):
    metrics = evaluate_model(teacher_run, out=tmp_path)
    assert 0 <= metrics["mAP"] <= 1
    assert json.loads((tmp_path / "results_nusc.json").read_text())["meta"]["use_lidar"] is True


def test_an_evaluation_leaves_a_page_with_its_scores_and_boxes(teacher_run, tmp_path):
    metrics = evaluate_model(teacher_run, out=tmp_path, threshold=0.05, report=True)

    text = (tmp_path / "report.html").read_text()
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics
    assert f'data-metric="NDS" data-value="{metrics["NDS"]!r}"' in text
    assert "offline mode" in text
    results = json.loads((tmp_path / "results_nusc.json").read_text())["results"]
    viewer = re.search(r'id="viewer-data">(.*?)</script>', text)[1]
    frames = json.loads(viewer.replace("<\\/", "</"))["frames"]
    rows = 17 * 4  # float32 columns of a box
    drawn = {f["token"]: len(base64.b64decode(f["predictions"])) // rows for f in frames}
    assert drawn == {token: len(boxes) for token, boxes in results.items()}
    assert sum(drawn.values()) > 0
    # And the page can be written again, or compared, from the folder alone.
    assert write_report(tmp_path).read_text() == text


def test_samples_without_answer_count_as_empty(dataset, tmp_path):
    nusc = load_nuscenes(dataset.dataroot, VERSION)
    tokens = RecordMaker(dataset).tokens
    metrics = score_records({}, tokens, nusc=nusc, folder=tmp_path, role="student")
    assert metrics["mAP"] == 0.0


def test_package_needs_to_be_told_the_data(tmp_path):
    tiny = Path(__file__).resolve().parents[3] / "models" / "tiny"
    with pytest.raises(ValueError, match="give --dataroot"):
        evaluate_model(tiny, out=tmp_path)
