# SPDX-License-Identifier: Apache-2.0
import hashlib

import pytest
import torch
from safetensors.torch import save_file

from simdistill_ros.core.model_card import ModelCardError, load_model_card, model_card_from_dict
from simdistill_ros.core.network.build import build_student, load_student


def parameters_m(module: torch.nn.Module) -> float:
    return sum(parameter.numel() for parameter in module.parameters()) / 1e6


@pytest.mark.parametrize("name", ["small", "tiny", "swint-256x704", "r50-256x704"])
def test_shipped_card_builds(models_folder, name):
    student = build_student(load_model_card(models_folder / name))
    assert parameters_m(student) > 1


def test_paper_card_has_the_parameters_of_the_paper_student(models_folder):
    student = build_student(load_model_card(models_folder / "swint-256x704"))
    images, bev = student.image_network, student.bev_network
    millions = {
        "encoder": parameters_m(images.encoder),
        "neck": parameters_m(images.neck),
        "bev_compensation": parameters_m(bev.compensation),
        "fuser": parameters_m(bev.fuser),
        "bev_encoder": parameters_m(bev.encoder),
        "bev_neck": parameters_m(bev.neck),
        "head": parameters_m(bev.head),
    }
    expected = {
        "encoder": 27.52,
        "neck": 1.59,
        "bev_compensation": 0.066,
        "fuser": 0.37,
        "bev_encoder": 11.26,
        "bev_neck": 1.35,
        "head": 1.52,
    }
    assert millions == pytest.approx(expected, rel=0.01)


def test_untrained_network_is_the_same_each_time(small_card):
    first, second = build_student(small_card).state_dict(), build_student(small_card).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_building_leaves_the_random_state_alone(small_card):
    state = torch.random.get_rng_state()
    build_student(small_card)
    assert torch.equal(state, torch.random.get_rng_state())


def test_another_seed_gives_another_network(small_data):
    card = model_card_from_dict(small_data)
    other = model_card_from_dict(small_data | {"init_seed": 1})
    key = "image_network.encoder.stem.conv.weight"
    assert not torch.equal(
        build_student(card).state_dict()[key], build_student(other).state_dict()[key]
    )


@pytest.mark.parametrize(
    "kind", ["none", "plain_convolution", "deformable_convolution", "deformable_attention"]
)
def test_every_kind_of_compensation_runs(small_data, small_tables, kind):
    small_data["compensation"] = {
        place: {"kind": kind, "heads": 4, "points": 2} for place in ("image", "bev")
    }
    student = build_student(model_card_from_dict(small_data)).eval()
    with torch.no_grad():
        tasks = student(torch.randn(1, 2, 3, 32, 64), small_tables)
    assert all(maps.isfinite().all() for task in tasks for maps in task.values())


@pytest.mark.parametrize(
    "encoder",
    [
        {
            "kind": "swin",
            "embed_channels": 12,
            "depths": [1, 1, 2, 1],
            "heads": [1, 2, 3, 6],
            "window": 7,
            "mlp_ratio": 2,
            "drop_path": 0.1,
        },
        {"kind": "resnet", "depths": [1, 1, 1, 1], "base_channels": 8},
    ],
    ids=["swin", "resnet"],
)
@pytest.mark.parametrize("neck", ["concat", "sum"])
def test_every_encoder_and_neck_runs(small_data, small_tables, encoder, neck):
    small_data["encoder"] = encoder
    small_data["neck"] = {"kind": neck, "channels": 16}
    small_data["bev_encoder"]["neck"] = {"kind": neck, "channels": 16}
    small_data["bev_encoder"]["upsample"] = 2 if neck == "concat" else 1
    small_data["bev_encoder"]["stages"][0]["stride"] = 2 if neck == "concat" else 1
    card = model_card_from_dict(small_data)
    with torch.no_grad():
        tasks = build_student(card).eval()(torch.randn(1, 2, 3, 32, 64), small_tables)
    assert tasks[0]["reg"].shape == (1, 2, *card.head_shape_xy)


@pytest.mark.parametrize("neck", ["concat", "sum"])
def test_a_network_may_lift_the_map_of_stride_16(small_data, neck):
    small_data["neck"] = {"kind": neck, "channels": 16}
    small_data["lift"]["stride"] = 16
    card = model_card_from_dict(small_data)
    network = build_student(card).eval().image_network
    images = torch.randn(1, 2, 3, 32, 64)
    with torch.no_grad():
        lifted = network(images)
        levels = network.encoder(images.flatten(0, 1))
        assert torch.equal(network.neck(levels), network.neck(levels[1:]))
    assert lifted.context_lidar.shape == (1, 2, 2, 4, card.lift.context_channels)


def test_weights_come_from_the_file_of_the_card(small_data, tmp_path):
    trained = build_student(model_card_from_dict(small_data | {"init_seed": 5}))
    path = tmp_path / "weights.safetensors"
    save_file(trained.state_dict(), path)
    small_data["weights"] = {
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    student = load_student(model_card_from_dict(small_data, tmp_path / "model.yaml"))
    assert not student.training
    own, expected = student.state_dict(), trained.state_dict()
    assert all(torch.equal(own[key], expected[key]) for key in expected)


def test_weights_of_another_network_are_refused_by_path(small_data, tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file({"something": torch.zeros(1)}, path)
    small_data["weights"] = {
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    with pytest.raises(ModelCardError, match=r"model\.yaml: .*weights\.safetensors does not fit"):
        load_student(model_card_from_dict(small_data, tmp_path / "model.yaml"))
