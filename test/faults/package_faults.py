# SPDX-License-Identifier: Apache-2.0
"""Faults of what a node is started with: files on the disk, the device, parameters.

The node stays unconfigured and alive and says why in the status of `model`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

CARD = "model.yaml"


@dataclass(frozen=True)
class StartFault:
    """One fault that keeps a node from being configured.

    Attributes:
        name: What goes wrong, for people.
        group: disk, device or parameter.
        words: Parts of what the node says.
        spoil: Changes the good package in a folder.
        parameters: What the node is started with besides.
        recovery: How it heals, for people.
    """

    name: str
    group: str
    words: tuple[str, ...]
    spoil: Callable[[Path], None] = lambda folder: None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    recovery: str = "when it is configured again with the right files"


def flip(name: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / name).write_bytes(content)

    return spoil


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def write(text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / CARD).write_text(text) and None


def card_with(**changes: Any) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        data = yaml.safe_load((folder / CARD).read_text())
        (folder / CARD).write_text(yaml.safe_dump({**data, **changes}))

    return spoil


def cut_half(folder: Path) -> None:
    text = (folder / CARD).read_text()
    (folder / CARD).write_text(text[: len(text) // 2])


TORCH = {"backend": "torch"}
ONNX = {"backend": "onnxruntime"}
RESTART = "when it is started with another value"

START_FAULTS: tuple[StartFault, ...] = (
    StartFault("no model folder", "disk", ("model",), spoil=shutil.rmtree),
    StartFault("no model card", "disk", (CARD,), spoil=remove(CARD)),
    StartFault("half a model card, as after a full disk", "disk", (CARD,), spoil=cut_half),
    StartFault("model card with an unknown key", "disk", ("colour",), card_with(colour="red")),
    StartFault("model card of another schema", "disk", ("schema_version",),
               card_with(schema_version=99)),
    StartFault("model card that unfolds without end", "disk", ("anchors",),
               write("a: &a [x, x]\nb: [*a, *a]\n")),
    StartFault("model card that runs code", "disk", ("tag",),
               write("name: !!python/object/apply:os.getcwd []\n")),
    StartFault("flipped bit in the weights", "disk", ("weights.sha256",),
               flip("weights.safetensors"), {**TORCH}),
    StartFault("weights missing", "disk", ("weights.safetensors", "does not exist"),
               remove("weights.safetensors"), {**TORCH}),
    StartFault("flipped bit in an ONNX graph", "disk", ("onnx.image.sha256",),
               flip("image.onnx"), {**ONNX}),
    StartFault("ONNX graph missing", "disk", ("image.onnx", "does not exist"),
               remove("image.onnx"), {**ONNX}),
    StartFault("flipped bit in the golden example", "disk", ("golden.sha256",),
               flip("golden.safetensors")),
    StartFault("device cuda where there is none", "device", ("cuda",),
               parameters={"backend": "torch", "device": "cuda"}, recovery=RESTART),
    StartFault("ONNX Runtime asked for, package not exported", "device", ("simdistill export",),
               card_with(onnx=None), {**ONNX}, RESTART),
    StartFault("cameras that the model does not have", "parameter", ("cameras.names",),
               parameters={"cameras.names": "cam_top"}, recovery=RESTART),
    StartFault("two cameras on one topic", "parameter", ("cam_front/image_rect", "cam_back"),
               parameters={"cameras.cam_back.image_topic": "cam_front/image_rect"},
               recovery=RESTART),
)  # fmt: skip
