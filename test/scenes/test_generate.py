# SPDX-License-Identifier: Apache-2.0
"""The generated dataroot as nuscenes-devkit sees it."""

import hashlib
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simdistill_ros.core.boxes import NUSCENES_CLASSES
from simdistill_ros.scenes.config import GeneratorConfig
from simdistill_ros.scenes.generate import generate_dataroot, main
from simdistill_ros.scenes.rig import CAMERAS
from simdistill_ros.scenes.scene import build_scene
from simdistill_ros.scenes.tables import TABLE_NAMES

KEYFRAMES = 5


def _table(root: Path, name: str) -> list[dict[str, Any]]:
    return json.loads((root / "v1.0-mini" / f"{name}.json").read_text())


def _digests(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_devkit_loads_all_thirteen_tables(nusc: Any) -> None:
    assert len(TABLE_NAMES) == 13
    assert len(nusc.scene) == 2
    assert len(nusc.sample) == 2 * KEYFRAMES
    assert all(len(getattr(nusc, name)) for name in TABLE_NAMES)


def test_every_reference_between_tables_resolves(generated: Path) -> None:
    tables = {name: _table(generated, name) for name in TABLE_NAMES}
    tokens = {name: {row["token"] for row in rows} for name, rows in tables.items()}
    assert all(len(tokens[name]) == len(tables[name]) for name in TABLE_NAMES)
    references = {
        "scene": {"log_token": "log", "first_sample_token": "sample"},
        "sample": {"scene_token": "scene"},
        "sample_data": {
            "sample_token": "sample",
            "ego_pose_token": "ego_pose",
            "calibrated_sensor_token": "calibrated_sensor",
        },
        "calibrated_sensor": {"sensor_token": "sensor"},
        "instance": {
            "category_token": "category",
            "first_annotation_token": "sample_annotation",
            "last_annotation_token": "sample_annotation",
        },
        "sample_annotation": {
            "sample_token": "sample",
            "instance_token": "instance",
            "visibility_token": "visibility",
        },
    }
    for name, columns in references.items():
        for column, target in columns.items():
            assert {row[column] for row in tables[name]} <= tokens[target], (name, column)
    attributes = {t for row in tables["sample_annotation"] for t in row["attribute_tokens"]}
    assert attributes <= tokens["attribute"]
    assert {t for row in tables["map"] for t in row["log_tokens"]} == tokens["log"]


@pytest.mark.parametrize("name", ["sample", "sample_data", "sample_annotation"])
def test_next_and_prev_are_each_others_inverse(generated: Path, name: str) -> None:
    rows = {row["token"]: row for row in _table(generated, name)}
    for token, row in rows.items():
        assert row["next"] == "" or rows[row["next"]]["prev"] == token
        assert row["prev"] == "" or rows[row["prev"]]["next"] == token


def test_sample_data_chains_ascend_in_time_within_one_sensor_and_scene(nusc: Any) -> None:
    heads = [row for row in nusc.sample_data if row["prev"] == ""]
    assert len(heads) == 2 * 7
    for row in heads:
        length = 1
        while row["next"]:
            after = nusc.get("sample_data", row["next"])
            assert after["timestamp"] > row["timestamp"]
            assert after["channel"] == row["channel"]
            row, length = after, length + 1
        expected = KEYFRAMES + 9 * (KEYFRAMES - 1) if row["channel"] == "LIDAR_TOP" else KEYFRAMES
        assert length == expected


def test_every_file_exists_and_has_the_size_in_the_table(nusc: Any, generated: Path) -> None:
    simplejpeg = pytest.importorskip("simplejpeg")
    for row in nusc.sample_data:
        content = (generated / row["filename"]).read_bytes()
        if row["fileformat"] == "jpg":
            height, width, _, _ = simplejpeg.decode_jpeg_header(content)
            assert (height, width) == (row["height"], row["width"]) == (90, 160)
        else:
            sweep = np.frombuffer(content, np.float32).reshape(-1, 5)
            assert 10_000 < len(sweep) <= 1084 * 32


def test_cameras_fire_before_the_lidar_by_the_real_phases(nusc: Any) -> None:
    phases_ms = {
        "CAM_FRONT_LEFT": 43.0,
        "CAM_FRONT": 35.0,
        "CAM_FRONT_RIGHT": 28.0,
        "CAM_BACK_RIGHT": 20.0,
        "CAM_BACK": 10.0,
        "CAM_BACK_LEFT": 0.5,
    }
    for sample in nusc.sample:
        stamps = {c: nusc.get("sample_data", t)["timestamp"] for c, t in sample["data"].items()}
        assert sample["timestamp"] == stamps["LIDAR_TOP"]
        for channel in CAMERAS:
            lead_ms = (stamps["LIDAR_TOP"] - stamps[channel]) / 1000.0
            assert lead_ms == pytest.approx(phases_ms[channel], abs=0.41)


def test_sweeps_belong_to_the_keyframe_that_follows(nusc: Any) -> None:
    for row in nusc.sample_data:
        if not row["is_key_frame"]:
            sample = nusc.get("sample", row["sample_token"])
            assert 0 < sample["timestamp"] - row["timestamp"] < 500_000
            assert row["filename"].startswith("sweeps/")


def test_each_file_has_an_ego_pose_at_its_own_stamp(nusc: Any) -> None:
    for row in nusc.sample_data:
        assert nusc.get("ego_pose", row["ego_pose_token"])["timestamp"] == row["timestamp"]


def test_ego_vehicle_moves_between_the_cameras_of_one_keyframe(nusc: Any) -> None:
    gaps = []
    for sample in nusc.sample:
        poses = {
            channel: np.array(nusc.get("ego_pose", token)["translation"])
            for channel, token in sample["data"].items()
        }
        gaps.append(np.linalg.norm(poses["CAM_FRONT_LEFT"] - poses["LIDAR_TOP"]))
    assert 0.1 < max(gaps) < 0.6  # 43 ms at city speed


def test_lidar_point_counts_equal_the_points_inside_the_boxes(nusc: Any) -> None:
    geometry = pytest.importorskip("nuscenes.utils.geometry_utils")
    clouds = pytest.importorskip("nuscenes.utils.data_classes")
    checked = 0
    for sample in nusc.sample[:4]:
        path, boxes, _ = nusc.get_sample_data(sample["data"]["LIDAR_TOP"])
        points = clouds.LidarPointCloud.from_file(path).points[:3].astype(float)
        for box in boxes:
            counted = int(geometry.points_in_box(box, points).sum())
            recorded = nusc.get("sample_annotation", box.token)["num_lidar_pts"]
            assert abs(counted - recorded) <= 1, box.name  # a point on a face may round either way
            checked += recorded > 0
    assert checked > 40


def test_annotated_velocity_is_the_motion_of_the_track(nusc: Any, config: GeneratorConfig) -> None:
    plan = config.plan(0)
    world = build_scene(config, plan).world
    tracks = {tuple(np.round(a.model.size_lwh_m, 9)): a for a in world.actors if not a.is_fixed}
    start = nusc.get("sample", nusc.scene[0]["first_sample_token"])["timestamp"]
    compared = 0
    for row in nusc.sample_annotation:
        sample = nusc.get("sample", row["sample_token"])
        width, length, height = row["size"]
        actor = tracks.get(tuple(np.round((length, width, height), 9)))
        if sample["scene_token"] != nusc.scene[0]["token"] or actor is None:
            continue
        if not row["prev"] or not row["next"]:
            continue
        time_s = (sample["timestamp"] - start) / 1e6
        expected = np.array(actor.track.velocity(time_s, 1.0))
        measured = nusc.box_velocity(row["token"])[:2]
        if np.hypot(*(np.array(row["translation"][:2]) - actor.track.pose(time_s)[:2])) < 0.05:
            np.testing.assert_allclose(measured, expected, atol=0.05)
            compared += np.linalg.norm(expected) > 1.0
    assert compared >= 10


def test_boxes_stand_upright_on_hilly_ground(nusc: Any) -> None:
    heights = [row["translation"][2] - row["size"][2] / 2 for row in nusc.sample_annotation]
    assert np.ptp(heights) > 0.3
    for row in nusc.sample_annotation:
        assert row["rotation"][1] == row["rotation"][2] == 0.0


def test_devkit_draws_a_sample_and_finds_the_road_in_the_map(nusc: Any, tmp_path: Path) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    sample = nusc.sample[0]
    nusc.render_sample_data(
        sample["data"]["CAM_FRONT"], out_path=str(tmp_path / "a.png"), verbose=False
    )
    nusc.render_sample_data(
        sample["data"]["LIDAR_TOP"], nsweeps=3, out_path=str(tmp_path / "b.png"), verbose=False
    )
    assert (tmp_path / "a.png").stat().st_size > 1000
    assert (tmp_path / "b.png").stat().st_size > 1000
    log = nusc.get("log", nusc.scene[0]["log_token"])
    mask = nusc.get("map", log["map_token"])["mask"]
    pose = nusc.get("ego_pose", sample["data"]["LIDAR_TOP"])
    assert mask.is_on_mask(pose["translation"][0], pose["translation"][1])[0]


def _ground_truth_as_predictions(nusc: Any, scenes: list[str]) -> dict[str, Any]:
    names = pytest.importorskip("nuscenes.eval.detection.utils")
    attributes = {row["token"]: row["name"] for row in nusc.attribute}
    results: dict[str, list[dict[str, Any]]] = {}
    for sample in nusc.sample:
        if nusc.get("scene", sample["scene_token"])["name"] not in scenes:
            continue
        results[sample["token"]] = []
        for token in sample["anns"]:
            row = nusc.get("sample_annotation", token)
            tokens = row["attribute_tokens"]
            if row["num_lidar_pts"] == 0:
                continue  # the devkit drops those from the ground truth
            results[sample["token"]].append(
                {
                    "sample_token": sample["token"],
                    "translation": row["translation"],
                    "size": row["size"],
                    "rotation": row["rotation"],
                    "velocity": np.nan_to_num(nusc.box_velocity(token)[:2]).tolist(),
                    "detection_name": names.category_to_detection_name(row["category_name"]),
                    "detection_score": 0.9,
                    "attribute_name": attributes[tokens[0]] if tokens else "",
                }
            )
    meta = dict.fromkeys(("use_camera", "use_lidar", "use_radar", "use_map", "use_external"), False)
    return {"meta": meta, "results": results}


def test_ground_truth_as_predictions_scores_one(
    nusc: Any, config: GeneratorConfig, tmp_path: Path
) -> None:
    evaluate = pytest.importorskip("nuscenes.eval.detection.evaluate")
    configs = pytest.importorskip("nuscenes.eval.common.config")
    scenes = json.loads((config.out / "v1.0-mini" / "splits.json").read_text())[config.val_split]
    path = tmp_path / "results.json"
    path.write_text(json.dumps(_ground_truth_as_predictions(nusc, scenes)))
    evaluation = evaluate.DetectionEval(
        nusc, configs.config_factory("detection_cvpr_2019"), str(path), config.val_split,
        str(tmp_path), verbose=False,
    )  # fmt: skip
    metrics = evaluation.evaluate()[0].serialize()
    present = {box.detection_name for box in evaluation.gt_boxes.all}
    assert len(present) >= 8
    for name in present:
        assert metrics["mean_dist_aps"][name] == pytest.approx(1.0), name
        errors = metrics["label_tp_errors"][name]
        for error in ("trans_err", "scale_err"):
            assert errors[error] == pytest.approx(0.0, abs=1e-6), name


def test_split_file_lists_each_scene_once(generated: Path, config: GeneratorConfig) -> None:
    splits = json.loads((generated / "v1.0-mini" / "splits.json").read_text())
    assert set(splits) == {"sim_train", "sim_val"}
    assert sorted(splits["sim_train"] + splits["sim_val"]) == sorted(
        row["name"] for row in _table(generated, "scene")
    )


def test_every_class_is_within_evaluation_range_over_a_handful_of_scenes(tmp_path: Path) -> None:
    config = GeneratorConfig(out=tmp_path, scenes=4, seed=1, duration_s=8.0)
    ranges_m = dict.fromkeys(("barrier", "traffic_cone"), 30.0)
    counts: Counter[str] = Counter()
    for index in range(4):
        world = build_scene(config, config.plan(index)).world
        for actor in world.actors:
            reach = ranges_m.get(actor.model.class_name, 40.0)
            for time_s in np.arange(0.0, 8.1, 2.0):
                ego, here = world.ego_track.pose(time_s), actor.track.pose(time_s)
                if np.hypot(here[0] - ego[0], here[1] - ego[1]) < reach:
                    counts[actor.model.class_name] += 1
                    break
    assert set(counts) == set(NUSCENES_CLASSES)
    assert min(counts.values()) >= 4, counts


@pytest.fixture
def tiny(tmp_path: Path) -> GeneratorConfig:
    return GeneratorConfig(
        out=tmp_path / "a", scenes=2, seed=5, width=64, height=36, duration_s=0.5, antialias="none"
    )


def test_same_seed_gives_the_same_bytes_whatever_the_number_of_processes(
    tiny: GeneratorConfig, tmp_path: Path
) -> None:
    generate_dataroot(tiny)
    generate_dataroot(replace(tiny, out=tmp_path / "b", jobs=2))
    first, second = _digests(tmp_path / "a"), _digests(tmp_path / "b")
    assert len(first) > 25
    assert first == second


def test_another_seed_gives_other_scenes(tiny: GeneratorConfig, tmp_path: Path) -> None:
    one = replace(tiny, scenes=1)
    generate_dataroot(one)
    generate_dataroot(replace(one, out=tmp_path / "b", seed=6))
    first, second = _digests(tmp_path / "a"), _digests(tmp_path / "b")
    tables = {f"v1.0-mini/{name}.json" for name in ("scene", "sample_annotation", "ego_pose")}
    assert all(first[name] != second[name] for name in tables)
    images = [set(d.values()) for d in (first, second)]
    shared = {
        first[f"v1.0-mini/{n}.json"] for n in ("sensor", "category", "attribute", "visibility")
    }
    assert images[0] & images[1] == shared


def test_interrupted_run_goes_on_with_the_missing_scenes(
    tiny: GeneratorConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    from simdistill_ros.scenes import generate

    recorded: list[int] = []
    original = generate._record_scene

    def record_then_die(config: GeneratorConfig, index: int, tick: Any) -> None:
        if index == 1 and not recorded[1:]:
            recorded.append(-1)
            raise KeyboardInterrupt
        recorded.append(index)
        original(config, index, tick)

    monkeypatch.setattr(generate, "_record_scene", record_then_die)
    with pytest.raises(KeyboardInterrupt):
        generate_dataroot(tiny)
    assert not (tiny.out / tiny.version).exists()
    generate_dataroot(tiny)
    assert recorded == [0, -1, 1]
    assert len(_table(tiny.out, "scene")) == 2
    assert not list(tiny.out.glob(".unfinished*"))


def test_command_reports_what_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--scenes", "1", "--width", "64", "--height", "36", "--duration-s", "0.1"]
    assert main(["--out", str(tmp_path), *options, "--looks", "0-1", "--keyframe-only"]) == 0
    assert "1 scenes, 1 keyframes" in capsys.readouterr().out
    assert (tmp_path / "v1.0-mini" / "sample_data.json").is_file()


def test_command_refuses_a_bad_option_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--out", str(tmp_path), "--scenes", "0"]) == 2
    assert capsys.readouterr().err == "generate_scenes: scenes: expected at least 1, got 0\n"


def test_command_refuses_seeds_that_are_not_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["--out", str(tmp_path), "--towns", "north"])
    assert "expected seeds like 3 or 0,4 or 0-7, got 'north'" in capsys.readouterr().err
