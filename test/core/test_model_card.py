# SPDX-License-Identifier: Apache-2.0
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from simdistill_ros.core.boxes import NUSCENES_CLASSES
from simdistill_ros.core.model_card import ModelCardError, load_model_card, model_card_from_dict

SHIPPED = ("small", "tiny", "swint-256x704", "r50-256x704")


@pytest.fixture
def data(models_folder) -> dict[str, Any]:
    return yaml.safe_load((models_folder / "tiny" / "model.yaml").read_text())


def changed(data: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """Set a dotted key; None removes it."""
    *path, last = key.split(".")
    part: Any = data
    for name in path:
        part = part[int(name)] if isinstance(part, list) else part[name]
    if value is None:
        del part[last]
    else:
        part[last] = value
    return data


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_card_loads_with_the_nuscenes_classes_in_label_order(models_folder, name):
    card = load_model_card(models_folder / name)
    assert card.name == name
    assert card.classes == NUSCENES_CLASSES
    assert card.cameras[0] == "cam_front"
    assert len(card.cameras) == 6
    assert not any(card.legacy.model_dump().values())


def test_every_folder_of_models_is_a_shipped_card(models_folder):
    assert sorted(folder.parent.name for folder in models_folder.glob("*/model.yaml")) == sorted(
        SHIPPED
    )


def test_paper_card_has_the_papers_sizes(models_folder):
    card = load_model_card(models_folder / "swint-256x704")
    assert card.feature_hw == (32, 88)
    assert card.lift.depth.count == 118
    assert card.bev.grid.shape_xy == (360, 360)
    assert card.compensated_shape_xy == card.head_shape_xy == (180, 180)
    assert card.head_cell_m == pytest.approx(0.6)


def test_card_is_found_in_its_folder_and_by_its_file(models_folder):
    by_folder = load_model_card(models_folder / "tiny")
    by_file = load_model_card(models_folder / "tiny" / "model.yaml")
    assert by_folder == by_file
    assert by_folder.file == models_folder / "tiny" / "model.yaml"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("lift.stride", None, "lift.stride: Field required"),
        ("lift.colour", 3, "lift.colour: Extra inputs"),
        ("lift.stride", 4, "lift.stride: Input should be 8 or 16"),
        ("encoder.depths", [1, 1, 1, 1], "encoder.depths: Extra inputs"),
        ("encoder.kind", "vgg", "encoder"),
        ("tasks.1.nms.iou", "0.2", "tasks.1.nms.iou: Input should be a valid number"),
        ("tasks.1.nms.scale", [1.0], "tasks.1: .*nms.scale: expected 2 factors, got 1"),
        ("tasks.1.classes", ["car"], "tasks"),
        ("image.input_hw", [130, 352], "image.input_hw: expected multiples of lift.stride 8"),
        ("image.resized_width_px", 300, "image: .*at least the input width 352, got 300"),
        ("image.mean", [0.5, 0.5], "image.mean"),
        ("bev.cell_m", 0.7, "bev: .*a cell that divides x_m"),
        ("bev.cell_m", float("nan"), "bev.cell_m: Input should be a finite number"),
        ("bev.ego_from_bev.rotation_wxyz", [1, 1, 0, 0], "rotation_wxyz: .*length 1"),
        ("cameras", ["a", "b", "a"], "cameras: .*different names"),
        ("schema_version", 2, "schema_version: Input should be 1"),
        ("legacy", {"truncated": True}, "legacy.truncated: Extra inputs"),
        ("weights", {"file": "../x.safetensors", "sha256": "0" * 64}, "weights.file"),
        (
            "onnx",
            {"image": {"file": "../x.onnx", "sha256": "0" * 64}},
            "onnx.image.file: .*pattern",
        ),
        ("onnx", {"opset": 20, "precision": "int4"}, "onnx.precision: Input should be 'fp32'"),
        ("golden", {"file": "g.safetensors", "sha256": "0" * 64, "tolerance": 0.0}, "tolerance"),
        ("bev_encoder.upsample", 2, "bev_encoder: .*upsample: expected 1 with neck.kind sum"),
    ],
)
def test_wrong_card_is_refused_with_file_and_key(data, key, value, message):
    with pytest.raises(ModelCardError, match=message) as error:
        model_card_from_dict(changed(data, key, value), Path("some/model.yaml"))
    assert str(error.value).startswith("some/model.yaml: ")


def test_every_wrong_key_is_named_at_once(data):
    changed(data, "lift.stride", None)
    changed(data, "head.width", 3)
    with pytest.raises(ModelCardError) as error:
        model_card_from_dict(data)
    assert "lift.stride" in str(error.value)
    assert "head.width" in str(error.value)


def test_missing_and_unreadable_files_are_named(tmp_path):
    with pytest.raises(ModelCardError, match=r"nowhere: no such model card"):
        load_model_card(tmp_path / "nowhere")
    with pytest.raises(ModelCardError, match=r"model\.yaml: no such model card"):
        load_model_card(tmp_path)
    (tmp_path / "model.yaml").write_text("a: [1")
    with pytest.raises(ModelCardError, match=r"model\.yaml: not readable as YAML"):
        load_model_card(tmp_path)
    (tmp_path / "model.yaml").write_text("just text")
    with pytest.raises(ModelCardError, match=r"model\.yaml: card: "):
        load_model_card(tmp_path)


def test_key_given_twice_is_refused(tmp_path, models_folder):
    text = (models_folder / "tiny" / "model.yaml").read_text()
    (tmp_path / "model.yaml").write_text(text + "\nname: other\n")
    with pytest.raises(ModelCardError, match="key 'name' is given twice"):
        load_model_card(tmp_path)


def test_yaml_cannot_run_code(tmp_path):
    (tmp_path / "model.yaml").write_text("name: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(ModelCardError, match="not readable as YAML"):
        load_model_card(tmp_path)


def test_weights_are_taken_only_with_the_right_hash(data, tmp_path):
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(b"some weights")
    digest = hashlib.sha256(b"some weights").hexdigest()
    data["weights"] = {"file": weights.name, "sha256": digest}
    card = model_card_from_dict(data, tmp_path / "model.yaml")
    assert card.verified_weights() == weights
    weights.write_bytes(b"some other weights")
    with pytest.raises(ModelCardError, match=f"weights.sha256: expected {digest}"):
        card.verified_weights()
    weights.unlink()
    with pytest.raises(ModelCardError, match="does not exist"):
        card.verified_weights()


def test_untrained_model_has_no_weights_to_verify(data):
    data["weights"] = None
    assert model_card_from_dict(data).verified_weights() is None


def test_mounting_of_the_bev_frame_is_a_transform(data):
    data["bev"]["ego_from_bev"] = {
        "translation_m": [1.0, 2.0, 3.0],
        "rotation_wxyz": [np.sqrt(0.5), 0.0, 0.0, np.sqrt(0.5)],
    }
    ego_from_bev = model_card_from_dict(data).bev.ego_from_bev.matrix()
    np.testing.assert_allclose(ego_from_bev @ [1, 0, 0, 1], [1, 3, 3, 1], atol=1e-12)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("image.input_hw", [100_000, 8], "8192"),
        ("bev.cell_m", 0.001, "at most 4096 cells"),
        ("bev.x_m", [-1e308, 1e308], "bev.x_m"),
        ("lift.depth_bins.step_m", 1e-9, "at most 1024 depth bins"),
        ("head.shared_channels", 10**9, "65536"),
        ("schema_version", True, "expected no boolean"),
    ],
)
def test_a_card_that_asks_for_more_than_any_machine_has_is_refused(data, key, value, words):
    with pytest.raises(ModelCardError, match=words):
        model_card_from_dict(changed(data, key, value))


def test_a_number_of_ten_thousand_digits_is_refused(data):
    data["init_seed"] = 1 << 40_000
    with pytest.raises(ModelCardError, match="plain values"):
        model_card_from_dict(data)


def test_a_file_larger_than_any_package_has_is_not_read(data, tmp_path, monkeypatch):
    monkeypatch.setattr("simdistill_ros.core.model_card.MAX_FILE_BYTES", 10)
    (tmp_path / "w.safetensors").write_bytes(bytes(11))
    data["weights"] = {"file": "w.safetensors", "sha256": hashlib.sha256(bytes(11)).hexdigest()}
    card = model_card_from_dict(data, tmp_path / "model.yaml")
    with pytest.raises(ModelCardError, match="expected at most 10 bytes"):
        card.verified_weights()
