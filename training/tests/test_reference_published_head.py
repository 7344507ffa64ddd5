# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from simdistill_ros.core.boxes import NUSCENES_CLASSES
from simdistill_ros.core.network.reference_keys import rename_keys
from simdistill_training.convert.teacher_keys import (
    SECOND_ENCODER,
    SECOND_NECK,
    TRANSFUSION_HEAD,
)
from simdistill_training.teacher.second import SecondEncoder, SecondNeck
from simdistill_training.teacher.transfusion import (
    TransFusionHead,
    cell_positions,
    decoded_boxes,
    encoded_boxes,
    suppressed_proposals,
)


@pytest.mark.reference("04_second_secondfpn")
def test_reference_second_decoder_gives_the_published_maps_and_gradient(reference):
    backbone, neck = reference.config["backbone"], reference.config["neck"]
    stages = zip(
        backbone["layer_nums"], backbone["out_channels"], backbone["layer_strides"], strict=True
    )
    encoder = SecondEncoder(backbone["in_channels"], list(stages)).eval()
    encoder.load_state_dict(rename_keys(reference.weights("backbone."), SECOND_ENCODER))
    joined = SecondNeck(neck["in_channels"], neck["out_channels"], neck["upsample_strides"]).eval()
    joined.load_state_dict(rename_keys(reference.weights("neck."), SECOND_NECK))
    bev = reference["input.bev"].clone().requires_grad_()
    levels = encoder(bev)
    output = joined(levels)
    for number, level in enumerate(levels):
        expected = reference[f"output.stage{number}"]
        torch.testing.assert_close(level, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(output, reference["output.neck"], atol=1e-5, rtol=1e-5)
    (output.flatten() * torch.linspace(0, 1, output.numel())).sum().backward()
    expected = reference["output.grad_bev_of_weighted_sum"]
    torch.testing.assert_close(bev.grad, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.reference("08_transfusion_head")
def test_reference_transfusion_head_gives_the_published_proposals(reference):
    config = reference.config
    head = TransFusionHead(
        config["in_channels"],
        NUSCENES_CLASSES,
        channels=config["hidden_channel"],
        proposals=config["num_proposals"],
        heads=config["num_heads"],
        hidden_channels=config["ffn_channel"],
    ).eval()
    head.load_state_dict(rename_keys(reference.weights(), TRANSFUSION_HEAD))
    with torch.no_grad():
        found = head(reference["input.feats"])
    assert torch.equal(found.labels.int(), reference["output.query_labels"])
    outputs = found.codes | {
        "heatmap": found.class_logits,
        "query_heatmap_score": found.start_scores,
        "dense_heatmap": found.heatmap,
        "bev_pos": cell_positions(reference["input.feats"]),
    }
    for name, values in outputs.items():
        torch.testing.assert_close(values, reference[f"output.{name}"], atol=1e-4, rtol=1e-4)
    scores, labels = found.scores()[0].max(0)
    coder = config["bbox_coder"]
    cell_m = coder["voxel_size"][0] * coder["out_size_factor"]
    boxes = decoded_boxes(found.codes, cell_m=cell_m, low_m=tuple(coder["pc_range"]))[0]
    point_classes = {number: 0.175 for number in head.point_classes}
    for kind, radii in (("none", {}), ("circle", point_classes)):
        kept = suppressed_proposals(boxes, scores, labels, radii)
        expected = {n: reference[f"output.final.{kind}.{n}"] for n in ("boxes", "scores", "labels")}
        order = _order(scores[kept], labels[kept])
        expected_order = _order(expected["scores"], expected["labels"])
        ours = {"boxes": boxes[kept], "scores": scores[kept], "labels": labels[kept].int()}
        for name, values in ours.items():
            torch.testing.assert_close(
                values[order], expected[name][expected_order], atol=1e-4, rtol=1e-4
            )


def _order(scores, labels):
    """Return an order that does not depend on how classes were visited."""
    return (labels.double() * 10 - scores.double()).argsort()


@pytest.mark.reference("12_box_coders")
def test_reference_transfusion_codes_are_the_published_ones(reference):
    config = reference.config
    grid = {
        "cell_m": config["voxel_size"][0] * config["out_size_factor"],
        "low_m": tuple(config["pc_range"][:2]),
    }
    gravity = reference["input.boxes_gravity_center"]
    boxes = gravity.clone()
    boxes[:, 2] -= boxes[:, 5] / 2
    codes = encoded_boxes(boxes, **grid)
    torch.testing.assert_close(codes, reference["output.transfusion.encoded"], atol=1e-5, rtol=1e-5)
    names = ("center", "height", "dim", "rot", "vel")
    parts = dict(zip(names, codes.T[None].split((2, 1, 3, 2, 2), dim=1), strict=True))
    decoded = decoded_boxes(parts, **grid)[0]
    expected = reference["output.transfusion.decoded.boxes"]
    torch.testing.assert_close(decoded, expected, atol=1e-5, rtol=1e-5)
    scores, labels = reference["input.transfusion_scores"][0].max(0)
    torch.testing.assert_close(scores, reference["output.transfusion.decoded.scores"])
    assert torch.equal(labels.int(), reference["output.transfusion.decoded.labels"])
