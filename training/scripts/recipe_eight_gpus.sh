#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Teacher → student → evaluation on the GPUs of one machine:  recipe_eight_gpus.sh MODEL DATAROOT [VERSION] [GPUS]
# The batch of a step is batch_size x accumulate x GPUS: with more processes, divide schedule.steps by their
# number (here for eight) to see as many samples. Norm statistics are shared over processes (run.sync_norms).
# Cost: an eighth of the one-GPU recipe's time and as many GPU hours, as long as the disks keep up.
set -euo pipefail
model=${1:?usage: recipe_eight_gpus.sh MODEL DATAROOT [VERSION] [GPUS]}
dataroot=${2:?usage: recipe_eight_gpus.sh MODEL DATAROOT [VERSION] [GPUS]}
version=${3:-v1.0-trainval}
gpus=${4:-8}
data=(--dataroot "$dataroot" --version "$version")

for experiment in "teacher-$model" "student-baseline-$model" "student-simdistill-$model"; do
    steps=$(awk '/^  steps:/ {print $2}' "$(dirname "$0")/../configs/$experiment.yaml")
    SECONDS=0
    simdistill train "$experiment" "${data[@]}" --accelerator gpu --devices "$gpus" --strategy ddp \
        --set "schedule.steps=$((steps / gpus))" --set run.sync_norms=true --resume
    echo "$experiment: trained and validated in $((SECONDS / 60)) min on $gpus GPUs"
done
simdistill evaluate "out/runs/student-simdistill-$model" --device cuda --workers 6
