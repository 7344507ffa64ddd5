# SPDX-License-Identifier: Apache-2.0
"""The model card: everything about a model that its weights were made for.

A model is a folder `models/<name>/` with `model.yaml` (this schema) and, once trained, its weights.
Unknown keys, missing keys and wrong types are errors that name the file and the key. Sizes appear
here and nowhere else. Reading a card is this module's job; building the network is `network/build`.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)

from simdistill_ros.core.frames import FloatArray, rigid, rotation_from_quaternion
from simdistill_ros.core.lift_geometry import BevGrid, DepthBins

CARD_FILE = "model.yaml"

Positive = Annotated[int, Field(gt=0)]
NonNegative = Annotated[int, Field(ge=0)]
Metres = Annotated[float, Field(gt=0)]
Span = tuple[float, float]
Strides = tuple[Literal[1, 2], ...]


class ModelCardError(ValueError):
    """A model card or the weights it names cannot be used; the message names file and key."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class ImageCard(_Strict):
    """How a camera image becomes the network input.

    The image is resized to `resized_width_px` with its aspect kept; the input is cut from the
    horizontal centre and the lower edge. Normalisation: (value / 255 - mean) / std per channel.
    """

    input_hw: tuple[Positive, Positive]
    resized_width_px: Positive
    resize_kernel: Literal["bicubic_antialias", "bilinear_antialias"]
    colour_order: Literal["rgb"]
    mean: tuple[float, float, float]
    std: tuple[Metres, Metres, Metres]

    @model_validator(mode="after")
    def _resized_image_covers_input(self) -> ImageCard:
        if self.resized_width_px < self.input_hw[1]:
            raise ValueError(
                f"resized_width_px: expected at least the input width {self.input_hw[1]}, "
                f"got {self.resized_width_px}"
            )
        return self


class SwinEncoderCard(_Strict):
    """Swin transformer; outputs at strides 8, 16 and 32."""

    kind: Literal["swin"]
    embed_channels: Positive
    depths: tuple[Positive, Positive, Positive, Positive]
    heads: tuple[Positive, Positive, Positive, Positive]
    window: Positive
    mlp_ratio: Positive
    drop_path: Annotated[float, Field(ge=0, lt=1)]

    @property
    def out_channels(self) -> tuple[int, ...]:
        """Channels at strides 8, 16 and 32."""
        return tuple(self.embed_channels * factor for factor in (2, 4, 8))


class ResNetEncoderCard(_Strict):
    """ResNet with bottleneck blocks; outputs at strides 8, 16 and 32."""

    kind: Literal["resnet"]
    depths: tuple[Positive, Positive, Positive, Positive]
    base_channels: Positive

    @property
    def out_channels(self) -> tuple[int, ...]:
        """Channels at strides 8, 16 and 32."""
        return tuple(self.base_channels * factor for factor in (8, 16, 32))


class EfficientNetEncoderCard(_Strict):
    """EfficientNet-Lite0, whose sizes are fixed; outputs at strides 8, 16 and 32."""

    kind: Literal["efficientnet_lite0"]

    @property
    def out_channels(self) -> tuple[int, ...]:
        """Channels at strides 8, 16 and 32."""
        return (40, 112, 320)


EncoderCard = Annotated[
    SwinEncoderCard | ResNetEncoderCard | EfficientNetEncoderCard, Field(discriminator="kind")
]


class NeckCard(_Strict):
    """How the encoder's levels are fused: by concatenation (`concat`) or by sums (`sum`)."""

    kind: Literal["concat", "sum"]
    channels: Positive


class DepthBinsCard(_Strict):
    """Candidate depths: start, start + step, ... below stop."""

    start_m: Metres
    stop_m: Metres
    step_m: Metres

    @model_validator(mode="after")
    def _is_a_range(self) -> DepthBinsCard:
        DepthBins(self.start_m, self.stop_m, self.step_m)
        return self


class LiftCard(_Strict):
    """The two lift branches: stride of the lifted map, depth bins and head sizes.

    `downsample_strides` are the strides of the 3x3 convolutions after pooling.
    """

    stride: Literal[8, 16]
    depth_bins: DepthBinsCard
    context_channels: Positive
    hidden_channels: Positive
    hidden_layers: NonNegative
    downsample_strides: Strides

    @property
    def depth(self) -> DepthBins:
        """The depth bins as the lift geometry takes them."""
        return DepthBins(self.depth_bins.start_m, self.depth_bins.stop_m, self.depth_bins.step_m)


class PoseCard(_Strict):
    """A rigid transform."""

    translation_m: tuple[float, float, float]
    rotation_wxyz: tuple[float, float, float, float]

    @field_validator("rotation_wxyz")
    @classmethod
    def _unit(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if abs(float(np.linalg.norm(value)) - 1) > 1e-3:
            raise ValueError(f"expected a quaternion of length 1, got {list(value)}")
        return value

    def matrix(self) -> FloatArray:
        """Return the (4, 4) transform."""
        return rigid(rotation_from_quaternion(self.rotation_wxyz), self.translation_m)


class BevCard(_Strict):
    """The grid that features are pooled into, and where it sits on the vehicle."""

    x_m: Span
    y_m: Span
    z_m: Span
    cell_m: Metres
    ego_from_bev: PoseCard

    @model_validator(mode="after")
    def _is_a_grid(self) -> BevCard:
        _ = self.grid
        return self

    @property
    def grid(self) -> BevGrid:
        """The grid as the lift geometry takes it."""
        return BevGrid(self.x_m, self.y_m, self.z_m, (self.cell_m, self.cell_m))


class CompensationCard(_Strict):
    """One geometry compensation block on the simulated-LiDAR branch; a plain residual."""

    kind: Literal["deformable_attention", "deformable_convolution", "plain_convolution", "none"]
    heads: Positive = 8
    points: Positive = 4


class GeometryCompensationCard(_Strict):
    """Compensation before the depth head (image) and after pooling (bev)."""

    image: CompensationCard
    bev: CompensationCard


class FuserCard(_Strict):
    """Channels after the two BEV branches are concatenated and convolved."""

    channels: Positive


class BevStageCard(_Strict):
    """A stage of residual blocks; the first one has the stride."""

    blocks: Positive
    channels: Positive
    stride: Literal[1, 2]


class BevEncoderCard(_Strict):
    """Residual stages on the BEV map and the neck that brings them back to one map.

    Neck `concat` fuses the last and the first stage and enlarges the result by `upsample`; neck
    `sum` adds 1x1 laterals of all stages at the first stage's size (`upsample` must be 1).
    """

    stages: Annotated[tuple[BevStageCard, ...], Field(min_length=1)]
    neck: NeckCard
    upsample: Literal[1, 2]

    @model_validator(mode="after")
    def _sum_neck_keeps_size(self) -> BevEncoderCard:
        if self.neck.kind == "sum" and self.upsample != 1:
            raise ValueError(f"upsample: expected 1 with neck.kind sum, got {self.upsample}")
        return self


class HeadCard(_Strict):
    """Channels of the centre head's shared and per-branch convolutions."""

    shared_channels: Positive
    branch_channels: Positive


class CircleNmsCard(_Strict):
    """Suppress a box whose centre lies within `radius_m` of a better one's."""

    kind: Literal["circle"]
    radius_m: Metres


class RotatedNmsCard(_Strict):
    """Suppress a box whose rotated BEV overlap with a better one exceeds `iou`.

    `scale` enlarges length and width for the test only, one factor per class of the task.
    """

    kind: Literal["rotated"]
    iou: Annotated[float, Field(gt=0, lt=1)]
    scale: tuple[Metres, ...]


class TaskCard(_Strict):
    """Classes that share one set of head branches and compete in one suppression."""

    classes: Annotated[tuple[str, ...], Field(min_length=1)]
    nms: Annotated[CircleNmsCard | RotatedNmsCard, Field(discriminator="kind")]

    @model_validator(mode="after")
    def _one_scale_per_class(self) -> TaskCard:
        if isinstance(self.nms, RotatedNmsCard) and len(self.nms.scale) != len(self.classes):
            raise ValueError(
                f"nms.scale: expected {len(self.classes)} factors, got {len(self.nms.scale)}"
            )
        return self


class DecodeCard(_Strict):
    """How head maps become boxes.

    `peak_window` keeps a cell only if it is the maximum of that many cells squared; 1 keeps all.
    """

    score_threshold: Annotated[float, Field(ge=0, lt=1)]
    max_candidates: Positive
    max_before_nms: Positive
    max_after_nms: Positive
    peak_window: Literal[1, 3, 5]
    center_x_m: Span
    center_y_m: Span
    center_z_m: Span


class LegacyCard(_Strict):
    """Quirks of the published code, for running its weights. All off means the house rules.

    corner_aligned_frustum: feature columns stretch from input pixel 0 to W - 1.
    truncated_cells: BEV cells are found by rounding toward zero.
    corner_reference_points: deformable attention starts half a cell up-left of its own cell.
    shared_view_transform: both lift branches are the same module.
    squared_circle_distance: circle suppression compares the squared distance with the radius.
    lidar_box_convention: boxes are (w, l, h) with yaw clockwise from -y.
    raised_height: the height map holds the box's top instead of its centre.
    """

    corner_aligned_frustum: bool = False
    truncated_cells: bool = False
    corner_reference_points: bool = False
    shared_view_transform: bool = False
    squared_circle_distance: bool = False
    lidar_box_convention: bool = False
    raised_height: bool = False


class WeightsCard(_Strict):
    """A safetensors file beside the card."""

    file: Annotated[str, Field(pattern=r"^[^/\\]+\.safetensors$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class TrainingCard(_Strict):
    """Where the weights come from."""

    commit: str
    data: str
    seed: int


class ModelCard(_Strict):
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
        stride = int(np.prod(self.lift.downsample_strides, dtype=int))
        x, y = self.bev.grid.shape_xy
        return x // stride, y // stride

    @property
    def head_stride(self) -> int:
        """Pooled cells per head cell, along x and along y."""
        stride = int(np.prod(self.lift.downsample_strides, dtype=int))
        return max(1, stride * self.bev_encoder.stages[0].stride // self.bev_encoder.upsample)

    @property
    def head_cell_m(self) -> float:
        """Size of a head cell, metres."""
        return self.bev.cell_m * self.head_stride

    @property
    def head_shape_xy(self) -> tuple[int, int]:
        """Cells of the head maps along x and y."""
        x, y = self.bev.grid.shape_xy
        return x // self.head_stride, y // self.head_stride

    def verified_weights(self) -> Path | None:
        """Return the weights file after checking its hash, or None for an untrained model.

        Raises:
            ModelCardError: If the file is missing or its sha256 is not the card's.
        """
        if self.weights is None:
            return None
        path = self._file.parent / self.weights.file
        if not path.is_file():
            raise ModelCardError(f"{self._file}: weights.file: {path} does not exist")
        actual = hashlib.sha256(path.read_bytes()).hexdigest()
        if actual != self.weights.sha256:
            raise ModelCardError(
                f"{self._file}: weights.sha256: expected {self.weights.sha256} for {path}, "
                f"got {actual}"
            )
        return path


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
        data = yaml.load(file.read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ModelCardError(f"{file}: not readable as YAML: {error}") from error
    return model_card_from_dict(data, file)


def model_card_from_dict(data: Any, file: Path = Path(CARD_FILE)) -> ModelCard:
    """Check plain YAML data as a model card that would lie at `file`.

    Raises:
        ModelCardError: As `load_model_card`.
    """
    try:
        # JSON, because strict validation of Python objects would refuse lists for tuples.
        card = ModelCard.model_validate_json(json.dumps(data, default=str))
    except ValidationError as error:
        problems = [
            f"{file}: {_dotted(item['loc'], data)}: {item['msg']}" for item in error.errors()
        ]
        raise ModelCardError("\n".join(problems)) from None
    card._file = file
    return card


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


class _UniqueKeyLoader(yaml.SafeLoader):
    """Safe YAML that refuses a key given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key, (key_node, _) in zip(keys, node.value, strict=True):
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} is given twice", key_node.start_mark
                )
        return super().construct_mapping(node, deep=deep)
