#!/bin/bash
# A sweep on SLURM without Ray: an array of identical jobs works through one sweep file. Each job plans the same
# runs and takes those that no other one holds; locks and results lie in the output folder, which all nodes share.
#   sbatch docs/slurm/sweep.sh experiments/sweeps/mask_ratio.yaml --set model.backbone=weights/model_base.pth
# More arguments of `lightning sweep` follow the file. A job that is preempted is put back and goes on.
#SBATCH --job-name=sweep
#SBATCH --array=0-3
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=8
#SBATCH --gres=gpu:1
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --signal=TERM@120
#SBATCH --output=sweep-%A_%a.out
set -euo pipefail

if [ "$#" -lt 1 ]; then
    echo "usage: sbatch docs/slurm/sweep.sh FILE [arguments of lightning sweep]" >&2
    exit 2
fi
cd "${SLURM_SUBMIT_DIR:-.}"
if [ -f .venv/bin/activate ]; then
    # shellcheck disable=SC1091
    . .venv/bin/activate
fi

# One task, so plain srun: it passes SIGTERM on, and the sweep then stops its runs so that they can be resumed. The
# runs are commands of their own on this node; the sweep hides SLURM's variables from them.
srun --ntasks=1 lightning sweep "$@" --workers 1
