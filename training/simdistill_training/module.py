# SPDX-License-Identifier: Apache-2.0
"""What Lightning runs: losses of a batch, AdamW, averaged weights, scores of the validation set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, distributed, nn

from simdistill_ros.core.model_card import ModelCard
from simdistill_training.batch import Batch
from simdistill_training.checkpoint import find_encoder, plain_card
from simdistill_training.config import ExperimentConfig
from simdistill_training.distillation import Distiller
from simdistill_training.ema import AveragedNetwork
from simdistill_training.evaluate import RecordMaker, Records, score_records
from simdistill_training.losses import HeadMaps, depth_loss, detection_losses
from simdistill_training.networks import (
    PixelNorm,
    freeze_encoder,
    heads_of,
    run_student,
    run_teacher,
)
from simdistill_training.schedule import learning_rate_factor, momentum_factor
from simdistill_training.strict import config_as_dict
from simdistill_training.targets import TaskTargets, center_targets
from simdistill_training.teacher.cache import TeacherCache
from simdistill_training.teacher.depth_raster import depth_labels, depth_rasters
from simdistill_training.teacher.frozen import FrozenTeacher
from simdistill_training.teacher.outputs import TeacherOutputs
from simdistill_training.teacher.teacher import Teacher

SCORES = ("mAP", "NDS", "mATE", "mASE", "mAOE", "mAVE", "mAAE")
# Steps are told apart by more than any training has micro-batches.
STEP_SEEDS = 1 << 32


class Validation:
    """Where validation scores come from: a maker of records and the devkit's tables."""

    def __init__(self, make_records: RecordMaker, nusc: Any, folder: Path) -> None:
        """Keep the parts; scores are written below `folder`."""
        self.make_records, self.nusc, self.folder = make_records, nusc, folder
        self.records: Records = {}

    def scores(self, step: int, role: Any) -> dict[str, Any]:
        """Return the scores of the collected records, of all processes, and start anew."""
        gathered: list[Any] = [self.records]
        if distributed.is_available() and distributed.is_initialized():
            gathered = [None] * distributed.get_world_size()
            distributed.all_gather_object(gathered, self.records)
        records = {token: own for part in gathered for token, own in part.items()}
        self.records = {}
        folder = self.folder / f"step-{step:07d}"
        if distributed.is_available() and distributed.is_initialized() and distributed.get_rank():
            return {}
        return score_records(
            records, self.make_records.tokens, nusc=self.nusc, folder=folder, role=role
        )


class ExperimentModule(LightningModule):
    """A student or a teacher in training."""

    def __init__(
        self,
        experiment: ExperimentConfig,
        card: ModelCard,
        network: nn.Module,
        *,
        distiller: Distiller | None = None,
        teacher: FrozenTeacher | None = None,
        teacher_cache: TeacherCache | None = None,
        validation: Validation | None = None,
    ) -> None:
        """Put the parts together.

        Args:
            experiment: The configuration.
            card: What the network was built from.
            network: The student or teacher to train.
            distiller: Compares the student with the teacher; trained too.
            teacher: The frozen teacher; needed by the distiller, not part of checkpoints.
            teacher_cache: Keeps what the teacher makes of each view; None asks it every time.
            validation: Scores validation batches; None for losses only.
        """
        super().__init__()
        self.experiment, self.card = experiment, card
        # Channels last is what convolutions on CPUs and on half-precision CUDA want.
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.distiller = distiller
        self.pixels = PixelNorm(card)
        self.average: AveragedNetwork | None = None
        if experiment.run.ema_decay > 0:
            self.average = AveragedNetwork(network, experiment.run.ema_decay)
        self.validation = validation
        self._kept_in_eval = freeze_encoder(network, experiment.start)
        # In a tuple, so that it is neither trained, nor moved, nor saved with the module.
        self._teacher = (teacher,)
        self._teacher_cache = teacher_cache

    def train(self, mode: bool = True) -> ExperimentModule:
        """Set the mode; frozen parts and averaged weights stay in eval mode."""
        super().train(mode)
        for module in (*self._kept_in_eval, self.average):
            if module is not None:
                module.eval()
        return self

    def on_fit_start(self) -> None:
        """Move the teacher to where the student is."""
        if self._teacher[0] is not None:
            self._teacher[0].to(self.device)

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Return the weighted losses of a batch by name; their sum is what is trained."""
        images = self.pixels(batch.images)
        targets = center_targets(
            batch.boxes, self.card, self.experiment.losses.targets, device=images.device
        )
        if isinstance(self.network, Teacher):
            heads: HeadMaps = run_teacher(self.network, images, batch).heads
            return self._supervised(heads, targets)
        outputs = run_student(self.network, images, batch)
        losses = self._supervised(outputs.heads, targets)
        if self.experiment.losses.depth_weight > 0:
            labels = self._depth_labels(batch)
            depths = (outputs.lifted.depth_camera, outputs.lifted.depth_lidar)
            form = self.experiment.losses.depth_form
            per_branch = [depth_loss(depth, labels, form) for depth in depths]
            losses["depth"] = self.experiment.losses.depth_weight * torch.stack(per_branch).mean()
        teacher = self._teacher[0]
        if self.distiller is not None and teacher is not None:
            truth = self._truth(teacher, images, batch)
            distilled = self.distiller(outputs.bev, outputs.heads, truth, targets, progress)
            losses |= {f"distillation/{name}": loss for name, loss in distilled.items()}
        return losses

    def _truth(self, teacher: FrozenTeacher, images: Tensor, batch: Batch) -> TeacherOutputs:
        if self._teacher_cache is None:
            return run_teacher(teacher, images, batch)
        keys = list(zip(batch.tokens, batch.views, strict=True))
        kept = self._teacher_cache.read(keys)
        if kept is None:
            kept = run_teacher(teacher, images, batch)
            self._teacher_cache.write(keys, kept)
        return kept.to(self.device, torch.float32)

    def _supervised(self, heads: HeadMaps, targets: list[TaskTargets]) -> dict[str, Tensor]:
        per_task = detection_losses(heads, targets, self.experiment.losses.detection)
        parts: dict[str, list[Tensor]] = {}
        for name, loss in per_task.items():
            parts.setdefault(name.split("/")[1], []).append(loss)
        return {name: torch.stack(losses).sum() for name, losses in parts.items()}

    def _depth_labels(self, batch: Batch) -> Tensor:
        lift = self.card.lift
        rasters = depth_rasters(batch.points, batch.input_from_bev, self.card.image.input_hw)
        return depth_labels(
            rasters[:, :, 0],
            lift.stride,
            start_m=lift.depth.start_m,
            step_m=lift.depth.step_m,
            bins=lift.depth.count,
        )

    def on_train_batch_start(self, batch: Batch | None, batch_idx: int) -> int | None:
        """Set learning rate, momentum and random state from the step; skip an empty batch."""
        if batch is None:
            return None
        schedule, optimizer = self.experiment.schedule, self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, torch.optim.Optimizer)
        rate = self.experiment.optimizer.learning_rate * learning_rate_factor(
            schedule, self.global_step
        )
        beta1 = self.experiment.optimizer.beta1 * momentum_factor(schedule, self.global_step)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["rate_factor"]
            group["betas"] = (beta1, group["betas"][1])
        torch.manual_seed(self.experiment.run.seed * STEP_SEEDS + batch_idx)
        return None

    def training_step(self, batch: Batch | None, batch_idx: int) -> Tensor | None:
        """Return the total loss; None skips a batch whose samples were all broken."""
        if batch is None:
            return None
        losses = self.losses(batch, self.global_step / self.experiment.schedule.steps)
        total = torch.stack(list(losses.values())).sum()
        if not total.isfinite():
            values = {name: float(loss) for name, loss in losses.items()}
            raise FloatingPointError(f"step {self.global_step}, {batch.tokens}: losses {values}")
        shown = {f"train/{name}": loss.detach() for name, loss in losses.items()}
        self.log_dict(shown, batch_size=len(batch))
        self.log("train/total", total.detach(), prog_bar=True, batch_size=len(batch))
        return total

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Move the averaged weights after each optimiser step."""
        super().optimizer_step(*args, **kwargs)
        if self.average is not None:
            self.average.update(self.network)

    def heads_of(self, batch: Batch) -> HeadMaps:
        """Return the head maps of the weights that will be shipped."""
        network = self.average.network if self.average is not None else self.network
        return heads_of(network, self.pixels(batch.images), batch)

    def validation_step(self, batch: Batch | None, batch_idx: int) -> None:
        """Collect the boxes of a batch, and its supervised losses."""
        if batch is None:
            return
        heads = self.heads_of(batch)
        targets = center_targets(
            batch.boxes, self.card, self.experiment.losses.targets, device=batch.images.device
        )
        losses = self._supervised(heads, targets)
        shown = {f"val/{name}": loss for name, loss in losses.items()}
        self.log_dict(shown, batch_size=len(batch), sync_dist=True)
        if self.validation is not None:
            self.validation.records |= self.validation.make_records(heads, batch.tokens)

    def on_validation_epoch_end(self) -> None:
        """Score what was collected with the benchmark's own code."""
        if self.validation is None or self.trainer.sanity_checking:
            return
        metrics = self.validation.scores(self.global_step, self.experiment.role)
        if not metrics:
            return
        scores = {f"val/{name}": float(metrics[name]) for name in SCORES}
        self.log_dict(scores, rank_zero_only=True)
        with (self.validation.folder / "scores.jsonl").open("a") as stream:
            line = {"step": self.global_step, **{name: metrics[name] for name in SCORES}}
            stream.write(json.dumps(line) + "\n")

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return AdamW with groups for encoder and undecayed parameters."""
        config = self.experiment.optimizer
        encoder = {id(parameter) for parameter in find_encoder(self.network).parameters()}
        groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
        for name, parameter in self.named_parameters():
            if not parameter.requires_grad:
                continue
            is_decayed = not any(part in name for part in config.no_decay)
            groups.setdefault((id(parameter) in encoder, is_decayed), []).append(parameter)
        return torch.optim.AdamW(
            [
                {
                    "params": parameters,
                    "weight_decay": config.weight_decay if is_decayed else 0.0,
                    "rate_factor": config.encoder_factor if is_encoder else 1.0,
                }
                for (is_encoder, is_decayed), parameters in sorted(groups.items())
            ],
            lr=config.learning_rate,
            betas=(config.beta1, 0.999),
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what is needed to rebuild the network: plain data only."""
        checkpoint["experiment"] = config_as_dict(self.experiment)
        checkpoint["card"] = plain_card(self.card)
