# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from simdistill_ros.core.model_card import model_card_from_dict
from simdistill_ros.core.network.build import build_student
from simdistill_ros.core.network.published_student import (
    CAMERA_DETECTOR,
    student_state_from_published,
)

ENCODER = {
    "kind": "swin",
    "embed_channels": 8,
    "depths": [1, 1, 2, 1],
    "heads": [1, 1, 2, 2],
    "window": 7,
    "mlp_ratio": 4,
    "drop_path": 0.0,
}


@pytest.fixture
def card(small_data):
    """Return a small card of the published camera-only detector's form."""
    small_data["encoder"] = ENCODER
    small_data["neck"] = {"kind": "concat", "channels": 16}
    small_data["lift"] |= {"hidden_layers": 0, "context_channels": 8}
    small_data["lift"]["downsample_strides"] = [1, 2, 1]
    small_data["bev_encoder"] = {
        "stages": [{"blocks": 1, "channels": 8, "stride": 2}],
        "neck": {"kind": "concat", "channels": 8},
        "upsample": 2,
    }
    return model_card_from_dict(small_data)


def norm(name: str, channels: int) -> dict[str, tuple[int, ...]]:
    parts = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{part}": (channels,) for part in parts} | {f"{name}.num_batches_tracked": ()}


def published_shapes(card) -> dict[str, tuple[int, ...]]:
    """Return keys and shapes of the parts around the encoder, under their published names."""
    bins, context = card.lift.depth.count, card.lift.context_channels
    lift, neck = "encoders.camera.vtransform.", "encoders.camera.neck."
    decoder, fused = "decoder.", card.fuser.channels
    shapes = {
        f"{neck}lateral_convs.0.conv.weight": (16, 32, 1, 1),
        f"{neck}lateral_convs.1.conv.weight": (16, 96, 1, 1),
        **norm(f"{neck}lateral_convs.0.bn", 16),
        **norm(f"{neck}lateral_convs.1.bn", 16),
        **{f"{neck}fpn_convs.{i}.conv.weight": (16, 16, 3, 3) for i in range(2)},
        **norm(f"{neck}fpn_convs.0.bn", 16),
        **norm(f"{neck}fpn_convs.1.bn", 16),
        f"{lift}dx": (3,),
        f"{lift}frustum": (bins, 4, 8, 3),
        f"{lift}depthnet.weight": (bins + context, 16, 1, 1),
        f"{lift}depthnet.bias": (bins + context,),
        f"{decoder}backbone.0.0.conv1.weight": (8, fused, 3, 3),
        f"{decoder}backbone.0.0.conv2.weight": (8, 8, 3, 3),
        **norm(f"{decoder}backbone.0.0.bn1", 8),
        **norm(f"{decoder}backbone.0.0.bn2", 8),
        f"{decoder}backbone.0.0.downsample.0.weight": (8, fused, 1, 1),
        **norm(f"{decoder}backbone.0.0.downsample.1", 8),
        f"{decoder}neck.fuse.0.weight": (8, 16, 1, 1),
        **norm(f"{decoder}neck.fuse.1", 8),
        f"{decoder}neck.fuse.3.weight": (8, 8, 3, 3),
        **norm(f"{decoder}neck.fuse.4", 8),
        f"{decoder}neck.upsample.1.weight": (8, 8, 3, 3),
        **norm(f"{decoder}neck.upsample.2", 8),
    }
    for conv, bn in ((0, 1), (3, 4), (6, 7)):
        shapes[f"{lift}downsample.{conv}.weight"] = (context, context, 3, 3)
        shapes |= norm(f"{lift}downsample.{bn}", context)
    return shapes | head_shapes(card)


def head_shapes(card) -> dict[str, tuple[int, ...]]:
    head, shared, hidden = "heads.object.", card.head.shared_channels, card.head.branch_channels
    shapes = {f"{head}shared_conv.conv.weight": (shared, 8, 3, 3)}
    shapes |= norm(f"{head}shared_conv.bn", shared)
    regressions = {"reg": 2, "height": 1, "dim": 3, "rot": 2, "vel": 2}
    for index, task in enumerate(card.tasks):
        for name, channels in {**regressions, "heatmap": len(task.classes)}.items():
            branch = f"{head}task_heads.{index}.{name}"
            shapes[f"{branch}.0.conv.weight"] = (hidden, shared, 3, 3)
            shapes |= norm(f"{branch}.0.bn", hidden)
            shapes[f"{branch}.1.weight"] = (channels, hidden, 3, 3)
            shapes[f"{branch}.1.bias"] = (channels,)
    return shapes


def published_state(card) -> dict[str, torch.Tensor]:
    state = {key: torch.rand(shape) for key, shape in published_shapes(card).items()}
    backbone = {
        "patch_embed.projection.weight": torch.rand(8, 3, 4, 4),
        "stages.0.blocks.0.attn.w_msa.relative_position_index": torch.zeros(49, 49),
    }
    return state | {f"encoders.camera.backbone.{key}": value for key, value in backbone.items()}


def test_published_detector_fills_all_but_what_it_does_not_have(card):
    student = build_student(card)
    state = student_state_from_published(published_state(card), CAMERA_DETECTOR)
    missing, unexpected = student.load_state_dict(state, strict=False)
    assert unexpected == []
    allowed = ("image_network.encoder.", "compensation.", "bev_network.fuser.")
    assert [key for key in missing if not any(part in key for part in allowed)] == []


def test_both_branches_start_from_the_one_published_view_transform(card):
    published = published_state(card)
    state = student_state_from_published(published, CAMERA_DETECTOR)
    weight = published["encoders.camera.vtransform.depthnet.weight"]
    for branch in ("camera", "lidar"):
        assert torch.equal(state[f"image_network.{branch}_lift.output.weight"], weight)
    shared = student_state_from_published(published, CAMERA_DETECTOR, shared_view_transform=True)
    assert not any("camera_" in key for key in shared)


def test_missing_part_is_refused_by_its_prefix(card):
    published = {k: v for k, v in published_state(card).items() if not k.startswith("decoder.neck")}
    with pytest.raises(ValueError, match=r"begin with decoder\.neck"):
        student_state_from_published(published, CAMERA_DETECTOR)


def test_view_transform_that_takes_lidar_depth_is_refused(card):
    published = published_state(card)
    lift = "encoders.camera.vtransform."
    published[f"{lift}depthnet.0.weight"] = published.pop(f"{lift}depthnet.weight")
    with pytest.raises(ValueError, match=r"depthnet\.0\.weight"):
        student_state_from_published(published, CAMERA_DETECTOR)
