# SPDX-License-Identifier: Apache-2.0
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from noisy_run import Noise, write_noisy_run
from nuscenes.utils.data_classes import Box
from nuscenes.utils.geometry_utils import view_points
from page_reader import metric_values, table, viewer_data
from pyquaternion import Quaternion

from simdistill_ros.replay.evaluation import DETAILS, SUMMARY
from simdistill_ros.replay.nuscenes_reader import load_nuscenes
from simdistill_ros.replay.submission import write_submission
from simdistill_ros.report.breakdown import NOTHING, RunGroups, confusions, total
from simdistill_ros.report.page import write_report
from simdistill_ros.report.run_data import load_run
from simdistill_ros.report.viewer_data import frames_to_show


def devkit_pixels(nusc, frame, camera, record):
    """(8, 2) pixels of a submitted box in the thumbnail, the devkit's way, or None behind."""
    channel = frame["cameras"][camera]["name"].upper()
    data = nusc.get("sample_data", nusc.get("sample", frame["token"])["data"][channel])
    pose = nusc.get("ego_pose", data["ego_pose_token"])
    mounting = nusc.get("calibrated_sensor", data["calibrated_sensor_token"])
    box = Box(record["translation"], record["size"], Quaternion(record["rotation"]))
    for step in (pose, mounting):
        box.translate(-np.array(step["translation"]))
        box.rotate(Quaternion(step["rotation"]).inverse)
    corners = box.corners()
    if corners[2].min() < 0.5:
        return None
    pixels = view_points(corners, np.array(mounting["camera_intrinsic"]), normalize=True)[:2].T
    scale = frame["cameras"][camera]["width"] / data["width"]
    # The devkit's corners: 0..3 front, clockwise from top left; ours: bottom face, then top.
    return ((pixels + 0.5) * scale - 0.5)[[3, 7, 6, 2, 0, 4, 5, 1]]


def page_pixels(frame, camera, boxes, index):
    """(8, 2) pixels of a box by what the page holds alone."""
    box = {name: column[index] for name, column in boxes.items()}
    rotation = Quaternion([box["qw"], box["qx"], box["qy"], box["qz"]]).rotation_matrix
    signs = [[1, 1], [-1, 1], [-1, -1], [1, -1]]
    unit = np.array([[*xy, z] for z in (-1, 1) for xy in signs]) / 2
    corners = (unit * [box["length"], box["width"], box["height"]]) @ rotation.T
    corners = corners + np.array([box["x"], box["y"], box["z"]])
    matrix = np.array(frame["cameras"][camera]["imageFromLocal"]).reshape(3, 4)
    pixels = corners @ matrix[:, :3].T + matrix[:, 3]
    return pixels[:, :2] / pixels[:, 2:]


def test_every_score_in_the_page_is_that_of_metrics_json_and_of_the_devkit(page, run_folder):
    metrics = json.loads((run_folder / "metrics.json").read_text())
    devkit = json.loads((run_folder / "evaluation" / SUMMARY).read_text())
    shown = metric_values(page)
    expected = {name: metrics[name] for name in ("mAP", "NDS", "mATE", "mASE", "mAOE", "mAVE")}
    expected["mAAE"] = metrics["mAAE"]
    for name, scores in metrics["per_class"].items():
        expected |= {f"{name}.{k}": v for k, v in scores.items() if v is not None}
    assert shown == expected
    assert (shown["mAP"], shown["NDS"]) == (devkit["mean_ap"], devkit["nd_score"])
    assert shown["car.AP"] == devkit["mean_dist_aps"]["car"]
    assert 0.2 < shown["mAP"] < 0.9


def test_the_page_needs_no_network(page):
    text = page.read_text()
    assert "default-src 'none'" in text
    for attribute, value in re.findall(r"\b(src|href)=[\"']([^\"']*)", text):
        assert value.startswith(("#", "data:")), (attribute, value[:80])
    assert not re.findall(r"url\((?!#)", text)
    assert not re.findall(r"https?://(?!www\.w3\.org)", text)


def test_the_boxes_in_the_page_are_the_submitted_ones(page, run_folder, nusc):
    results = json.loads((run_folder / "results_nusc.json").read_text())["results"]
    data = viewer_data(page)
    assert [frame["token"] for frame in data["frames"]] == list(results)
    for frame in data["frames"]:
        boxes = table(frame["predictions"], data["predictionColumns"])
        records = results[frame["token"]]
        lidar = nusc.get("sample", frame["token"])["data"]["LIDAR_TOP"]
        pose = nusc.get("ego_pose", nusc.get("sample_data", lidar)["ego_pose_token"])
        centers = np.stack([boxes["x"], boxes["y"], boxes["z"]], axis=1) + pose["translation"]
        assert centers == pytest.approx(np.array([r["translation"] for r in records]), abs=1e-4)
        assert boxes["score"] == pytest.approx([r["detection_score"] for r in records], abs=1e-6)
        names = [data["classes"][int(label)]["name"] for label in boxes["label"]]
        assert names == [r["detection_name"] for r in records]
        velocities = np.stack([boxes["vx"], boxes["vy"]], axis=1)
        assert velocities == pytest.approx(np.array([r["velocity"] for r in records]), abs=1e-5)


def test_boxes_are_drawn_where_the_devkit_projects_the_submitted_ones(page, run_folder, nusc):
    results = json.loads((run_folder / "results_nusc.json").read_text())["results"]
    data = viewer_data(page)
    compared = 0
    for frame in data["frames"]:
        boxes = table(frame["predictions"], data["predictionColumns"])
        for index, record in enumerate(results[frame["token"]]):
            for camera in range(6):
                expected = devkit_pixels(nusc, frame, camera, record)
                if expected is not None:
                    drawn = page_pixels(frame, camera, boxes, index)
                    assert drawn == pytest.approx(expected, rel=1e-4, abs=0.02)
                    compared += 1
    assert compared > 100


def test_groups_add_up_to_all_objects_and_boxes(run_folder, nusc):
    run = load_run(run_folder, nusc)
    groups = RunGroups.of(run)
    objects = sum(run.metrics["ground_truths"].values())
    assert {total(g).objects for g in (groups.by_distance, groups.by_visibility)} == {objects}
    all_ = total(groups.by_class)
    assert all_.objects == objects
    shown = sum(int((b.counted & (b.scores >= run.cut)).sum()) for b in run.boxes.values())
    assert all_.found + all_.false == shown
    assert (all_.found, all_.false) == (total(groups.by_distance).found, all_.false)
    assert 0.4 < all_.recall < 0.99
    assert all_.mistaken > 0


def test_confusion_has_found_objects_on_its_diagonal(run_folder, nusc):
    run = load_run(run_folder, nusc)
    counts, all_ = confusions(run)["all"], total(RunGroups.of(run).by_class)
    assert np.trace(counts[:NOTHING, :NOTHING]) == all_.found
    assert counts[:NOTHING, NOTHING].sum() == all_.missed
    assert counts[NOTHING].sum() == all_.false
    assert counts[:NOTHING].sum() == all_.objects


def test_confusion_by_distance_and_by_visibility_adds_up_to_that_of_all(run_folder, nusc):
    run = load_run(run_folder, nusc)
    matrices = confusions(run)
    all_ = matrices.pop("all")
    by_distance = sum(counts for name, counts in matrices.items() if name.endswith(" m"))
    by_visibility = sum(counts for name, counts in matrices.items() if name.endswith("visible"))
    assert (by_distance == all_).all()
    assert (by_visibility[:NOTHING] == all_[:NOTHING]).all()
    assert not by_visibility[NOTHING].any()
    assert len(matrices) >= 5
    for group in RunGroups.of(run).by_distance:
        if group.objects:
            assert np.trace(matrices[group.name][:NOTHING, :NOTHING]) == group.found


def test_the_page_is_written_without_ros_and_without_torch():
    absent = ["rclpy", "sensor_msgs", "vision_msgs", "rosbags"]
    program = f"import sys; sys.modules.update(dict.fromkeys({absent}))\n"
    program += "import simdistill_ros.report.cli, simdistill_ros.replay.machine\n"
    program += "assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[2])


def test_a_run_without_a_box_has_a_page_too(run_folder, nusc, tmp_path):
    tokens = [sample["token"] for sample in nusc.sample]
    write_submission(tmp_path / "results_nusc.json", {token: [] for token in tokens})
    metrics = json.loads((run_folder / "metrics.json").read_text())
    metrics |= {"latency_ms": {}, "stages_ms": {}, "lost": tokens, "answered": 0}
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    (tmp_path / "evaluation").mkdir()
    text = write_report(tmp_path, nusc).read_text()
    assert "No boxes were submitted" in text
    assert f"{len(tokens)} frames were never answered" in text


def test_a_long_run_shows_its_worst_frames_and_some_of_all(run_folder, nusc):
    run = load_run(run_folder, nusc)
    shown = frames_to_show(run, 3)
    assert len(shown) == 3
    assert shown == sorted(shown, key=lambda sample: sample.stamp_ns)
    assert shown[0] == run.samples[0]
    assert frames_to_show(run, 99) == run.samples


def test_an_old_run_is_scored_again_for_its_curves(run_folder, nusc):
    details = run_folder / "evaluation" / DETAILS
    before = json.loads(details.read_text())
    details.unlink()
    assert load_run(run_folder, nusc).curves == before


def test_all_real_keyframes_fit_a_page_that_opens_quickly(dataroot, tmp_path):
    real = load_nuscenes(dataroot, "v1.0-mini")
    folder = write_noisy_run(real, tmp_path, Noise())
    page = write_report(folder, real)
    assert len(viewer_data(page)["frames"]) == len(real.sample) == 81
    assert page.stat().st_size < 40e6
