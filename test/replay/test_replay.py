# SPDX-License-Identifier: Apache-2.0
"""Whole replays over real DDS: node in a process of its own, bag in, score out."""

from __future__ import annotations

import json

import numpy as np
import pytest

from simdistill_ros.load_detector import detector_of_model
from simdistill_ros.pipeline import best
from simdistill_ros.replay.faults.parse import parse_fault
from simdistill_ros.replay.node_process import DetectorDiedError, dds_environment, running_node
from simdistill_ros.replay.nuscenes_reader import load_nuscenes, snapshot_of_sample
from simdistill_ros.replay.nuscenes_to_bag import BagOptions, write_scene_bag
from simdistill_ros.replay.options import ReplayOptions
from simdistill_ros.replay.replay import main
from simdistill_ros.replay.run import run_replay
from simdistill_ros.replay.session import MAX_DETECTIONS
from simdistill_ros.scenes.config import GeneratorConfig
from simdistill_ros.scenes.generate import generate_dataroot

VERSION = "v1.0-mini"
ERRORS = ("mATE", "mASE", "mAOE", "mAVE")


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    """A second of a generated scene with everything at its full rate, in small pictures."""
    folder = tmp_path_factory.mktemp("generated")
    generate_dataroot(
        GeneratorConfig(
            out=folder,
            scenes=1,
            val_scenes=1,
            width=320,
            height=180,
            duration_s=1.0,
            sweeps="all",
            antialias="none",
            version=VERSION,
        )
    )
    return folder


def test_ground_truth_comes_back_whole_on_all_real_keyframes(dataroot, tmp_path, ros_domain):
    options = ReplayOptions(out=tmp_path, dataroot=dataroot, oracle=True, domain_id=ros_domain)
    metrics = run_replay(options).metrics
    assert (metrics["samples"], metrics["answered"], metrics["lost"]) == (81, 81, [])
    assert metrics["mAP"] == pytest.approx(1.0, abs=5e-4)
    for error in ERRORS:
        assert metrics[error] <= 0.01, error
    assert len(metrics["ground_truths"]) == 10


def test_ground_truth_comes_back_whole_without_compensation_too(dataroot, tmp_path, ros_domain):
    options = ReplayOptions(
        out=tmp_path,
        dataroot=dataroot,
        scenes=("scene-0916",),
        limit=3,
        oracle=True,
        fixed_frame="",
        domain_id=ros_domain,
    )
    assert_ground_truth(run_replay(options).metrics, 3)


def test_ground_truth_comes_back_whole_on_a_generated_scene(generated, tmp_path, ros_domain):
    options = ReplayOptions(
        out=tmp_path,
        dataroot=generated,
        oracle=True,
        streaming_latency_s=0.6,
        domain_id=ros_domain,
    )
    metrics = run_replay(options).metrics
    assert_ground_truth(metrics, 3)
    streaming = metrics["streaming"]  # one keyframe is 0.5 s after the other
    assert (streaming["answered"], streaming["given_latency_s"]) == (1, 0.6)
    assert 950 < streaming["age_ms"]["median"] < 1050
    assert streaming["mAP_of_present_classes"] < 0.8
    assert len(metrics["ground_truths"]) >= 6
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics
    assert (tmp_path / "results_nusc.json").is_file()


def assert_ground_truth(metrics, samples):
    """Classes that have no object here cannot score, so each class that has is looked at."""
    assert (metrics["samples"], metrics["answered"]) == (samples, samples)
    assert metrics["mAP_of_present_classes"] == pytest.approx(1.0, abs=5e-4)
    for name in metrics["ground_truths"]:
        for error in ("ATE", "ASE", "AOE", "AVE"):
            value = metrics["per_class"][name][error]
            assert value is None or value <= 0.01, (name, error)


@pytest.mark.parametrize("kind", ["compressed", "raw"])
def test_online_equals_offline_on_real_frames(dataroot, tmp_path, ros_domain, kind):
    options = ReplayOptions(
        out=tmp_path,
        dataroot=dataroot,
        scenes=("scene-0523",),
        limit=3,
        input=kind,
        domain_id=ros_domain,
    )
    assert_online_equals_offline(options, frames=3)


@pytest.mark.parametrize("kind", ["compressed", "raw"])
def test_online_equals_offline_on_generated_frames(generated, tmp_path, ros_domain, kind):
    options = ReplayOptions(
        out=tmp_path, dataroot=generated, limit=2, input=kind, domain_id=ros_domain
    )
    assert_online_equals_offline(options, frames=2)


def assert_online_equals_offline(options, frames):
    result = run_replay(options)
    assert len(result.answers) == frames
    nusc = load_nuscenes(options.dataroot, VERSION)
    detector = detector_of_model(options.model)
    for token, answer in result.answers.items():
        snapshot = snapshot_of_sample(nusc, token, detector.cameras)
        offline = best(detector.detect(snapshot, options.score_threshold), MAX_DETECTIONS)
        assert len(offline) > 20
        assert_same_boxes(answer.detections, offline)
    detector.close()


def assert_same_boxes(online, offline):
    """Same boxes whatever their order: equal scores may change places."""
    assert (online.frame, online.stamp_ns) == (offline.frame, offline.stamp_ns)
    assert len(online) == len(offline)
    partners = set()
    for index in range(len(online)):
        gaps = np.linalg.norm(offline.centers_m - online.centers_m[index], axis=1)
        gaps[offline.labels != online.labels[index]] = np.inf
        partner = int(np.argmin(gaps))
        partners.add(partner)
        assert gaps[partner] < 1e-3
        assert online.scores[index] == pytest.approx(offline.scores[partner], abs=1e-4)
        for name in ("sizes_lwh_m", "velocities_mps"):
            ours, theirs = getattr(online, name)[index], getattr(offline, name)[partner]
            np.testing.assert_allclose(ours, theirs, atol=1e-3)
        turn = online.yaws_rad[index] - offline.yaws_rad[partner]
        assert np.cos(turn) > 1 - 1e-6
    assert len(partners) == len(offline)


def test_realtime_answers_are_right_and_losses_are_counted(generated, tmp_path, ros_domain):
    options = ReplayOptions(
        out=tmp_path,
        dataroot=generated,
        oracle=True,
        mode="realtime",
        rate=0.5,
        faults=(parse_fault("jitter:max_ms=10"), parse_fault("frame_loss:probability=0.01")),
        domain_id=ros_domain,
    )
    metrics = run_replay(options).metrics
    # Half a second between keyframes has six images of each camera.
    assert metrics["answers_received"] >= 4
    assert metrics["answered"] >= 1
    assert metrics["answered"] + len(metrics["lost"]) == metrics["samples"] == 3
    assert metrics["per_class"]["car"]["ATE"] <= 0.01
    assert metrics["latency_ms"]["median"] > 0
    assert metrics["run"]["faults"] == [
        "jitter:seed=0,cameras=all,max_ms=10.0",
        "frame_loss:seed=0,cameras=all,probability=0.01",
    ]
    # What was there at the keyframes is older than what they were answered with in the end.
    assert 1 <= metrics["streaming"]["answered"] <= 3
    assert metrics["streaming"]["age_ms"]["median"] > 10
    assert metrics["streaming"]["NDS"] < 1.0


def test_detector_that_runs_already_is_played_to(tiny_dataroot, tmp_path, ros_domain):
    arguments = ["--dataroot", str(tiny_dataroot), "--version", "v1.0-tiny", "--ros-args"]
    arguments += ["-r", "__node:=mine", "-p", "fixed_frame:=map"]
    environment = dds_environment(ros_domain)
    with running_node("simdistill_ros.replay.oracle", arguments, environment, tmp_path / "log"):
        options = ReplayOptions(
            out=tmp_path,
            dataroot=tiny_dataroot,
            version="v1.0-tiny",
            external_node="mine",
            domain_id=ros_domain,
        )
        metrics = run_replay(options).metrics
    assert_ground_truth(metrics, 3)


def test_bag_alone_is_replayed_without_a_score(tiny_nusc, tmp_path, ros_domain):
    write_scene_bag(tiny_nusc, "scene-0001", tmp_path / "bag" / "scene-0001", BagOptions())
    alone = ReplayOptions(out=tmp_path / "out", bag=tmp_path / "bag", limit=1, domain_id=ros_domain)
    metrics = run_replay(alone).metrics
    assert (metrics["answered"], metrics["samples"]) == (1, 1)
    assert metrics["run"]["weights"] is not None
    assert "mAP" not in metrics


def test_detector_that_cannot_start_is_reported_with_its_log(tiny_dataroot, tmp_path, ros_domain):
    options = ReplayOptions(
        out=tmp_path,
        dataroot=tiny_dataroot,
        version="v1.0-tiny",
        device="nonsense",
        start_timeout_s=15.0,
        domain_id=ros_domain,
    )
    with pytest.raises(DetectorDiedError, match="nonsense"):
        run_replay(options)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "{out}"], "--dataroot or --bag"),
        (["--out", "{out}", "--bag", "{out}/none"], "rosbag2 folder"),
        (["--out", "{out}", "--dataroot", "{root}", "--version", "v9"], "v1.0-tiny"),
        (["--out", "{out}", "--dataroot", "{root}", "--rate", "0"], "--rate"),
        (["--out", "{out}", "--bag", "{out}", "--oracle"], "--oracle needs"),
    ],
)
def test_unusable_command_line_ends_with_one_clear_line(
    tiny_dataroot, tmp_path, capsys, arguments, message
):
    filled = [a.format(out=tmp_path, root=tiny_dataroot) for a in arguments]
    assert main(filled) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_a_replay_leaves_its_report_unless_told_not_to(generated, tmp_path, ros_domain):
    arguments = ["--dataroot", str(generated), "--version", VERSION, "--oracle", "--limit", "2"]
    arguments += ["--domain-id", str(ros_domain)]
    assert main([*arguments, "--out", str(tmp_path / "with")]) == 0
    text = (tmp_path / "with" / "report.html").read_text()
    metrics = json.loads((tmp_path / "with" / "metrics.json").read_text())
    assert f'data-metric="NDS" data-value="{metrics["NDS"]!r}"' in text
    assert metrics["environment"]["simdistill_ros"] in text
    timing = json.loads((tmp_path / "with" / "timing.json").read_text())
    assert len(timing["latency_ms"]) == 2
    assert main([*arguments, "--out", str(tmp_path / "without"), "--no-report"]) == 0
    assert not (tmp_path / "without" / "report.html").exists()
