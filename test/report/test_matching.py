# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from nuscenes.eval.common.config import config_factory
from nuscenes.eval.common.loaders import load_gt_of_sample_tokens
from nuscenes.eval.detection.data_classes import DetectionBox

from simdistill_ros.core.boxes import NUSCENES_CLASSES
from simdistill_ros.replay.evaluation import CONFIG
from simdistill_ros.report.matching import best_cut, is_found, match, mistaken_classes
from simdistill_ros.report.run_data import load_run
from simdistill_ros.report.scored_boxes import ScoredBoxes

CAR, TRUCK = 0, 1


def boxes(*rows, counted=None):
    """Boxes from (x, label, score)."""
    count = len(rows)
    table = np.array(rows, dtype=float).reshape(-1, 3)
    return ScoredBoxes(
        centers_m=table[:, [0]] * [1.0, 0.0, 0.0],
        sizes_lwh_m=np.ones((count, 3)),
        rotations_wxyz=np.tile([1.0, 0.0, 0.0, 0.0], (count, 1)),
        velocities_mps=np.zeros((count, 2)),
        scores=table[:, 2],
        labels=table[:, 1].astype(np.int64),
        distances_m=np.abs(table[:, 0]),
        visibilities=np.full(count, 4),
        counted=np.ones(count, bool) if counted is None else np.array(counted),
    )


def test_the_best_score_takes_the_nearest_object_first():
    submitted = boxes((0.9, CAR, 0.5), (1.5, CAR, 0.9), (0.1, CAR, 0.4))
    matching = match(submitted, boxes((0.0, CAR, 1), (1.0, CAR, 1)))
    assert matching.truth_of_box.tolist() == [0, 1, -1]
    assert matching.box_of_truth.tolist() == [0, 1]


def test_two_metres_are_too_far_and_other_classes_do_not_match():
    submitted = boxes((2.0, CAR, 0.5), (0.0, TRUCK, 0.9))
    assert match(submitted, boxes((0.0, CAR, 1))).box_of_truth.tolist() == [-1]


def test_boxes_and_objects_that_do_not_count_take_no_part():
    one = boxes((0.0, CAR, 0.5))
    assert match(boxes((0.0, CAR, 1), counted=[False]), one).box_of_truth.tolist() == [-1]
    assert match(one, boxes((0.0, CAR, 1), counted=[False])).truth_of_box.tolist() == [-1]


def test_nothing_submitted_and_nothing_there_are_no_errors():
    assert match(boxes(), boxes((0.0, CAR, 1))).box_of_truth.tolist() == [-1]
    assert match(boxes((0.0, CAR, 1)), boxes()).truth_of_box.tolist() == [-1]


def test_an_object_is_found_only_above_the_cut():
    submitted, truths = boxes((0.0, CAR, 0.5)), boxes((0.0, CAR, 1), (9.0, CAR, 1))
    matching = match(submitted, truths)
    assert is_found(submitted, matching, 0.5).tolist() == [True, False]
    assert is_found(submitted, matching, 0.6).tolist() == [False, False]


def test_a_missed_car_with_a_truck_on_it_was_taken_for_a_truck():
    submitted = boxes((0.5, TRUCK, 0.8), (20.0, CAR, 0.7))
    truths = boxes((0.0, CAR, 1), (20.0, CAR, 1), (40.0, CAR, 1))
    matching = match(submitted, truths)
    assert mistaken_classes(submitted, truths, matching, 0.1).tolist() == [TRUCK, CAR, -1]
    assert mistaken_classes(submitted, truths, matching, 0.75).tolist() == [TRUCK, -1, -1]


def test_the_best_cut_keeps_right_boxes_and_leaves_wrong_ones_out():
    scores = np.array([0.9, 0.8, 0.3, 0.2])
    assert best_cut(scores, np.array([True, True, False, False]), 3) == 0.8
    assert best_cut(scores, np.zeros(4, bool), 3) is None


def test_as_many_objects_are_found_as_the_devkit_finds(run_folder, nusc):
    run = load_run(run_folder, nusc)
    for label, name in enumerate(NUSCENES_CLASSES):
        objects = sum(int((t.counted & (t.labels == label)).sum()) for t in run.truths.values())
        assert objects == run.metrics["ground_truths"].get(name, 0), name
        submitted = sum(int((b.counted & (b.labels == label)).sum()) for b in run.boxes.values())
        assert submitted == run.metrics["predictions"].get(name, 0), name
        if not objects:
            continue
        found = sum(
            int(((matching.box_of_truth >= 0) & (run.truths[token].labels == label)).sum())
            for token, matching in run.matchings.items()
        )
        confidences = np.array(run.curves[f"{name}:2.0"]["confidence"])
        reached = np.flatnonzero(confidences)[-1] if confidences.any() else 0
        assert int(found / objects * 100 + 1e-9) == pytest.approx(reached, abs=1), name


def test_visibilities_are_those_of_the_annotations(run_folder, nusc):
    run = load_run(run_folder, nusc)
    token = run.samples[0].token
    devkit = load_gt_of_sample_tokens(nusc, [token], DetectionBox)[token]
    annotations = [
        nusc.get("sample_annotation", annotation)
        for annotation in nusc.get("sample", token)["anns"]
    ]
    by_place = {tuple(a["translation"]): int(a["visibility_token"]) for a in annotations}
    levels = [by_place[tuple(box.translation)] for box in devkit]
    assert run.truths[token].visibilities.tolist() == levels
    assert len(set(levels)) > 1
    assert config_factory(CONFIG).dist_th_tp == 2.0
