# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch.nn import functional

from simdistill_ros.core.boxes import Detections
from simdistill_ros.core.legacy_boxes import detections_from_legacy_boxes
from simdistill_ros.core.model_card import ModelCard, model_card_from_dict
from simdistill_ros.core.network.center_head import CenterHead
from simdistill_ros.core.network.reference_keys import CENTER_HEAD, rename_keys
from simdistill_training import legacy_losses
from simdistill_training.losses import DetectionWeights, depth_loss, detection_losses
from simdistill_training.targets import TargetConfig, TaskTargets, center_targets, object_mask
from simdistill_training.teacher.depth_raster import depth_labels, nearest_depths


def published_card(reference, tiny_card: ModelCard) -> ModelCard:
    """Return a card with the fixture's grid and tasks, and the published box convention."""
    config = reference.config
    cell_m = config["train_cfg"]["voxel_size"][0] * config["train_cfg"]["out_size_factor"]
    low_x, low_y, _, high_x, high_y, _ = config["train_cfg"]["point_cloud_range"]
    data = tiny_card.model_dump(mode="json")
    data["lift"]["downsample_strides"] = [1]
    data["bev"] |= {"x_m": [low_x, high_x], "y_m": [low_y, high_y], "cell_m": cell_m}
    nms = {"kind": "circle", "radius_m": 1.0}
    data["tasks"] = [{"classes": classes, "nms": nms} for classes in config["tasks"]]
    data["legacy"] |= {"lidar_box_convention": True, "truncated_cells": True}
    return model_card_from_dict(data)


def published_boxes(reference, sample: int, classes: tuple[str, ...]) -> Detections:
    labels = reference[f"input.gt_labels.{sample}"].numpy()
    boxes = reference.array(f"input.gt_boxes.{sample}")
    return detections_from_legacy_boxes(boxes, labels * 0.0 + 1, labels, classes)


def targets_of(reference, tiny_card) -> list[TaskTargets]:
    card = published_card(reference, tiny_card)
    samples = len(reference["input.student_feats"])
    boxes = [published_boxes(reference, sample, card.classes) for sample in range(samples)]
    train = reference.config["train_cfg"]
    config = TargetConfig(train["max_objs"], train["gaussian_overlap"], train["min_radius"])
    return center_targets(boxes, card, config)


def head_of(reference, role: str) -> CenterHead:
    config = reference.config
    head = CenterHead(
        config["in_channels"],
        [len(classes) for classes in config["tasks"]],
        shared_channels=config["share_conv_channel"],
        branch_channels=config["separate_head"]["head_conv"],
    ).eval()
    head.load_state_dict(rename_keys(reference.weights(f"{role}."), CENTER_HEAD))
    return head


@pytest.mark.reference("07_center_head")
def test_reference_targets_are_the_published_ones(reference, tiny_card):
    targets = targets_of(reference, tiny_card)
    assert sum(int(task.mask.sum()) for task in targets) > 10
    for number, task in enumerate(targets):
        mask = reference[f"output.target.mask.{number}"].bool()
        assert torch.equal(task.mask, mask)
        assert torch.equal(task.cell_index[mask], reference[f"output.target.ind.{number}"][mask])
        codes = reference[f"output.target.anno_box.{number}"]
        torch.testing.assert_close(task.codes[mask], codes[mask], atol=1e-5, rtol=1e-5)
        heatmap = reference[f"output.target.heatmap.{number}"]
        torch.testing.assert_close(task.heatmap, heatmap, atol=1e-5, rtol=1e-5)
    expected = reference["output.target.object_mask"]
    torch.testing.assert_close(object_mask(targets, clipped=False), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.reference("07_center_head")
def test_reference_losses_and_their_gradient_are_the_published_ones(reference, tiny_card):
    targets = targets_of(reference, tiny_card)
    features = reference["input.student_feats"].clone().requires_grad_()
    student_maps = head_of(reference, "student")(features)
    with torch.no_grad():
        teacher_maps = head_of(reference, "teacher")(reference["input.teacher_feats"])
    weights = DetectionWeights(codes=tuple(reference.config["train_cfg"]["code_weights"]))
    losses = detection_losses(student_maps, targets, weights)
    total = torch.stack(list(losses.values())).sum()
    for number, task in enumerate(targets):
        for name, published in (("heatmap", "heatmap"), ("boxes", "bbox")):
            expected = reference[f"output.loss.{published}.task{number}"][0]
            torch.testing.assert_close(losses[f"task{number}/{name}"], expected, atol=0, rtol=1e-5)
        scores, boxes = legacy_losses.prediction_distillation(
            student_maps[number], teacher_maps[number], task
        )
        expected = reference[f"output.loss.heatmap.task{number}_kd_cls_loss"][0]
        torch.testing.assert_close(scores, expected, atol=1e-12, rtol=1e-4)
        expected = reference[f"output.loss.bbox.task{number}_kd_bbox_loss"][0]
        torch.testing.assert_close(boxes, expected, atol=0, rtol=1e-4)
        total = total + scores + boxes
    torch.testing.assert_close(total, reference["output.loss.total"][0], atol=0, rtol=1e-5)
    total.backward()
    expected = reference["output.grad.total_wrt_student_feats"]
    torch.testing.assert_close(features.grad, expected, atol=1e-5, rtol=1e-3)


@pytest.mark.reference("10_distill_losses")
def test_reference_feature_terms_are_the_published_ones(reference):
    for name, student, teacher in (
        ("fusion", "student_fused", "teacher_fused"),
        ("camera_bev", "student_camera_bev", "teacher_camera_bev"),
        ("pseudo_lidar_unmasked", "student_pseudo_lidar", "teacher_lidar_bev"),
    ):
        loss = functional.mse_loss(reference[f"input.{student}"], reference[f"input.{teacher}"])
        torch.testing.assert_close(loss, reference[f"output.{name}"][0], atol=0, rtol=1e-5)
    student = reference["input.student_pseudo_lidar"].clone().requires_grad_()
    loss = legacy_losses.masked_feature_loss(
        student, reference["input.teacher_lidar_bev"], reference["input.object_mask"]
    )
    loss.backward()
    expected = reference["output.pseudo_lidar_masked"][0]
    torch.testing.assert_close(loss, expected, atol=0, rtol=1e-5)
    expected = reference["output.grad_pseudo_lidar_masked_wrt_student"]
    torch.testing.assert_close(student.grad, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.reference("10_distill_losses")
def test_reference_prediction_terms_are_the_published_ones(reference):
    logits, target = reference["input.qfl_logits"], reference["input.qfl_target"]
    loss = legacy_losses.quality_focal_loss(logits, target)
    torch.testing.assert_close(loss, reference["output.qfl_elementwise"], atol=1e-6, rtol=1e-5)
    expected = reference["output.qfl_elementwise_norm"]
    normaliser = float((reference["output.qfl_elementwise"] / expected).median())
    loss = legacy_losses.quality_focal_loss(logits, target, normaliser)
    torch.testing.assert_close(loss, expected, atol=1e-6, rtol=1e-5)
    student, teacher = (reference[f"input.kd_cls_{role}"] for role in ("student", "teacher"))
    loss = legacy_losses.score_distillation(student, teacher)
    torch.testing.assert_close(loss, reference["output.kd_cls_layer"][0], atol=1e-12, rtol=1e-5)
    student, teacher = (reference[f"input.kd_box_{role}"] for role in ("student", "teacher"))
    loss = legacy_losses.box_distillation(student, teacher)
    torch.testing.assert_close(loss, reference["output.kd_box_layer"][0], atol=0, rtol=1e-5)
    loss = legacy_losses.weighted_smooth_l1(student, teacher)
    torch.testing.assert_close(loss, reference["output.weighted_smooth_l1"], atol=1e-6, rtol=1e-5)
    sines = legacy_losses.sine_differences(student, teacher)
    for values, role in zip(sines, ("student", "teacher"), strict=True):
        expected = reference[f"output.sin_diff_{role}"]
        torch.testing.assert_close(values, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.reference("10_distill_losses")
def test_reference_depth_supervision_is_the_published_one(reference):
    start_m, stop_m, step_m = reference.config["depth"]["dbound"]
    stride = reference.config["depth"]["downsample_factor"]
    raster = reference["input.depth_gt"].flatten(0, 1)
    nearest = nearest_depths(raster, stride)
    measured = nearest.isfinite()
    expected = reference["output.depth_min_downsampled"]
    torch.testing.assert_close(nearest[measured], expected[measured])
    bins = round((stop_m - start_m) / step_m)
    labels = depth_labels(
        raster, stride, start_m=start_m, step_m=step_m, bins=bins, rounding="down"
    )
    one_hot = torch.zeros(labels.numel(), bins)
    flat = labels.flatten()
    one_hot[flat >= 0, flat[flat >= 0]] = 1
    assert torch.equal(one_hot, reference["output.depth_onehot_label"])
    loss = 3 * depth_loss(reference["input.depth_pred"], labels)
    torch.testing.assert_close(loss, reference["output.depth_loss"][0], atol=0, rtol=1e-5)
