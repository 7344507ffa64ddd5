# SPDX-License-Identifier: Apache-2.0
"""The sections of a model card, one class each; `core/model_card` puts them together.

Every section is frozen and strict: an unknown key, a missing key or another type is an error.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from simdistill_ros.core.frames import FloatArray, rigid, rotation_from_quaternion
from simdistill_ros.core.lift_geometry import BevGrid, DepthBins

# Wide enough for every network, narrow enough that no card makes one that cannot be built.
Positive = Annotated[int, Field(gt=0, le=65_536)]
Pixels = Annotated[int, Field(gt=0, le=8192)]
NonNegative = Annotated[int, Field(ge=0, le=2**63 - 1)]
Metres = Annotated[float, Field(gt=0, le=1e6)]
Coordinate = Annotated[float, Field(ge=-1e6, le=1e6)]
Span = tuple[Coordinate, Coordinate]
MAX_CELLS = 4096
MAX_DEPTH_BINS = 1024
Strides = tuple[Literal[1, 2], ...]


class Section(BaseModel):
    """A part of a card whose keys and types are checked."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class ImageCard(Section):
    """How a camera image becomes the network input.

    The image is resized to `resized_width_px` with its aspect kept; the input is cut from the
    horizontal centre and the lower edge. Normalisation: (value / 255 - mean) / std per channel.
    """

    input_hw: tuple[Pixels, Pixels]
    resized_width_px: Pixels
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


class SwinEncoderCard(Section):
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


class ResNetEncoderCard(Section):
    """ResNet with bottleneck blocks; outputs at strides 8, 16 and 32."""

    kind: Literal["resnet"]
    depths: tuple[Positive, Positive, Positive, Positive]
    base_channels: Positive

    @property
    def out_channels(self) -> tuple[int, ...]:
        """Channels at strides 8, 16 and 32."""
        return tuple(self.base_channels * factor for factor in (8, 16, 32))


class EfficientNetEncoderCard(Section):
    """EfficientNet-Lite0, whose sizes are fixed; outputs at strides 8, 16 and 32."""

    kind: Literal["efficientnet_lite0"]

    @property
    def out_channels(self) -> tuple[int, ...]:
        """Channels at strides 8, 16 and 32."""
        return (40, 112, 320)


EncoderCard = Annotated[
    SwinEncoderCard | ResNetEncoderCard | EfficientNetEncoderCard, Field(discriminator="kind")
]


class NeckCard(Section):
    """How the encoder's levels are fused: by concatenation (`concat`) or by sums (`sum`)."""

    kind: Literal["concat", "sum"]
    channels: Positive


class DepthBinsCard(Section):
    """Candidate depths: start, start + step, ... below stop."""

    start_m: Metres
    stop_m: Metres
    step_m: Metres

    @model_validator(mode="after")
    def _is_a_range(self) -> DepthBinsCard:
        count = DepthBins(self.start_m, self.stop_m, self.step_m).count
        if count > MAX_DEPTH_BINS:
            raise ValueError(f"expected at most {MAX_DEPTH_BINS} depth bins, got {count}")
        return self


class LiftCard(Section):
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


class PoseCard(Section):
    """A rigid transform."""

    translation_m: tuple[Coordinate, Coordinate, Coordinate]
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


class BevCard(Section):
    """The grid that features are pooled into, and where it sits on the vehicle."""

    x_m: Span
    y_m: Span
    z_m: Span
    cell_m: Metres
    ego_from_bev: PoseCard

    @model_validator(mode="after")
    def _is_a_grid(self) -> BevCard:
        if max(self.grid.shape_xy) > MAX_CELLS:
            raise ValueError(
                f"expected at most {MAX_CELLS} cells along x and y, got {self.grid.shape_xy}"
            )
        return self

    @property
    def grid(self) -> BevGrid:
        """The grid as the lift geometry takes it."""
        return BevGrid(self.x_m, self.y_m, self.z_m, (self.cell_m, self.cell_m))


class CompensationCard(Section):
    """One geometry compensation block on the simulated-LiDAR branch; a plain residual."""

    kind: Literal["deformable_attention", "deformable_convolution", "plain_convolution", "none"]
    heads: Positive = 8
    points: Positive = 4


class GeometryCompensationCard(Section):
    """Compensation before the depth head (image) and after pooling (bev)."""

    image: CompensationCard
    bev: CompensationCard


class FuserCard(Section):
    """Channels after the two BEV branches are concatenated and convolved."""

    channels: Positive


class BevStageCard(Section):
    """A stage of residual blocks; the first one has the stride."""

    blocks: Positive
    channels: Positive
    stride: Literal[1, 2]


class BevEncoderCard(Section):
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


class HeadCard(Section):
    """Channels of the centre head's shared and per-branch convolutions."""

    shared_channels: Positive
    branch_channels: Positive


class CircleNmsCard(Section):
    """Suppress a box whose centre lies within `radius_m` of a better one's."""

    kind: Literal["circle"]
    radius_m: Metres


class RotatedNmsCard(Section):
    """Suppress a box whose rotated BEV overlap with a better one exceeds `iou`.

    `scale` enlarges length and width for the test only, one factor per class of the task.
    """

    kind: Literal["rotated"]
    iou: Annotated[float, Field(gt=0, lt=1)]
    scale: tuple[Metres, ...]


class TaskCard(Section):
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


class DecodeCard(Section):
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


class LegacyCard(Section):
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


class WeightsCard(Section):
    """A safetensors file beside the card."""

    file: Annotated[str, Field(pattern=r"^[^/\\]+\.safetensors$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class TrainingCard(Section):
    """Where the weights come from."""

    commit: str
    data: str
    seed: int
