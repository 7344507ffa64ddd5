#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Teacher → student → evaluation on one GPU:  recipe_one_gpu.sh MODEL DATAROOT [VERSION]
# A killed recipe goes on where it stopped when it is started again.
# Cost: the three configurations name their steps; `simdistill bench --speed MODEL --accelerator gpu`
# measures steps a second on your machine, and steps / (steps a second) is the time of each training.
set -euo pipefail
model=${1:?usage: recipe_one_gpu.sh MODEL DATAROOT [VERSION]}
dataroot=${2:?usage: recipe_one_gpu.sh MODEL DATAROOT [VERSION]}
version=${3:-v1.0-trainval}
data=(--dataroot "$dataroot" --version "$version")

for experiment in "teacher-$model" "student-baseline-$model" "student-simdistill-$model"; do
    SECONDS=0
    simdistill train "$experiment" "${data[@]}" --accelerator gpu --resume
    echo "$experiment: trained and validated in $((SECONDS / 60)) min"
done
simdistill evaluate "out/runs/student-simdistill-$model" --device cuda --workers 6
