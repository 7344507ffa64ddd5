#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# One experiment on several machines under SLURM:
#   sbatch --nodes=2 recipe_slurm.sh EXPERIMENT DATAROOT [VERSION]
# Submit teacher first, the students with --dependency=afterok:<job>. A job that is requeued goes on where
# it stopped. Cost: as the eight-GPU recipe, divided by the number of machines.
#SBATCH --job-name=simdistill
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail
experiment=${1:?usage: recipe_slurm.sh EXPERIMENT DATAROOT [VERSION]}
dataroot=${2:?usage: recipe_slurm.sh EXPERIMENT DATAROOT [VERSION]}
version=${3:-v1.0-trainval}

srun simdistill train "$experiment" --dataroot "$dataroot" --version "$version" --resume \
    --accelerator gpu --devices "$SLURM_NTASKS_PER_NODE" --nodes "$SLURM_NNODES" --strategy ddp \
    --set run.sync_norms=true
