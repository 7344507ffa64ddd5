# SPDX-License-Identifier: Apache-2.0
"""What a bag says about one nuScenes keyframe: the JSON of the `/nuscenes/sample` side channel."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class SampleRecord:
    """One keyframe.

    Attributes:
        token: nuScenes sample token.
        scene: Name of its scene.
        stamp_ns: The sample's own time, which is its LiDAR sweep's; scores refer to it.
        camera_stamps_ns: Camera name (lower case) -> when its keyframe image was taken.
    """

    token: str
    scene: str
    stamp_ns: int
    camera_stamps_ns: dict[str, int]

    def reference_stamp_ns(self, cameras: Iterable[str]) -> int:
        """Return the stamp a detector's answer carries: that of the newest of its cameras.

        Raises:
            ValueError: If the sample lacks one of the cameras.
        """
        missing = [camera for camera in cameras if camera not in self.camera_stamps_ns]
        if missing:
            have = ", ".join(sorted(self.camera_stamps_ns))
            raise ValueError(
                f"sample {self.token}: expected images of {', '.join(missing)}, got only {have}"
            )
        return max(self.camera_stamps_ns[camera] for camera in cameras)

    def to_json(self) -> str:
        """Return the side channel's text."""
        return json.dumps(asdict(self))


def sample_from_json(text: str) -> SampleRecord:
    """Return the sample a side-channel message names.

    Raises:
        ValueError: If the text is not JSON of exactly the record's fields.
    """
    expected = {"token", "scene", "stamp_ns", "camera_stamps_ns"}
    values: Any = json.loads(text)
    if not isinstance(values, dict) or set(values) != expected:
        raise ValueError(f"/nuscenes/sample: expected keys {sorted(expected)}, got {text[:200]}")
    return SampleRecord(**values)
