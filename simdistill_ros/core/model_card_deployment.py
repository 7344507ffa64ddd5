# SPDX-License-Identifier: Apache-2.0
"""The sections of a model card that an export adds: ONNX graphs and the golden example."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from simdistill_ros.core.model_card_parts import Positive, Section

Precision = Literal["fp32", "fp16"]
Tolerance = Annotated[float, Field(gt=0, lt=1)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class OnnxFileCard(Section):
    """An ONNX file beside the card."""

    file: Annotated[str, Field(pattern=r"^[^/\\]+\.onnx$")]
    sha256: Sha256


class OnnxCard(Section):
    """The network as two ONNX graphs; pooling is done between them.

    `image` takes uint8 images and gives depth probabilities and context of both lift branches,
    `bev` takes pooled maps and gives head maps. Names and shapes: `core/onnx_interface`.
    """

    image: OnnxFileCard
    bev: OnnxFileCard
    opset: Positive
    precision: Precision


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
