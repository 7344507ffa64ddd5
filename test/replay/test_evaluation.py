# SPDX-License-Identifier: Apache-2.0
import json
from dataclasses import replace

import numpy as np
import pytest
from nuscenes.nuscenes import NuScenes

from simdistill_ros.replay.evaluation import evaluate_submission
from simdistill_ros.replay.nuscenes_reader import ground_truths_of_sample, poses_of_scene
from simdistill_ros.replay.report import format_report
from simdistill_ros.replay.submission import records_from_detections, write_submission

TOKENS = ["sample_0", "sample_1", "sample_2"]


def submission_of_ground_truth(nusc, path, change=lambda boxes: boxes, tokens=TOKENS):
    poses = poses_of_scene(nusc, "scene-0001")
    results = {}
    for token in tokens:
        boxes = change(ground_truths_of_sample(nusc, token, poses))
        results[token] = records_from_detections(
            boxes,
            token,
            global_from_frame=poses.at(boxes.stamp_ns),
            ego_from_frame=np.eye(4),
        )
    write_submission(path, results)
    return path


def test_ground_truth_scores_one_in_the_classes_that_are_there(tiny_nusc, tmp_path):
    path = submission_of_ground_truth(tiny_nusc, tmp_path / "r.json")
    scores = evaluate_submission(tiny_nusc, path, TOKENS, tmp_path / "evaluation")
    assert scores["mAP_of_present_classes"] == pytest.approx(1.0)
    assert scores["mAP"] == pytest.approx(0.2)
    assert scores["ground_truths"] == {"car": 3, "pedestrian": 3}
    for name in ("car", "pedestrian"):
        errors = scores["per_class"][name]
        for error in ("ATE", "ASE", "AOE", "AVE", "AAE"):
            assert errors[error] == pytest.approx(0.0, abs=1e-6)
    assert scores["per_class"]["traffic_cone"]["AOE"] is None


def test_boxes_half_a_metre_off_have_that_translation_error(tiny_nusc, tmp_path):
    def shift(boxes):
        return replace(boxes, centers_m=boxes.centers_m + np.array([0.5, 0.0, 0.0]))

    path = submission_of_ground_truth(tiny_nusc, tmp_path / "r.json", shift)
    scores = evaluate_submission(tiny_nusc, path, TOKENS, tmp_path / "evaluation")
    assert scores["per_class"]["car"]["ATE"] == pytest.approx(0.5, abs=1e-6)


def test_submission_without_a_box_scores_zero(tiny_nusc, tmp_path):
    write_submission(tmp_path / "r.json", {token: [] for token in TOKENS})
    scores = evaluate_submission(tiny_nusc, tmp_path / "r.json", TOKENS, tmp_path / "evaluation")
    assert (scores["mAP"], scores["NDS"], scores["mATE"]) == (0.0, 0.0, 1.0)
    assert scores["per_class"]["barrier"]["AVE"] is None


def test_only_the_named_samples_count(tiny_nusc, tmp_path):
    path = submission_of_ground_truth(tiny_nusc, tmp_path / "r.json", tokens=TOKENS[:1])
    scores = evaluate_submission(tiny_nusc, path, TOKENS[:1], tmp_path / "evaluation")
    assert scores["ground_truths"] == {"car": 1, "pedestrian": 1}
    assert scores["mAP_of_present_classes"] == pytest.approx(1.0)


def test_overlay_is_a_dataroot_with_the_split_and_leaves_the_original_alone(tiny_nusc, tmp_path):
    path = submission_of_ground_truth(tiny_nusc, tmp_path / "r.json")
    for _ in range(2):
        evaluate_submission(tiny_nusc, path, TOKENS, tmp_path / "evaluation")
    overlay = tmp_path / "evaluation" / "dataroot"
    splits = json.loads((overlay / "v1.0-tiny" / "splits.json").read_text())
    assert splits == {"replayed": ["scene-0001"]}
    assert len(NuScenes("v1.0-tiny", str(overlay), verbose=False).sample) == 3
    assert not (tmp_path / tiny_nusc.dataroot / "v1.0-tiny" / "splits.json").exists()


def test_report_says_when_weights_are_untrained_and_which_classes_are_absent(tiny_nusc, tmp_path):
    path = submission_of_ground_truth(tiny_nusc, tmp_path / "r.json")
    scores = evaluate_submission(tiny_nusc, path, TOKENS, tmp_path / "evaluation")
    run = {"detector": "model tiny", "weights": "untrained", "mode": "step", "input": "raw"}
    facts = {"samples": 3, "answered": 2, "lost": ["a"], "republished": 1, "latency_ms": {}}
    text = format_report({**scores, **facts, "run": {**run, "scenes": ["scene-0001"]}})
    assert "NO TRAINED WEIGHTS" in text
    assert "answered 2, lost 1, sent again 1" in text
    assert "counted as AP 0: " in text
