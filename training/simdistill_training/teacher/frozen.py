# SPDX-License-Identifier: Apache-2.0
"""The trained teacher during distillation: loaded whole or not at all, and never changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from simdistill_ros.core.model_card import ModelCard
from simdistill_ros.core.network.view_transform import BatchedPoolingTables
from simdistill_training.convert.state_files import read_state
from simdistill_training.teacher.outputs import TeacherOutputs
from simdistill_training.teacher.own_size import at_own_size
from simdistill_training.teacher.teacher import Teacher, TeacherConfig

SHOWN_KEYS = 12


class TeacherCheckpointError(ValueError):
    """A checkpoint does not cover the teacher; the message names the keys."""


class FrozenTeacher(nn.Module):
    """A teacher in eval mode, without gradients, whatever the module around it does."""

    def __init__(self, teacher: Teacher, card: ModelCard | None = None) -> None:
        """Freeze a teacher, in place.

        Args:
            teacher: The teacher.
            card: The one it was trained with, where it is given another's images and tables.
        """
        super().__init__()
        self._card = card
        self.teacher = teacher.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> FrozenTeacher:
        """Stay in eval mode."""
        return super().train(False)

    @torch.no_grad()
    def forward(
        self,
        images: Tensor,
        tables: BatchedPoolingTables,
        points: Sequence[Tensor],
        input_from_bev: Tensor,
    ) -> TeacherOutputs:
        """Return the teacher's maps; see `Teacher.forward`."""
        if self._card is not None:
            images, tables, input_from_bev = at_own_size(self._card, images, input_from_bev)
        outputs: TeacherOutputs = self.teacher(images, tables, points, input_from_bev)
        return outputs


def load_teacher(
    card: ModelCard, config: TeacherConfig, checkpoint: str | Path, *, prefix: str = ""
) -> FrozenTeacher:
    """Return the frozen teacher of a checkpoint.

    Args:
        card: The card the teacher was trained with.
        config: Its sizes.
        checkpoint: A safetensors file, or a PyTorch file with a state dict.
        prefix: What the teacher's keys begin with in the file; other keys are left alone.

    Raises:
        TeacherCheckpointError: If the file lacks a key of the teacher, has one too many under the
            prefix, or one of another shape. A teacher that is partly random is never returned.
    """
    whole = f"{prefix}." if prefix and not prefix.endswith(".") else prefix
    state = {
        key.removeprefix(whole): value
        for key, value in read_state(checkpoint).items()
        if key.startswith(whole)
    }
    teacher = Teacher(card, config)
    check_coverage(teacher.state_dict(), state, checkpoint)
    teacher.load_state_dict(state)
    return FrozenTeacher(teacher)


def check_coverage(
    expected: Mapping[str, Tensor], state: Mapping[str, Tensor], checkpoint: str | Path
) -> None:
    """Check that a state dict has exactly the expected keys and shapes.

    Raises:
        TeacherCheckpointError: If it has not; the message lists keys.
    """
    missing = sorted(expected.keys() - state.keys())
    unknown = sorted(state.keys() - expected.keys())
    shapes = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(value.shape)}"
        for key, value in sorted(expected.items())
        if key in state and state[key].shape != value.shape
    ]
    problems = [
        f"{len(keys)} {what}: {', '.join(keys[:SHOWN_KEYS])}{', ...' * (len(keys) > SHOWN_KEYS)}"
        for what, keys in (("missing", missing), ("unknown", unknown), ("of another shape", shapes))
        if keys
    ]
    if problems:
        raise TeacherCheckpointError(
            f"{checkpoint}: expected the weights of the whole teacher of this configuration, got "
            f"keys {'; '.join(problems)}. Train the teacher first (simdistill train) or give the "
            "configuration it was trained with."
        )
