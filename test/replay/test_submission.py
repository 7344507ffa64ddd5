# SPDX-License-Identifier: Apache-2.0
import json
import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from simdistill_ros.core.boxes import NUSCENES_CLASSES, Detections
from simdistill_ros.core.frames import rigid, rotation_about_z, rotation_from_quaternion
from simdistill_ros.replay.submission import (
    CLASS_RANGE_M,
    MAX_BOXES_PER_SAMPLE,
    attribute_of,
    records_from_detections,
    write_submission,
)

REFERENCE = Path(
    os.environ.get(
        "SIMDISTILL_REFERENCE_DIR", Path(__file__).parents[2].parent / "shared" / "reference"
    )
)
FIXTURES = sorted(REFERENCE.glob("12_nuscenes_submission*.safetensors"))
IDENTITY = np.eye(4)


def one_box(name="car", center=(10.0, 0.0, 1.0), **changes):
    box = Detections(
        frame="base_link",
        stamp_ns=1,
        centers_m=np.array([center]),
        sizes_lwh_m=np.array([[4.0, 2.0, 1.5]]),
        yaws_rad=np.zeros(1),
        velocities_mps=np.array([[3.0, 0.0]]),
        scores=np.array([0.75]),
        labels=np.array([NUSCENES_CLASSES.index(name)]),
        class_names=NUSCENES_CLASSES,
    )
    return replace(box, **changes)


def repeated(box, count, scores):
    return replace(box.select(np.zeros(count, dtype=np.int64)), scores=np.asarray(scores))


def records(detections, global_from_frame=IDENTITY, ego_from_frame=IDENTITY):
    return records_from_detections(
        detections, "token", global_from_frame=global_from_frame, ego_from_frame=ego_from_frame
    )


def test_box_ahead_of_a_car_that_faces_north_lies_north_of_it():
    global_from_ego = rigid(rotation_about_z(math.pi / 2), [100.0, 200.0, 0.5])
    (record,) = records(one_box(), global_from_ego)
    np.testing.assert_allclose(record["translation"], [100.0, 210.0, 1.5], atol=1e-9)
    np.testing.assert_allclose(record["velocity"], [0.0, 3.0], atol=1e-9)
    half = math.sqrt(0.5)
    np.testing.assert_allclose(record["rotation"], [half, 0.0, 0.0, half], atol=1e-9)


def test_size_is_converted_from_lwh_to_wlh():
    assert records(one_box())[0]["size"] == [2.0, 4.0, 1.5]


def test_record_names_sample_class_score_and_attribute():
    (record,) = records(one_box("bus"))
    assert record["sample_token"] == "token"
    assert record["detection_name"] == "bus"
    assert record["detection_score"] == 0.75
    assert record["attribute_name"] == "vehicle.moving"


def test_tilt_of_the_vehicle_goes_into_the_rotation():
    pitch = rotation_from_quaternion([math.cos(0.05), 0.0, math.sin(0.05), 0.0])
    (record,) = records(one_box(), rigid(pitch, [0.0, 0.0, 0.0]))
    np.testing.assert_allclose(
        record["rotation"], [math.cos(0.05), 0, math.sin(0.05), 0], atol=1e-12
    )


@pytest.mark.parametrize(("name", "range_m"), CLASS_RANGE_M.items())
def test_box_beyond_its_class_range_is_left_out(name, range_m):
    assert len(records(one_box(name, (range_m - 0.1, 0.0, 0.0)))) == 1
    assert len(records(one_box(name, (range_m + 0.1, 0.0, 0.0)))) == 0


def test_range_is_measured_from_the_vehicle_and_not_from_the_frame_of_the_boxes():
    ego_from_lidar = rigid(np.eye(3), [-1.0, 0.0, 0.0])
    far = one_box(center=(50.5, 0.0, 0.0))
    assert len(records(far, ego_from_frame=ego_from_lidar)) == 1
    assert len(records(far)) == 0


def test_only_the_best_five_hundred_boxes_are_kept_best_first():
    scores = np.random.default_rng(0).permutation(600) / 600
    kept = [r["detection_score"] for r in records(repeated(one_box(), 600, scores))]
    assert kept == sorted(scores, reverse=True)[:MAX_BOXES_PER_SAMPLE]


def test_distant_boxes_do_not_use_up_the_five_hundred():
    near, far = one_box(), one_box(center=(80.0, 0.0, 0.0))
    centers = np.concatenate([np.repeat(far.centers_m, 500, 0), near.centers_m])
    boxes = replace(repeated(near, 501, [0.9] * 500 + [0.1]), centers_m=centers)
    assert [r["detection_score"] for r in records(boxes)] == [0.1]


@pytest.mark.parametrize(
    ("name", "speed", "attribute"),
    [
        ("car", 0.2, "vehicle.parked"),
        ("car", 0.21, "vehicle.moving"),
        ("bus", 0.0, "vehicle.stopped"),
        ("trailer", 1.0, "vehicle.moving"),
        ("construction_vehicle", 0.1, "vehicle.parked"),
        ("bicycle", 3.0, "cycle.with_rider"),
        ("motorcycle", 0.0, "cycle.without_rider"),
        ("pedestrian", 0.1, "pedestrian.standing"),
        ("pedestrian", 1.0, "pedestrian.moving"),
        ("barrier", 1.0, ""),
        ("traffic_cone", 0.0, ""),
    ],
)
def test_attribute_follows_from_class_and_speed(name, speed, attribute):
    assert attribute_of(name, speed) == attribute


def test_class_outside_the_benchmark_is_refused_by_name():
    tram = one_box(class_names=("tram",), labels=np.array([0]))
    with pytest.raises(ValueError, match="tram"):
        records(tram)


def test_submission_declares_cameras_as_the_only_input(tmp_path):
    write_submission(tmp_path / "out" / "r.json", {"token": []})
    submission = json.loads((tmp_path / "out" / "r.json").read_text())
    assert submission["results"] == {"token": []}
    assert [key for key, used in submission["meta"].items() if used] == ["use_camera"]


@pytest.mark.skipif(not FIXTURES, reason=f"no 12_nuscenes_submission fixtures in {REFERENCE}")
@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
def test_reference_records_are_reproduced(path):
    tensors = load_file(path)
    facts = json.loads(path.with_suffix(".json").read_text())
    for index, info in enumerate(facts["infos_float64"]):
        expected = facts["records_float64"][info["token"]]
        boxes = detections_of_reference(tensors, index, tuple(facts["config"]["class_names"]))
        ego_from_lidar = rigid(
            rotation_from_quaternion(info["lidar2ego_rotation"]), info["lidar2ego_translation"]
        )
        global_from_ego = rigid(
            rotation_from_quaternion(info["ego2global_rotation"]), info["ego2global_translation"]
        )
        ours = records_from_detections(
            boxes,
            info["token"],
            global_from_frame=global_from_ego @ ego_from_lidar,
            ego_from_frame=ego_from_lidar,
        )
        assert len(ours) == len(expected) > 0
        expected = sorted(expected, key=lambda record: -record["detection_score"])
        for mine, theirs in zip(ours, expected, strict=True):
            assert_same_record(mine, theirs)


def detections_of_reference(tensors, index, class_names):
    """The fixture's boxes: bottom centre, (w, l, h), yaw turned and mirrored, lidar frame."""
    boxes = tensors[f"input.{index}.boxes"].astype(np.float64)
    centers = boxes[:, :3].copy()
    centers[:, 2] += boxes[:, 5] / 2
    return Detections(
        frame="lidar",
        stamp_ns=0,
        centers_m=centers,
        sizes_lwh_m=boxes[:, [4, 3, 5]],
        yaws_rad=-boxes[:, 6] - np.pi / 2,
        velocities_mps=boxes[:, 7:9],
        scores=tensors[f"input.{index}.scores"].astype(np.float64),
        labels=tensors[f"input.{index}.labels"].astype(np.int64),
        class_names=class_names,
    )


def assert_same_record(mine, theirs):
    for key in ("sample_token", "detection_name", "attribute_name"):
        assert mine[key] == theirs[key]
    assert mine["detection_score"] == pytest.approx(theirs["detection_score"], abs=1e-9)
    for key, tolerance in (("translation", 1e-6), ("size", 1e-9), ("velocity", 1e-6)):
        np.testing.assert_allclose(mine[key], theirs[key], atol=tolerance)
    # A quaternion and its negative are the same rotation.
    alignment = abs(np.dot(mine["rotation"], theirs["rotation"]))
    assert alignment == pytest.approx(1.0, abs=1e-9)
