# SPDX-License-Identifier: Apache-2.0
"""Detections of bags: those of the node's detector, the same by one process and by two."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

for _needed in ("embreex", "nuscenes", "rclpy", "torch"):
    pytest.importorskip(_needed)

from simdistill_ros.detect.cli import main
from simdistill_ros.detect.job import DetectJob
from simdistill_ros.load_detector import detector_of_model
from simdistill_ros.replay.bag_storage import Bag, BagWriter, bag_typestore
from simdistill_ros.replay.nuscenes_reader import (
    load_nuscenes,
    samples_of_scene,
    snapshot_of_sample,
)
from simdistill_ros.replay.nuscenes_to_bag import BagOptions, write_bags
from simdistill_ros.scenes.config import GeneratorConfig
from simdistill_ros.scenes.generate import generate_dataroot

VERSION = "v1.0-mini"
THRESHOLD = 0.09


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two generated scenes of three keyframes: DATA, bags/ and the node's parameters."""
    folder = tmp_path_factory.mktemp("drives")
    sizes = {"scenes": 2, "val_scenes": 1, "width": 320, "height": 180, "duration_s": 1.0}
    generate_dataroot(
        GeneratorConfig(
            out=folder / "DATA", antialias="none", version=VERSION, sweeps="none", **sizes
        )
    )
    nusc = load_nuscenes(folder / "DATA", VERSION)
    write_bags(nusc, [s["name"] for s in nusc.scene], folder / "bags", BagOptions(lidar=False))
    (folder / "rig.yaml").write_text(
        "detector:\n  ros__parameters:\n    fixed_frame: map\n    max_detections: 500\n"
        f"    score_threshold: {THRESHOLD}\n"
    )
    return folder


def detect(place: Path, out: Path, *more: str) -> int:
    bags, rig = str(place / "bags"), str(place / "rig.yaml")
    return main([bags, "--params", rig, "--out", str(out), "--threads", "1", *more])


@pytest.fixture(scope="module")
def alone(place: Path) -> Path:
    assert detect(place, place / "alone") == 0
    return place / "alone"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_boxes_are_those_of_the_detector_on_the_same_images(place: Path, alone: Path) -> None:
    nusc = load_nuscenes(place / "DATA", VERSION)
    detector = detector_of_model("")
    for scene in nusc.scene:
        lines = (alone / f"{scene['name']}.jsonl").read_text().splitlines()
        frames = [json.loads(line) for line in lines]
        samples = samples_of_scene(nusc, scene["name"])
        assert len(frames) == len(samples) == 3
        for frame, sample in zip(frames, samples, strict=True):
            snapshot = snapshot_of_sample(nusc, sample.token, detector.cameras)
            expected = detector.detect(snapshot, score_threshold=THRESHOLD)
            assert frame["stamp_ns"] == expected.stamp_ns
            assert (frame["frame"], frame["missing_cameras"]) == ("base_link", [])
            assert len(expected) > 20
            assert [box["class"] for box in frame["boxes"]] == expected.names()[:500]
            centers = np.array([box["center_m"] for box in frame["boxes"]])
            np.testing.assert_allclose(centers, expected.centers_m[:500], atol=1e-3)


def test_two_processes_write_the_bytes_of_one(place: Path, alone: Path, tmp_path: Path) -> None:
    assert detect(place, tmp_path / "together", "--processes", "2") == 0
    expected = contents(alone)
    assert len(expected) == 3
    assert contents(tmp_path / "together") == expected


def test_the_summary_is_for_programs_too(alone: Path) -> None:
    summary = json.loads((alone / "summary.json").read_text())
    assert [one["snapshots"] for one in summary.values()] == [3, 3]
    assert all(one["boxes"] > 60 and one["faults"] == {} for one in summary.values())


def test_a_camera_that_is_not_recorded_is_named_with_what_there_is(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rig = tmp_path / "rig.yaml"
    topic = "cameras.cam_back.image_topic: /rear/image"
    rig.write_text(f"detector:\n  ros__parameters:\n    {topic}\n")
    arguments = [str(place / "bags"), "--params", str(rig), "--out", str(tmp_path / "out")]
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert "no topic /rear/image; its images are on /cam_back/image_rect_compressed," in said
    assert "--params" in said


def test_raw_images_are_not_taken_for_compressed_ones(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rig = tmp_path / "rig.yaml"
    cameras = "\n".join(
        f"    cameras.{name}.image_topic: /{name}/image_rect_compressed"
        for name in detector_of_model("").cameras
    )
    rig.write_text(f"detector:\n  ros__parameters:\n    input.compressed: false\n{cameras}\n")
    arguments = [str(place / "bags"), "--params", str(rig), "--out", str(tmp_path / "out")]
    assert main(arguments) == 2
    assert "expected sensor_msgs/msg/Image; set input.compressed" in capsys.readouterr().err


def test_a_bag_without_transforms_has_no_boxes_but_a_reason_and_status_one(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = Bag(sorted((place / "bags").iterdir())[0].resolve())
    with BagWriter(tmp_path / "bare", bag_typestore()) as bag:
        for message in source.messages():
            if not message.topic.startswith(("/tf", "/nuscenes")):
                kind = source.topics[message.topic].type_name
                bag.write_bytes(message.topic, kind, message.stamp_ns, message.data)
    assert main([str(tmp_path / "bare"), "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().out
    assert said.startswith("bare: 0 snapshots, 0 boxes; cam_")
    assert (tmp_path / "out" / "bare.jsonl").read_text() == ""


def test_an_unknown_parameter_is_refused(place: Path, tmp_path: Path) -> None:
    rig = tmp_path / "rig.yaml"
    rig.write_text("detector:\n  ros__parameters:\n    scor_threshold: 0.1\n")
    with pytest.raises(ValueError, match="no such parameter: scor_threshold"):
        DetectJob((place / "bags",), (rig,)).open(0)


def test_other_parameters_or_bags_are_other_inputs(place: Path) -> None:
    job = DetectJob((place / "bags",), (place / "rig.yaml",))
    inputs = job.open(None).inputs
    assert job.open(None).inputs == inputs
    one_bag = sorted((place / "bags").iterdir())[:1]
    for other in (
        replace(job, settings=(("score_threshold", 0.2),)),
        replace(job, params=()),
        replace(job, bags=tuple(one_bag)),
    ):
        assert other.open(None).inputs != inputs
