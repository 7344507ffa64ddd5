# SPDX-License-Identifier: Apache-2.0
from typing import Any

import numpy as np
import pytest
import yaml

from simdistill_ros.core.decode import BEV_FRAME, candidates, decode_head_maps
from simdistill_ros.core.legacy_boxes import legacy_boxes_from_detections
from simdistill_ros.core.model_card import ModelCard, model_card_from_dict

CHANNELS = {"reg": 2, "height": 1, "dim": 3, "rot": 2, "vel": 2}


@pytest.fixture
def card_data(models_folder) -> dict[str, Any]:
    """Return a card with a 10 x 6 map of 2 m cells whose first cell begins at (-10, -6) m."""
    data = yaml.safe_load((models_folder / "tiny" / "model.yaml").read_text())
    data["bev"] |= {"x_m": [-10.0, 10.0], "y_m": [-6.0, 6.0], "cell_m": 2.0}
    data["lift"]["downsample_strides"] = []
    data["bev_encoder"]["stages"] = [{"blocks": 1, "channels": 8, "stride": 1}]
    data["tasks"] = [
        {"classes": ["car"], "nms": {"kind": "circle", "radius_m": 2.0}},
        {
            "classes": ["pedestrian", "cone"],
            "nms": {"kind": "rotated", "iou": 0.2, "scale": [1.0, 1.0]},
        },
    ]
    return data


def empty_maps(card: ModelCard) -> list[dict[str, np.ndarray]]:
    shape = card.head_shape_xy
    return [
        {name: np.zeros((count, *shape)) for name, count in CHANNELS.items()}
        | {"heatmap": np.full((len(task.classes), *shape), -9.0)}
        for task in card.tasks
    ]


def place(maps, label: int, cell: tuple[int, int], logit: float = 2.0, **values) -> None:
    maps["heatmap"][label][cell] = logit
    for name, value in values.items():
        maps[name][:, cell[0], cell[1]] = value


def test_one_cell_becomes_one_box_in_the_house_convention(card_data):
    card = model_card_from_dict(card_data)
    maps = empty_maps(card)
    place(
        maps[1],
        1,
        (3, 4),
        logit=0.0,
        reg=[0.25, 0.5],
        height=[0.75],
        dim=np.log([4.0, 2.0, 1.5]),
        rot=[1.0, 0.0],
        vel=[3.0, -4.0],
    )
    detections = decode_head_maps(maps, card, stamp_ns=7)
    assert (detections.frame, detections.stamp_ns) == (BEV_FRAME, 7)
    np.testing.assert_allclose(detections.centers_m, [[-3.5, 3.0, 0.75]])
    np.testing.assert_allclose(detections.sizes_lwh_m, [[4.0, 2.0, 1.5]])
    np.testing.assert_allclose(detections.yaws_rad, [np.pi / 2])
    np.testing.assert_allclose(detections.velocities_mps, [[3.0, -4.0]])
    np.testing.assert_allclose(detections.scores, [0.5])
    assert detections.names() == ["cone"]


def test_legacy_convention_swaps_width_and_length_and_turns_the_other_way(card_data):
    card_data["legacy"] = {"lidar_box_convention": True, "raised_height": True}
    card = model_card_from_dict(card_data)
    maps = empty_maps(card)
    place(maps[0], 0, (0, 0), dim=np.log([2.0, 4.0, 1.5]), height=[1.0], rot=[0.0, 1.0])
    detections = decode_head_maps(maps, card, stamp_ns=0)
    np.testing.assert_allclose(detections.sizes_lwh_m, [[4.0, 2.0, 1.5]])
    np.testing.assert_allclose(detections.yaws_rad, [-np.pi / 2])
    np.testing.assert_allclose(detections.centers_m[0, 2], 0.25)


def test_boxes_come_best_first_and_only_above_the_threshold(card_data):
    card = model_card_from_dict(card_data)
    maps = empty_maps(card)
    place(maps[0], 0, (0, 0), logit=-1.0)
    place(maps[1], 0, (4, 4), logit=3.0)
    place(maps[0], 0, (8, 4), logit=1.0)
    detections = decode_head_maps(maps, card, stamp_ns=0)
    assert detections.names() == ["pedestrian", "car", "car"]
    assert (np.diff(detections.scores) < 0).all()
    assert len(decode_head_maps(maps, card, stamp_ns=0, score_threshold=0.5)) == 2
    assert len(decode_head_maps(maps, card, stamp_ns=0, score_threshold=0.99)) == 0


def test_circle_distance_is_in_metres_unless_legacy(card_data):
    card = model_card_from_dict(card_data)
    maps = empty_maps(card)
    place(maps[0], 0, (4, 4), logit=2.0)
    place(maps[0], 0, (5, 4), logit=1.0, reg=[-0.1, 0.0])  # 1.8 m away: 3.24 square metres
    assert len(decode_head_maps(maps, card, stamp_ns=0)) == 1
    card_data["legacy"] = {"squared_circle_distance": True}
    assert len(decode_head_maps(maps, model_card_from_dict(card_data), stamp_ns=0)) == 2


def test_overlap_is_tested_within_a_task_only(card_data):
    card = model_card_from_dict(card_data)
    maps = empty_maps(card)
    size = np.log([4.0, 2.0, 1.5])
    place(maps[0], 0, (4, 4), dim=size)
    place(maps[1], 0, (4, 4), logit=3.0, dim=size)
    place(maps[1], 1, (4, 4), logit=1.0, dim=size)
    detections = decode_head_maps(maps, card, stamp_ns=0)
    assert sorted(detections.names()) == ["car", "pedestrian"]


def test_scale_enlarges_boxes_for_the_overlap_only(card_data):
    card_data["tasks"][1]["nms"]["scale"] = [4.0, 4.0]
    card = model_card_from_dict(card_data)
    maps = empty_maps(card)
    place(maps[1], 0, (4, 4), logit=3.0)
    place(maps[1], 0, (5, 4), logit=1.0)
    detections = decode_head_maps(maps, card, stamp_ns=0)
    np.testing.assert_allclose(detections.sizes_lwh_m, [[1.0, 1.0, 1.0]])


def test_peak_window_keeps_local_maxima_only(card_data):
    card_data["decode"]["peak_window"] = 3
    card_data["tasks"][0]["nms"]["radius_m"] = 0.1
    card = model_card_from_dict(card_data)
    maps = empty_maps(card)
    for cell, logit in {(4, 4): 3.0, (5, 5): 2.0, (6, 4): 1.0, (0, 0): 0.5}.items():
        place(maps[0], 0, cell, logit)
    detections = decode_head_maps(maps, card, stamp_ns=0)
    assert detections.centers_m[:, 0].tolist() == [-2.0, -10.0]


@pytest.mark.parametrize("window", [1, 3])
@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.9])
def test_candidates_are_those_of_the_whole_map_of_scores(card_data, window, threshold):
    card_data["decode"]["peak_window"] = window
    card = model_card_from_dict(card_data)
    maps = empty_maps(card)[1]
    logits = np.random.default_rng(3).normal(0, 3, maps["heatmap"].shape).astype(np.float32)
    maps["heatmap"] = logits
    logits[0, 5:] += 40  # scores that rounding makes equal
    scores = (1 + np.tanh(logits.astype(np.float64) / 2)) / 2
    is_candidate = scores > threshold
    if window == 3:
        padded = np.pad(scores, ((0, 0), (1, 1), (1, 1)))
        for x, y in np.ndindex(3, 3):
            is_candidate &= scores >= padded[:, x : x + scores.shape[1], y : y + scores.shape[2]]
    expected = -np.sort(-scores[is_candidate])
    boxes, counts = candidates([maps], card, card.tasks[1:2], stamp_ns=0, score_threshold=threshold)
    assert len(expected) > 5
    assert counts == [len(expected)]
    assert np.array_equal(boxes.scores, expected)


def test_headings_have_the_same_bits_wherever_the_maps_lie_in_memory(card_data):
    card = model_card_from_dict(card_data)
    rng = np.random.default_rng(0)
    maps = empty_maps(card)
    for task in maps:
        for name, values in task.items():
            task[name] = rng.normal(size=values.shape, scale=0.9).astype(np.float32)
    expected, _ = candidates(maps, card, card.tasks, stamp_ns=0, score_threshold=0.3)
    assert len(expected) > 100
    elsewhere = []
    for _ in range(1000):
        elsewhere.append(np.zeros(int(rng.integers(1, 9000)), dtype=np.uint8))
        moved = [{name: values.copy() for name, values in task.items()} for task in maps]
        boxes, _ = candidates(moved, card, card.tasks, stamp_ns=0, score_threshold=0.3)
        np.testing.assert_array_equal(boxes.yaws_rad, expected.yaws_rad)


def test_boxes_outside_the_centre_range_are_dropped(card_data):
    card_data["decode"]["center_x_m"] = [-5.0, 61.2]
    card = model_card_from_dict(card_data)
    maps = empty_maps(card)
    place(maps[0], 0, (0, 0))
    place(maps[0], 0, (9, 0))
    detections = decode_head_maps(maps, card, stamp_ns=0)
    assert detections.centers_m[:, 0].tolist() == [8.0]


def test_each_task_gives_at_most_its_cap(card_data):
    card_data["decode"] |= {"max_after_nms": 3, "max_candidates": 5}
    card_data["tasks"][0]["nms"]["radius_m"] = 0.1
    card = model_card_from_dict(card_data)
    maps = empty_maps(card)
    for x in range(10):
        place(maps[0], 0, (x, 0), logit=float(x))
    detections = decode_head_maps(maps, card, stamp_ns=0)
    assert detections.centers_m[:, 0].tolist() == [8.0, 6.0, 4.0]


def test_broken_head_maps_are_refused_by_name(card_data):
    card = model_card_from_dict(card_data)
    with pytest.raises(ValueError, match="expected 2 tasks, got 1"):
        decode_head_maps(empty_maps(card)[:1], card, stamp_ns=0)
    maps = empty_maps(card)
    del maps[1]["vel"]
    with pytest.raises(ValueError, match=r"got none for \['vel'\]"):
        decode_head_maps(maps, card, stamp_ns=0)
    maps = empty_maps(card)
    maps[0]["dim"] = maps[0]["dim"][:2]
    with pytest.raises(ValueError, match=r"dim: expected shape \(3, 10, 6\), got \(2, 10, 6\)"):
        decode_head_maps(maps, card, stamp_ns=0)
    maps = empty_maps(card)
    maps[0]["heatmap"][0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="heatmap: expected finite"):
        decode_head_maps(maps, card, stamp_ns=0)


def published_card(card_data: dict[str, Any], config: dict[str, Any], nms: str) -> ModelCard:
    """Return a card that decodes as a published head's `config`; `nms` overrides its types."""
    test, coder = config["test_cfg"], config["bbox_coder"]
    low, high = coder["pc_range"][:3], coder["pc_range"][3:]
    limits = test["post_center_limit_range"]
    card_data["bev"] |= {
        "x_m": [low[0], high[0]],
        "y_m": [low[1], high[1]],
        "cell_m": coder["voxel_size"][0] * coder["out_size_factor"],
    }
    card_data["tasks"] = [
        {"classes": classes, "nms": published_nms(test, index, nms)}
        for index, classes in enumerate(config["tasks"])
    ]
    card_data["decode"] |= {
        "score_threshold": test["score_threshold"],
        "max_candidates": coder["max_num"],
        "max_before_nms": test["pre_max_size"],
        "max_after_nms": test["post_max_size"],
        "center_x_m": [limits[0], limits[3]],
        "center_y_m": [limits[1], limits[4]],
        "center_z_m": [limits[2], limits[5]],
    }
    card_data["legacy"] = {"lidar_box_convention": True, "squared_circle_distance": True}
    return model_card_from_dict(card_data)


def published_nms(test: dict[str, Any], index: int, nms: str) -> dict[str, Any]:
    kind = test["nms_type"][index] if nms == "official" else nms
    if kind == "circle":
        return {"kind": "circle", "radius_m": test["min_radius"][index]}
    return {"kind": "rotated", "iou": test["nms_thr"], "scale": test["nms_scale"][index]}


def published_maps(reference, sample: int) -> list[dict[str, np.ndarray]]:
    branches = [*CHANNELS, "heatmap"]
    return [
        {name: reference.array(f"output.student.pred.{task}.{name}")[sample] for name in branches}
        for task in range(len(reference.config["tasks"]))
    ]


@pytest.mark.reference("07_center_head")
def test_reference_boxes_before_suppression_are_the_published_ones(reference, card_data):
    card = published_card(card_data, reference.config, "official")
    for sample in range(len(reference["input.student_feats"])):
        for index, maps in enumerate(published_maps(reference, sample)):
            detections, _ = candidates([maps], card, [card.tasks[index]], stamp_ns=0)
            stem = f"output.decode.{index}.{sample}"
            assert np.array_equal(detections.labels, reference.array(f"{stem}.labels"))
            scores = reference.array(f"{stem}.scores")
            np.testing.assert_allclose(detections.scores, scores, atol=1e-5)
            expected = reference.array(f"{stem}.bboxes")
            expected[:, 2] -= expected[:, 5] / 2  # stored with the centre's height
            assert_same_boxes(legacy_boxes_from_detections(detections), expected)


@pytest.mark.reference("07_center_head")
@pytest.mark.parametrize("nms", ["official", "circle", "rotate"])
def test_reference_final_boxes_are_exactly_the_published_set(reference, card_data, nms):
    card = published_card(card_data, reference.config, nms)
    for sample in range(len(reference["input.student_feats"])):
        detections = decode_head_maps(published_maps(reference, sample), card, stamp_ns=0)
        stem = f"output.final.{nms}.{sample}"
        order = np.argsort(-reference.array(f"{stem}.scores"), kind="stable")
        expected = reference.array(f"{stem}.scores")[order]
        assert len(detections) == len(expected)
        np.testing.assert_allclose(detections.scores, expected, atol=1e-5)
        assert np.array_equal(detections.labels, reference.array(f"{stem}.labels")[order])
        boxes = reference.array(f"{stem}.boxes")[order]
        assert_same_boxes(legacy_boxes_from_detections(detections), boxes)


@pytest.mark.reference("12_box_coders")
@pytest.mark.parametrize("has_offsets", [True, False])
def test_reference_round_trip_through_maps_gives_the_published_boxes(
    reference, card_data, has_offsets
):
    config = reference.config
    coder = {**config, "max_num": config["centerpoint"]["max_num"]}
    labels = reference.array("input.labels")
    head = {
        "tasks": [[str(label) for label in range(labels.max() + 1)]],
        "bbox_coder": coder,
        "test_cfg": {
            "post_center_limit_range": config["post_center_range"],
            "score_threshold": config["centerpoint"]["score_threshold"],
            "nms_type": ["circle"],
            "min_radius": [1e-9],
            "pre_max_size": 1000,
            "post_max_size": 1000,
        },
    }
    card = published_card(card_data, head, "official")
    maps = empty_maps(card)[0]
    boxes, scores = reference.array("input.boxes_gravity_center"), reference.array("input.scores")
    offsets = reference.array("input.cell_offset") if has_offsets else np.full((len(boxes), 2), 0.5)
    for index, (x, y) in enumerate(reference.array("input.cells")):
        box = boxes[index]
        place(
            maps,
            labels[index],
            (x, y),
            np.log(scores[index] / (1 - scores[index])),
            reg=offsets[index],
            height=box[2],
            dim=np.log(box[3:6]),
            rot=[np.sin(box[6]), np.cos(box[6])],
            vel=box[7:],
        )
    detections = decode_head_maps([maps], card, stamp_ns=0)
    name = "centerpoint" if has_offsets else "centerpoint_no_reg"
    expected = reference.array(f"output.{name}.boxes")
    expected[:, 2] -= expected[:, 5] / 2
    assert_same_boxes(legacy_boxes_from_detections(detections), expected, atol=1e-5)
    if has_offsets:
        np.testing.assert_allclose(
            detections.scores, reference.array(f"output.{name}.scores"), atol=1e-6
        )
        assert np.array_equal(detections.labels, reference.array(f"output.{name}.labels"))


def assert_same_boxes(actual: np.ndarray, expected: np.ndarray, atol: float = 1e-4) -> None:
    turned = (actual[:, 6] - expected[:, 6] + np.pi) % (2 * np.pi) - np.pi
    np.testing.assert_allclose(turned, 0, atol=atol)
    columns = [0, 1, 2, 3, 4, 5, 7, 8]
    np.testing.assert_allclose(actual[:, columns], expected[:, columns], atol=atol, rtol=atol)
