# SPDX-License-Identifier: Apache-2.0
"""Turn the weights of a published camera-only detector into those of a student.

The published networks have one view transform; the student's two lift branches both start from it
(with `legacy.shared_view_transform` there is only one to fill). What a checkpoint does not have,
such as the compensation blocks of a detector that was never distilled, stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from simdistill_ros.core.network import reference_keys as keys
from simdistill_ros.core.network.reference_keys import Rules, State, rename_keys


@dataclass(frozen=True)
class PublishedLayout:
    """Prefixes of the parts in a published state dict."""

    camera: str
    decoder: str
    head: str
    fuser: str | None = None
    bev_attention: str | None = None


CAMERA_DETECTOR = PublishedLayout("encoders.camera.", "decoder.", "heads.object.")
DISTILLED_STUDENT = PublishedLayout(
    "encoders_student.camera.",
    "decoder_student.",
    "heads_student.object.",
    "fuser_student.",
    "deformAttn.",
)


def student_state_from_published(
    published: Mapping[str, Tensor], layout: PublishedLayout, *, shared_view_transform: bool = False
) -> State:
    """Return the student's weights that a published state dict holds.

    Args:
        published: The published state dict, whole; parts the layout does not name are left out.
        layout: Where the parts are.
        shared_view_transform: The card's legacy switch: there is no separate camera branch.

    Raises:
        ValueError: If a part has an unknown key or is not in the state dict at all.
    """
    lift = layout.camera + "vtransform."
    branches = ["lidar"] if shared_view_transform else ["lidar", "camera"]
    state: State = {}
    parts: list[tuple[str, Sequence[str], Rules]] = [
        (layout.camera + "backbone.", ["image_network.encoder."], keys.SWIN),
        (layout.camera + "neck.", ["image_network.neck."], keys.IMAGE_NECK),
        (lift + "depthnet.", [f"image_network.{b}_lift." for b in branches], keys.LIFT_HEAD),
        (
            lift + "downsample.",
            [f"bev_network.{b}_downsample." for b in branches],
            keys.BEV_DOWNSAMPLE,
        ),
        (layout.decoder + "backbone.", ["bev_network.encoder."], keys.BEV_ENCODER),
        (layout.decoder + "neck.", ["bev_network.neck."], keys.BEV_NECK),
        (layout.head, ["bev_network.head."], keys.CENTER_HEAD),
    ]
    if layout.fuser is not None:
        parts.append((layout.fuser, ["bev_network.fuser."], keys.FUSER))
    if layout.bev_attention is not None:
        image_attention = lift + "deformAttn."
        for prefix, half in ((image_attention, "image"), (layout.bev_attention, "bev")):
            target = f"{half}_network.compensation.block."
            parts.append((prefix, [target], keys.DEFORMABLE_ATTENTION))
    for prefix, targets, rules in parts:
        part = {
            _inner_key(key, prefix, lift): value
            for key, value in published.items()
            if key.startswith(prefix)
        }
        if not part:
            raise ValueError(f"published weights: expected keys that begin with {prefix}, got none")
        for target in targets:
            state |= {target + key: value for key, value in rename_keys(part, rules).items()}
    return state


def _inner_key(key: str, prefix: str, lift: str) -> str:
    """Return a key without its part's prefix; the lift's own parts keep their last name."""
    if prefix in (lift + "depthnet.", lift + "downsample."):
        return key.removeprefix(lift)
    return key.removeprefix(prefix)
