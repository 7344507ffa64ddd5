# SPDX-License-Identifier: Apache-2.0
"""The model card: everything about a model that its weights were made for.

A model is a folder `models/<name>/` with `model.yaml` (this schema; its sections are in
`core/model_card_parts`) and, once trained, its weights. Errors name the file and the key. Sizes
stand in the card and nowhere else. Building the network is `network/build`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr, ValidationError, field_validator, model_validator

from simdistill_ros.core.card_yaml import CardYamlError, read_card_yaml
from simdistill_ros.core.frames import FloatArray
from simdistill_ros.core.lift_geometry import BoolArray, PoolingTables, pooling_tables
from simdistill_ros.core.model_card_deployment import (
    GoldenCard,
    Int8Card,
    OnnxCard,
    OnnxFileCard,
    Precision,
)
from simdistill_ros.core.model_card_parts import (
    BevCard,
    BevEncoderCard,
    DecodeCard,
    EncoderCard,
    FuserCard,
    GeometryCompensationCard,
    HeadCard,
    ImageCard,
    LegacyCard,
    LiftCard,
    NeckCard,
    NonNegative,
    Section,
    TaskCard,
    TrainingCard,
    WeightsCard,
)

CARD_FILE = "model.yaml"
# More than any card or package has; what is larger is not read into memory.
MAX_CARD_BYTES = 1_000_000
MAX_FILE_BYTES = 2_000_000_000


class ModelCardError(ValueError):
    """A model card or the weights it names cannot be used; the message names file and key."""


class ModelCard(Section):
    """One model, complete."""

    schema_version: Literal[1]
    name: Annotated[str, Field(min_length=1)]
    description: str
    cameras: Annotated[tuple[str, ...], Field(min_length=1)]
    image: ImageCard
    encoder: EncoderCard
    neck: NeckCard
    lift: LiftCard
    bev: BevCard
    compensation: GeometryCompensationCard
    fuser: FuserCard
    bev_encoder: BevEncoderCard
    head: HeadCard
    tasks: Annotated[tuple[TaskCard, ...], Field(min_length=1)]
    decode: DecodeCard
    weights: WeightsCard | None
    init_seed: NonNegative
    legacy: LegacyCard = LegacyCard()
    training: TrainingCard | None = None
    metrics: dict[str, float] | None = None
    onnx: OnnxCard | None = None
    onnx_fp16: OnnxCard | None = None
    golden: GoldenCard | None = None
    int8: Int8Card | None = None

    _file: Path = PrivateAttr(default=Path(CARD_FILE))

    @field_validator("cameras")
    @classmethod
    def _cameras_differ(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) != len(value):
            raise ValueError(f"expected different names, got {list(value)}")
        return value

    @model_validator(mode="after")
    def _parts_fit(self) -> ModelCard:
        if len(set(self.classes)) != len(self.classes):
            raise ValueError(f"tasks: expected every class once, got {list(self.classes)}")
        if any(size % self.lift.stride for size in self.image.input_hw):
            raise ValueError(
                f"image.input_hw: expected multiples of lift.stride {self.lift.stride}, "
                f"got {list(self.image.input_hw)}"
            )
        if any(size % self.head_stride for size in self.bev.grid.shape_xy):
            raise ValueError(
                f"bev: expected a grid whose shape is a multiple of the head's stride "
                f"{self.head_stride}, got {self.bev.grid.shape_xy}"
            )
        return self

    @property
    def file(self) -> Path:
        """The file the card was read from."""
        return self._file

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in label order: those of the first task, then the next."""
        return tuple(name for task in self.tasks for name in task.classes)

    @property
    def feature_hw(self) -> tuple[int, int]:
        """(Hf, Wf) of the feature map that is lifted."""
        height, width = self.image.input_hw
        return height // self.lift.stride, width // self.lift.stride

    @property
    def compensated_shape_xy(self) -> tuple[int, int]:
        """Cells along x and y after the lift's downsampling."""
        stride = prod(self.lift.downsample_strides)
        x, y = self.bev.grid.shape_xy
        return x // stride, y // stride

    @property
    def head_stride(self) -> int:
        """Pooled cells per head cell, along x and along y."""
        stride = prod(self.lift.downsample_strides)
        return max(1, stride * self.bev_encoder.stages[0].stride // self.bev_encoder.upsample)

    @property
    def head_cell_m(self) -> float:
        """Size of a head cell, metres."""
        return self.bev.cell_m * self.head_stride

    @property
    def head_shape_xy(self) -> tuple[int, int]:
        """Cells of the head maps along x and y."""
        x, y = self.bev.grid.shape_xy
        stride = self.head_stride
        return x // stride, y // stride

    @property
    def precision(self) -> Precision:
        """Arithmetic of the graphs that stand in `onnx`."""
        return self.onnx.precision if self.onnx else "fp32"

    def in_precision(self, precision: Precision) -> ModelCard:
        """Return the card with a precision's graphs and tolerance in place of the single ones.

        Raises:
            ModelCardError: If the package does not have the precision.
        """
        if precision == "int8":
            return self.in_int8()
        return self if precision == "fp32" else self.in_fp16()

    def in_fp16(self) -> ModelCard:
        """Return the card with the half precision graphs and the tolerance that belongs to them.

        Raises:
            ModelCardError: If the package has no half precision graphs.
        """
        if self.onnx_fp16 is None or self.golden is None or self.golden.tolerance_fp16 is None:
            raise ModelCardError(
                f"{self._file}: onnx_fp16, golden.tolerance_fp16: expected half precision graphs "
                "and a tolerance, got none; make them with `simdistill export`"
            )
        golden = self.golden.model_copy(update={"tolerance": self.golden.tolerance_fp16})
        return self.model_copy(update={"onnx": self.onnx_fp16, "golden": golden})

    def in_int8(self) -> ModelCard:
        """Return the card with the 8-bit graphs and their golden example in place of the others.

        Raises:
            ModelCardError: If the package has no 8-bit graphs.
        """
        if self.int8 is None:
            raise ModelCardError(
                f"{self._file}: int8: expected 8-bit graphs, got none; "
                "make them with `simdistill quantize`"
            )
        return self.model_copy(update={"onnx": self.int8.onnx, "golden": self.int8.golden})

    def verified_weights(self) -> Path | None:
        """Return the weights file after checking its hash, or None for an untrained model.

        Raises:
            ModelCardError: If the file is missing or its sha256 is not the card's.
        """
        if self.weights is None:
            return None
        self.verified_bytes("weights", self.weights)
        return self._file.parent / self.weights.file

    def verified_bytes(self, key: str, entry: WeightsCard | OnnxFileCard | GoldenCard) -> bytes:
        """Return the content of one of the package's files after checking its hash.

        Args:
            key: Where the entry is in the card, for messages.
            entry: Names the file and its hash.

        Raises:
            ModelCardError: If the file is missing or its sha256 is not the card's.
        """
        path = self._file.parent / entry.file
        if not path.is_file():
            raise ModelCardError(f"{self._file}: {key}.file: {path} does not exist")
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ModelCardError(
                f"{self._file}: {key}.file: expected at most {MAX_FILE_BYTES} bytes in {path}, "
                f"got {path.stat().st_size}"
            )
        content = path.read_bytes()
        actual = hashlib.sha256(content).hexdigest()
        if actual != entry.sha256:
            raise ModelCardError(
                f"{self._file}: {key}.sha256: expected {entry.sha256} for {path}, got {actual}"
            )
        return content

    def pooling_tables(
        self,
        bev_from_cam: FloatArray,
        input_from_cam: FloatArray,
        present: BoolArray | None = None,
    ) -> PoolingTables:
        """Return the model's pooling tables for a rig; see `lift_geometry.pooling_tables`."""
        return pooling_tables(
            self.bev.grid,
            self.lift.depth,
            feature_hw=self.feature_hw,
            input_hw=self.image.input_hw,
            bev_from_cam=bev_from_cam,
            input_from_cam=input_from_cam,
            corner_aligned_frustum=self.legacy.corner_aligned_frustum,
            truncated_cells=self.legacy.truncated_cells,
            present=present,
        )


def load_model_card(path: str | Path) -> ModelCard:
    """Read a model card.

    Args:
        path: The model's folder or its `model.yaml`.

    Raises:
        ModelCardError: If the file is missing, is not YAML, or has an unknown, missing or wrong
            key; the message names the file and each key.
    """
    file = Path(path) / CARD_FILE if Path(path).is_dir() else Path(path)
    if not file.is_file():
        raise ModelCardError(f"{file}: no such model card; expected a folder with {CARD_FILE}")
    try:
        with file.open("rb") as opened:
            data = read_card_yaml(opened.read(MAX_CARD_BYTES).decode("utf-8"))
    except (CardYamlError, UnicodeDecodeError) as error:
        raise ModelCardError(f"{file}: not readable as YAML: {error}") from error
    return model_card_from_dict(data, file)


def model_card_from_dict(data: Any, file: Path = Path(CARD_FILE)) -> ModelCard:
    """Check plain YAML data as a model card that would lie at `file`.

    Raises:
        ModelCardError: As `load_model_card`.
    """
    try:
        # JSON, because strict validation of Python objects would refuse lists for tuples.
        text = json.dumps(data, default=str)
    except (ValueError, TypeError, RecursionError) as error:  # a number of a thousand digits
        raise ModelCardError(f"{file}: expected plain values: {error}") from error
    for where in _booleans(data):
        if not where.startswith("legacy."):
            raise ModelCardError(f"{file}: {where}: expected no boolean")
    try:
        card = ModelCard.model_validate_json(text)
    except ValidationError as error:
        problems = [
            f"{file}: {_dotted(item['loc'], data)}: {item['msg']}" for item in error.errors()
        ]
        raise ModelCardError("\n".join(problems)) from None
    card._file = file
    return card


def _booleans(data: Any, where: str = "") -> Iterator[str]:
    """Yield where booleans are; true would pass for 1 where 1 is a choice."""
    if isinstance(data, bool):
        yield where
    elif isinstance(data, dict | list):
        for key, value in data.items() if isinstance(data, dict) else enumerate(data):
            yield from _booleans(value, f"{where}.{key}".lstrip("."))


def _dotted(location: tuple[int | str, ...], data: Any) -> str:
    """Return the YAML key of an error; drops the tags pydantic inserts for unions."""
    names: list[str] = []
    for position, part in enumerate(location):
        is_last = position == len(location) - 1
        if isinstance(data, dict) and part not in data and not is_last:
            continue
        names.append(str(part))
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            data = None
    return ".".join(names) or "card"
