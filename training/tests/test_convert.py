# SPDX-License-Identifier: Apache-2.0
import importlib.util
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional

from simdistill_ros.core.model_card import load_model_card
from simdistill_ros.core.network.build import load_student
from simdistill_ros.core.network.swin import PatchMerging
from simdistill_training import cli
from simdistill_training.convert.bevfusion import PUBLISHED_TEACHER
from simdistill_training.convert.coverage import CoverageError
from simdistill_training.convert.encoders import (
    convert_resnet50,
    convert_swin,
    interleaved_merging,
    swin_state,
)
from simdistill_training.convert.state_files import read_state
from simdistill_training.teacher.frozen import TeacherCheckpointError, load_teacher
from simdistill_training.teacher.teacher import Teacher

_spec = importlib.util.spec_from_file_location(
    "published_keys", Path(__file__).with_name("published_keys.py")
)
published = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(published)


def main(arguments):
    return cli.main(["convert", *arguments])


def published_file(folder: Path, name: str, shapes) -> Path:
    """Write weights as a training framework does, with things around them."""
    content = {
        "meta": {"epoch": 20, "env_info": "x", "CLASSES": ["car"]},
        "state_dict": published.fabricated(shapes),
        "optimizer": {"state": {0: {"step": 3, "exp_avg": torch.zeros(2)}}, "param_groups": []},
    }
    torch.save(content, folder / name)
    return folder / name


def test_camera_only_detector_becomes_a_model_package_with_every_weight_in_place(tmp_path):
    source = published_file(tmp_path, "camera-only-det.pth", published.camera_only_detector())
    pose = ["1", "2", "3", "0.70710678", "0", "0", "-0.70710678"]
    arguments = ["camera-only-det", str(source), str(tmp_path / "model"), "--ego-from-lidar", *pose]
    assert main(arguments) == 0
    card = load_model_card(tmp_path / "model")
    matrix = card.bev.ego_from_bev.matrix()
    np.testing.assert_allclose(matrix @ [0, 1, 0, 1], [2, 2, 3, 1], atol=1e-6)
    assert card.head_shape_xy == (128, 128)
    assert card.head_cell_m == pytest.approx(0.8)
    assert card.legacy.raised_height
    assert card.legacy.shared_view_transform
    student = load_student(card)  # checks the hash and every shape
    theirs = read_state(source)
    ours = student.state_dict()
    for own, name in (
        (
            "image_network.encoder.stages.2.5.mlp.2.weight",
            "backbone.stages.2.blocks.5.ffn.layers.1.weight",
        ),
        ("image_network.neck.laterals.1.conv.weight", "neck.lateral_convs.1.conv.weight"),
        ("image_network.lidar_lift.output.bias", "vtransform.depthnet.bias"),
        ("bev_network.lidar_downsample.1.norm.running_var", "vtransform.downsample.4.running_var"),
    ):
        assert torch.equal(ours[own], theirs[f"encoders.camera.{name}"])
    own = ours["bev_network.encoder.stages.0.0.shortcut.conv.weight"]
    assert torch.equal(own, theirs["decoder.backbone.0.0.downsample.0.weight"])
    own = ours["bev_network.head.tasks.5.heatmap.1.bias"]
    assert torch.equal(own, theirs["heads.object.task_heads.5.heatmap.1.bias"])
    branch = torch.rand(1, 80, 6, 6)  # there is only one branch: the fuser hands it on
    with torch.no_grad():
        fused = student.bev_network.fuser(branch, torch.rand(1, 80, 6, 6))
    torch.testing.assert_close(fused, branch)


def test_lidar_camera_detector_becomes_a_whole_frozen_teacher(tmp_path):
    source = published_file(tmp_path, "bevfusion-det.pth", published.lidar_camera_detector())
    assert main(["bevfusion-det", str(source), str(tmp_path / "teacher")]) == 0
    card = load_model_card(tmp_path / "teacher")
    assert card.compensated_shape_xy == (180, 180)
    frozen = load_teacher(card, PUBLISHED_TEACHER, tmp_path / "teacher" / "teacher.safetensors")
    ours, theirs = frozen.teacher.state_dict(), read_state(source)
    kernel = theirs["encoders.lidar.backbone.encoder_layers.encoder_layer2.2.0.weight"]
    own = ours["lidar.encoder.halvings.1.conv.weight"]
    assert torch.equal(own[7, 0, 1, 2], kernel[0, 1, 2, :, 7])
    lift = "encoders.camera.vtransform.depthnet."
    assert torch.equal(
        ours["camera.head.hidden.0.norm.running_mean"],
        theirs[f"{lift}1.running_mean"] - theirs[f"{lift}0.bias"],
    )
    own = ours["bev_neck.levels.1.conv.weight"]
    assert torch.equal(own, theirs["decoder.neck.deblocks.1.0.weight"])
    with torch.no_grad():
        maps = frozen.teacher.head(torch.randn(1, 512, 12, 12))
    assert [task["heatmap"].shape[1] for task in maps] == [1, 2, 2, 1, 2, 2]


def test_detector_parts_alone_are_no_teacher_to_distil_from(tmp_path, capsys):
    source = published_file(tmp_path, "bevfusion-det.pth", published.lidar_camera_detector())
    arguments = ["bevfusion-det", str(source), str(tmp_path / "t"), "--without-decoder"]
    assert main(arguments) == 0
    assert "SECOND decoder" in capsys.readouterr().out
    card, file = load_model_card(tmp_path / "t"), tmp_path / "t" / "teacher_parts.safetensors"
    config = replace(PUBLISHED_TEACHER, decoder="card")
    result = Teacher(card, config).load_state_dict(load_file(file), strict=False)
    assert result.unexpected_keys == []
    assert {key.split(".")[0] for key in result.missing_keys} == {"bev_encoder", "bev_neck", "head"}
    with pytest.raises(TeacherCheckpointError, match="missing: bev_encoder"):
        load_teacher(card, config, file)


@pytest.mark.parametrize("damage", ["unknown key", "missing key", "other shape"])
def test_weights_that_do_not_fit_are_refused_with_the_keys(tmp_path, capsys, damage):
    shapes = published.camera_only_detector()
    key = "decoder.neck.fuse.3.weight"
    if damage == "unknown key":
        key = "decoder.surprise.weight"
        shapes[key] = (3,)
    elif damage == "missing key":
        del shapes[key]
    else:
        shapes[key] = (256, 256, 1, 1)
    source = published_file(tmp_path, "damaged.pth", shapes)
    assert main(["camera-only-det", str(source), str(tmp_path / "model")]) == 2
    message = capsys.readouterr().err
    word = {"unknown key": "unexplained", "missing key": "missing", "other shape": "shape"}[damage]
    expected = "bev_network.neck.fuse.conv.weight" if damage != "unknown key" else key
    assert any(word in line and expected in line for line in message.splitlines())
    assert not (tmp_path / "model").exists()


def grouped_merging(tokens, weight, norm_weight, norm_bias):
    """Merge patches as the classification form does: four groups of all channels."""
    groups = [tokens[:, row::2, column::2] for row, column in ((0, 0), (1, 0), (0, 1), (1, 1))]
    merged = torch.cat(groups, -1)
    return functional.layer_norm(merged, merged.shape[-1:], norm_weight, norm_bias) @ weight.T


def test_reordered_patch_merging_gives_what_the_grouped_one_gave():
    torch.manual_seed(0)
    tokens = torch.randn(2, 4, 6, 5)
    weight, norm_weight, norm_bias = torch.randn(10, 20), torch.rand(20), torch.randn(20)
    state = {
        "merges.0.reduction.weight": weight,
        "merges.0.norm.weight": norm_weight,
        "merges.0.norm.bias": norm_bias,
    }
    merging = PatchMerging(5)
    renamed = interleaved_merging(state)
    merging.load_state_dict({key.removeprefix("merges.0."): v for key, v in renamed.items()})
    with torch.no_grad():
        torch.testing.assert_close(
            merging(tokens), grouped_merging(tokens, weight, norm_weight, norm_bias)
        )


def test_swin_classifier_is_reordered_and_swin_detector_is_not(tmp_path):
    shapes = published.swin_classifier()
    torch.save({"model": published.fabricated(shapes)}, tmp_path / "classifier.pth")
    coverage = convert_swin(tmp_path / "classifier.pth", tmp_path / "a.safetensors")
    assert coverage.problems() == []
    ours, theirs = load_file(tmp_path / "a.safetensors"), read_state(tmp_path / "classifier.pth")
    own, other = ours["merges.1.reduction.weight"], theirs["layers.1.downsample.reduction.weight"]
    # Channel 3 at (row 0, column 1): ours at 3 * 4 + 1, theirs in the third group of 192.
    assert torch.equal(own[:, 13], other[:, 2 * 192 + 3])
    assert torch.equal(ours["norms.2.weight"], torch.ones(768))
    detector = published.fabricated(published.swin_detector("backbone."))
    state, _ = swin_state(detector)
    key = "backbone.stages.1.downsample.reduction.weight"
    assert torch.equal(state["merges.1.reduction.weight"], detector[key])
    state, _ = swin_state(detector, "grouped")
    assert torch.equal(state["merges.1.reduction.weight"][:, 13], detector[key][:, 2 * 192 + 3])


def test_swin_detector_has_the_known_number_of_tensors():
    assert len(published.swin_detector("")) == 187


def test_resnet_of_the_classifier_library_fills_the_encoder(tmp_path):
    source = tmp_path / "resnet50.pth"
    torch.save(published.fabricated(published.resnet50()), source)
    coverage = convert_resnet50(source, tmp_path / "r50.safetensors")
    assert coverage.counts()["ignored"] == 2  # the classifier
    ours, theirs = load_file(tmp_path / "r50.safetensors"), read_state(source)
    assert torch.equal(ours["stages.2.5.expand.conv.weight"], theirs["layer3.5.conv3.weight"])
    assert torch.equal(ours["stages.1.0.shortcut.norm.bias"], theirs["layer2.0.downsample.1.bias"])


class Harmful:
    def __reduce__(self):
        return (print, ("this must never run",))


def test_files_that_would_run_code_are_refused(tmp_path, capsys):
    torch.save({"state_dict": {"a": torch.zeros(1)}, "meta": Harmful()}, tmp_path / "x.pth")
    with pytest.raises(ValueError, match="could run code"):
        read_state(tmp_path / "x.pth")
    assert "never run" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"not weights", pickle.dumps([1, 2]), pickle.dumps({})])
def test_damaged_files_are_named(tmp_path, content):
    file = tmp_path / "broken.pth"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"broken\.pth"):
        read_state(file)
    with pytest.raises(ValueError, match=r"absent\.pth.*got none"):
        read_state(tmp_path / "absent.pth")


def test_coverage_error_is_a_value_error():
    with pytest.raises(CoverageError, match="unexplained"):
        swin_state({"nothing.known": torch.zeros(1)})
