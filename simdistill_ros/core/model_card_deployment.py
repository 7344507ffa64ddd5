# SPDX-License-Identifier: Apache-2.0
"""The sections of a model card that export and quantisation add: graphs and proofs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from simdistill_ros.core.model_card_parts import Positive, Section

Precision = Literal["fp32", "fp16", "int8"]
Tolerance = Annotated[float, Field(gt=0, lt=1)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class OnnxFileCard(Section):
    """An ONNX file beside the card."""

    file: Annotated[str, Field(pattern=r"^[^/\\]+\.onnx$")]
    sha256: Sha256


class OnnxCard(Section):
    """The network as two ONNX graphs; pooling is done between them.

    `image` takes uint8 images and gives depth probabilities and context of both lift branches,
    `bev` takes pooled maps and gives head maps. Names and shapes: `core/onnx_interface`. With
    `cameras_per_run`, the image graph takes as many cameras at a time; the card has a multiple.
    """

    image: OnnxFileCard
    bev: OnnxFileCard
    opset: Positive
    precision: Precision
    cameras_per_run: Positive | None = None


class GoldenCard(Section):
    """An input with the outputs the network gave when it was exported.

    `tolerance` is the largest error of a backend that may serve, of each head map, relative to the
    map's largest value or to one, whichever is larger. `tolerance_fp16` is that of a backend that
    computes in half precision; without it none may serve.
    """

    file: Annotated[str, Field(pattern=r"^[^/\\]+\.safetensors$")]
    sha256: Sha256
    tolerance: Tolerance
    tolerance_fp16: Tolerance | None = None


class CalibrationCard(Section):
    """The frames whose activations set the ranges of the 8-bit values."""

    data: str
    frames: Positive


class QuantisedScoresCard(Section):
    """The benchmark's scores of the float and of the 8-bit graphs on the same frames.

    `max_drop` is the most that mAP and NDS may lose (absolute) for the package to be written.
    """

    data: str
    frames: Positive
    mean_ap_float: float
    nds_float: float
    mean_ap: float
    nds: float
    max_drop: Annotated[float, Field(ge=0, le=1)]


class Int8Card(Section):
    """The same network with 8-bit weights and activations, made by `simdistill quantize`.

    `activations` says for what: `uint8` (asymmetric, integer biases) is fast on CPUs, `int8`
    (symmetric, float biases) is what TensorRT takes. Weights are symmetric, one scale a channel;
    7 bits of them keep CPUs without VNNI from overflowing. `float_nodes` counts the convolutions
    that stayed in float.
    """

    onnx: OnnxCard
    golden: GoldenCard
    activations: Literal["uint8", "int8"]
    weight_bits: Literal[7, 8]
    float_nodes: Annotated[int, Field(ge=0)]
    calibration: CalibrationCard
    scores: QuantisedScoresCard
