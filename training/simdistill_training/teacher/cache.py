# SPDX-License-Identifier: Apache-2.0
"""What the teacher makes of each view of each sample, computed once and kept in half precision.

The folder's name holds a digest of everything the maps depend on, so a changed teacher, card or
data configuration finds an empty folder instead of maps that are not its own.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from simdistill_training.teacher.outputs import TeacherOutputs

Key = tuple[str, int]  # token and view
BRANCHES = ("camera_bev", "lidar_bev", "fused_bev")


class TeacherCache:
    """One file of maps for each view of a sample."""

    def __init__(self, folder: Path) -> None:
        """Use a folder, made here."""
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def read(self, keys: Sequence[Key]) -> TeacherOutputs | None:
        """Return the maps of a batch, or None if one of them is not there or damaged."""
        samples = []
        for key in keys:
            try:
                samples.append(load_file(self._file(key)))
            except (OSError, SafetensorError):
                return None
        # Mixed precision on the CPU knows no half precision, and joining needs no precision at all.
        with torch.autocast("cpu", enabled=False):
            joined = {name: torch.stack([maps[name] for maps in samples]) for name in samples[0]}
        return _from_named(joined)

    def write(self, keys: Sequence[Key], outputs: TeacherOutputs) -> None:
        """Keep the maps of a batch.

        Raises:
            OverflowError: If a value is too large for half precision.
        """
        named = _named(outputs)
        for position, key in enumerate(keys):
            maps = {name: _half(values[position], name) for name, values in named.items()}
            file = self._file(key)
            part = file.with_suffix(f".{os.getpid()}.part")
            save_file(maps, part)
            part.replace(file)

    def _file(self, key: Key) -> Path:
        return self.folder / f"{key[0]}-{key[1]}.safetensors"


def cache_folder(parent: Path, teacher: nn.Module, depends_on: Any) -> Path:
    """Return the folder for a teacher's maps of certain data.

    Args:
        parent: Where the folders of all teachers are.
        teacher: Its weights count.
        depends_on: Whatever else decides the maps; its `repr` counts.
    """
    digest = hashlib.sha256(repr(depends_on).encode())
    for name, values in sorted(teacher.state_dict().items()):
        digest.update(name.encode())
        digest.update(values.detach().cpu().contiguous().numpy().tobytes())
    return parent / digest.hexdigest()[:16]


def _half(values: Tensor, name: str) -> Tensor:
    half = values.detach().to("cpu", torch.float16)
    if not half.isfinite().all():
        raise OverflowError(
            f"teacher_cache: {name} reaches {float(values.abs().max()):g}, too large for half "
            "precision; train without a teacher_cache"
        )
    return half.contiguous().clone()


def _named(outputs: TeacherOutputs) -> dict[str, Tensor]:
    named = {branch: getattr(outputs, branch) for branch in BRANCHES}
    for task, maps in enumerate(outputs.heads):
        named |= {f"heads.{task}.{name}": values for name, values in maps.items()}
    return named


def _from_named(named: dict[str, Tensor]) -> TeacherOutputs:
    heads: list[dict[str, Tensor]] = []
    for key in sorted(name for name in named if name.startswith("heads.")):
        _, task, name = key.split(".")
        while len(heads) <= int(task):
            heads.append({})
        heads[int(task)][name] = named[key]
    return TeacherOutputs(**{branch: named[branch] for branch in BRANCHES}, heads=heads)
