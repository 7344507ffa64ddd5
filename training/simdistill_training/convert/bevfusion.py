# SPDX-License-Identifier: Apache-2.0
"""BEVFusion's published detectors → a model package, and a teacher."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor

from simdistill_ros.core.model_card import (
    CARD_FILE,
    ModelCard,
    load_model_card,
    model_card_from_dict,
)
from simdistill_ros.core.model_card_parts import PoseCard
from simdistill_ros.core.network import reference_keys as keys
from simdistill_ros.core.network.build import build_student
from simdistill_ros.core.network.reference_keys import State
from simdistill_training.convert.coverage import Coverage, Part, Reasons, convert
from simdistill_training.convert.state_files import read_state
from simdistill_training.convert.teacher_keys import (
    DEPTH_HEAD,
    RASTER_ENCODER,
    SECOND_ENCODER,
    SECOND_NECK,
    SPARSE_ENCODER,
    TRANSFUSION_HEAD,
    fold_convolution_biases,
    output_channels_first,
)
from simdistill_training.teacher.teacher import Teacher, TeacherConfig

CARD_TEMPLATE = Path(__file__).with_name("bevfusion_card.yaml")
WEIGHTS_FILE = "weights.safetensors"
TEACHER_FILE = "teacher.safetensors"
PARTS_FILE = "teacher_parts.safetensors"
PUBLISHED_TEACHER = TeacherConfig(lidar="sparse", decoder="published", truncated_pixels=True)
COVERAGE_FILE = "coverage.txt"
LIFT = "encoders.camera.vtransform."
NORM_EPS = 1e-5

GEOMETRY: Reasons = (
    (r"encoders\.camera\.vtransform\.(dx|bx|nx|frustum)", "geometry, which the card gives"),
)
OTHER_DECODER: Reasons = (
    (r"decoder\..*", "SECOND decoder; a teacher has the student's BEV encoder"),
    (r"heads\.object\..*", "TransFusion head; a teacher has the student's head"),
)
OWN_DECODER: Reasons = (
    (r"(bev_encoder|bev_neck|head)\..*", "published decoder and head are others: to be trained"),
)


def convert_camera_only(source: Path, folder: Path, *, ego_from_lidar: PoseCard | None) -> Coverage:
    """Write a runnable model package from `camera-only-det.pth`.

    Args:
        source: The published file.
        folder: Where the package is written.
        ego_from_lidar: How LIDAR_TOP, whose frame the weights live in, is mounted on the vehicle;
            None takes that of most nuScenes vehicles.

    Raises:
        CoverageError: If a key is unexplained.
        ValueError: If the file is not readable.
    """
    data = _card_data(ego_from_lidar)
    card = model_card_from_dict(data)
    state, coverage = camera_only_state(read_state(source), card)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(state, folder / WEIGHTS_FILE)
    digest = hashlib.sha256((folder / WEIGHTS_FILE).read_bytes()).hexdigest()
    data["weights"] = {"file": WEIGHTS_FILE, "sha256": digest}
    _write_card(data, folder)
    (folder / COVERAGE_FILE).write_text(coverage.table() + "\n", encoding="utf-8")
    return coverage


def convert_teacher(
    source: Path, folder: Path, *, ego_from_lidar: PoseCard | None, with_decoder: bool = True
) -> Coverage:
    """Write the teacher of `bevfusion-det.pth` and the card it needs.

    Args:
        source: The published file.
        folder: Where they are written.
        ego_from_lidar: As `convert_camera_only`.
        with_decoder: Whole, for `PUBLISHED_TEACHER`; otherwise only its camera, LiDAR and fuser
            parts, for a teacher whose BEV encoder and centre head are still to be trained.

    Raises:
        CoverageError: If a key is unexplained.
        ValueError: If the file is not readable.
    """
    data = teacher_card_data(ego_from_lidar)
    card = model_card_from_dict(data)
    state, coverage = teacher_state(read_state(source), card, with_decoder=with_decoder)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(state, folder / (TEACHER_FILE if with_decoder else PARTS_FILE))
    _write_card(data, folder)
    (folder / COVERAGE_FILE).write_text(coverage.table() + "\n", encoding="utf-8")
    return coverage


def camera_only_state(published: Mapping[str, Tensor], card: ModelCard) -> tuple[State, Coverage]:
    """Return the student's weights of the camera-only detector and the account of all keys."""
    parts = [
        *_camera_parts("image_network.encoder.", "image_network.neck."),
        Part(LIFT, ("image_network.lidar_lift.",), keys.LIFT_HEAD),
        Part(LIFT, ("bev_network.lidar_downsample.",), keys.BEV_DOWNSAMPLE),
        Part("decoder.backbone.", ("bev_network.encoder.",), keys.BEV_ENCODER),
        Part("decoder.neck.", ("bev_network.neck.",), keys.BEV_NECK),
        Part("heads.object.", ("bev_network.head.",), keys.CENTER_HEAD),
    ]
    fuser = _pass_through_fuser(card.lift.context_channels)
    expected = build_student(card).state_dict()
    may_miss = ((r"bev_network\.fuser\..*", "there is one branch: set to pass it on unchanged"),)
    state, coverage = convert(published, parts, expected, ignored=GEOMETRY, may_miss=may_miss)
    return state | fuser, coverage


def teacher_state(
    published: Mapping[str, Tensor], card: ModelCard, *, with_decoder: bool = True
) -> tuple[State, Coverage]:
    """Return the teacher's weights of the LiDAR-camera detector and the account of all keys."""
    parts = [
        *_camera_parts("encoder.", "neck."),
        Part(LIFT, ("camera.raster_encoder.",), RASTER_ENCODER, fold_convolution_biases),
        Part(LIFT, ("camera.head.",), DEPTH_HEAD, fold_convolution_biases),
        Part(LIFT, ("camera.downsample.",), keys.BEV_DOWNSAMPLE),
        Part(
            "encoders.lidar.backbone.", ("lidar.encoder.",), SPARSE_ENCODER, output_channels_first
        ),
        Part("fuser.", ("fuser.",), keys.FUSER),
    ]
    if with_decoder:
        parts += [
            Part("decoder.backbone.", ("bev_encoder.",), SECOND_ENCODER),
            Part("decoder.neck.", ("bev_neck.",), SECOND_NECK),
            Part("heads.object.", ("head.transfusion.",), TRANSFUSION_HEAD),
        ]
    decoder: Literal["card", "published"] = "published" if with_decoder else "card"
    expected = Teacher(card, replace(PUBLISHED_TEACHER, decoder=decoder)).state_dict()
    ignored = [*GEOMETRY, *(() if with_decoder else OTHER_DECODER)]
    may_miss = () if with_decoder else OWN_DECODER
    return convert(published, parts, expected, ignored=ignored, may_miss=may_miss)


def teacher_card_data(ego_from_lidar: PoseCard | None) -> dict[str, Any]:
    """Return the card of a student whose maps fit the published LiDAR-camera detector's."""
    data = _card_data(ego_from_lidar)
    data["name"] = "bevfusion-teacher"
    data["description"] = (
        "Student in the frame and on the grid of bevfusion-det.pth, to distil into"
    )
    data["bev"] |= {"x_m": [-54.0, 54.0], "y_m": [-54.0, 54.0], "cell_m": 0.3}
    data["lift"] |= {"hidden_layers": 2}
    data["fuser"] = {"channels": 256}
    data["compensation"] = {
        "image": {"kind": "deformable_attention", "heads": 8, "points": 10},
        "bev": {"kind": "deformable_attention", "heads": 8, "points": 20},
    }
    data["legacy"] = {"corner_aligned_frustum": True, "truncated_cells": True}
    for task in data["tasks"]:
        if task["nms"]["kind"] == "circle":
            task["nms"]["radius_m"] **= 0.5
    return data


def _camera_parts(encoder: str, neck: str) -> list[Part]:
    return [
        Part("encoders.camera.backbone.", (encoder,), keys.SWIN),
        Part("encoders.camera.neck.", (neck,), keys.IMAGE_NECK),
    ]


def _pass_through_fuser(channels: int) -> State:
    """Return a fuser that gives its first map (not negative, after ReLU) back unchanged."""
    weight = torch.zeros(channels, 2 * channels, 3, 3)
    weight[range(channels), range(channels), 1, 1] = 1
    prefix = "bev_network.fuser.conv."
    return {
        f"{prefix}conv.weight": weight,
        f"{prefix}norm.weight": torch.full((channels,), (1 + NORM_EPS) ** 0.5),
        f"{prefix}norm.bias": torch.zeros(channels),
        f"{prefix}norm.running_mean": torch.zeros(channels),
        f"{prefix}norm.running_var": torch.ones(channels),
        f"{prefix}norm.num_batches_tracked": torch.tensor(0),
    }


def _card_data(ego_from_lidar: PoseCard | None) -> dict[str, Any]:
    data: dict[str, Any] = yaml.safe_load(CARD_TEMPLATE.read_text(encoding="utf-8"))
    if ego_from_lidar is not None:
        data["bev"]["ego_from_bev"] = ego_from_lidar.model_dump(mode="json")
    return data


def _write_card(data: dict[str, Any], folder: Path) -> None:
    file = folder / CARD_FILE
    file.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
    load_model_card(file)
