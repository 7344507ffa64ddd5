# SPDX-License-Identifier: Apache-2.0
"""Two processes with half a batch each learn what one process learns from the whole batch."""

from dataclasses import replace

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from simdistill_training.data.build import open_index, training_dataset
from simdistill_training.data.loader import collate
from simdistill_training.train import build_module

DRAWS = [(0, 0), (1, 1), (2, 2), (3, 0)]


class TotalLoss(nn.Module):
    """What Lightning wraps for several processes: the module, called for its loss."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, batch):
        return torch.stack(list(self.module.losses(batch, 0.5).values())).sum()


def gradients(experiment, card, keys, wrap=lambda module: module):
    torch.set_num_threads(1)
    dataset = training_dataset(experiment, card, open_index(experiment.data))
    # Norms use stored statistics, because statistics over processes need CUDA.
    module = build_module(experiment, card).eval()
    wrapped = wrap(TotalLoss(module))
    wrapped(collate([dataset[key] for key in keys])).backward()
    return {n: p.grad for n, p in module.named_parameters() if p.grad is not None}


def one_of_two(rank, experiment, card, store, file):
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    try:
        found = gradients(experiment, card, DRAWS[rank::2], DistributedDataParallel)
        if rank == 0:
            torch.save(found, file)
    finally:
        distributed.destroy_process_group()


def test_two_processes_get_the_gradients_of_the_joined_batch(
    experiment_named, teacher_run, card, tmp_path
):
    experiment = experiment_named("student-simdistill-tiny")
    experiment = replace(experiment, teacher_checkpoint=str(teacher_run))
    experiment = with_norms_of_one_sample(experiment)
    arguments = (experiment, card, tmp_path / "store", tmp_path / "gradients.pt")
    torch.multiprocessing.spawn(one_of_two, arguments, nprocs=2)
    together = torch.load(tmp_path / "gradients.pt", weights_only=True)
    alone = gradients(experiment, card, DRAWS)
    assert together.keys() == alone.keys()
    for key, expected in alone.items():
        error = (together[key] - expected).norm()
        assert error < 2e-3 * expected.norm() + 1e-4, key


def with_norms_of_one_sample(experiment):
    """Return the experiment without normalisation over the batch, which two processes split."""
    terms = experiment.distillation
    plain = {
        name: replace(getattr(terms, name), normalise="none")
        for name in ("imd", "cmd", "mmd_feature")
    }
    return replace(experiment, distillation=replace(terms, **plain))
