#!/bin/bash
# Two machines with four GPUs each: sbatch docs/slurm.sh --config cityscapes_unet.yaml
#SBATCH --job-name=seg
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=08:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slurm-%j.log
# five minutes before the time is up this script is told, not the processes that train
#SBATCH --signal=B:USR1@300

# the same job starts again later and goes on from its last.ckpt, which is at most an epoch old
trap 'echo "time is nearly up: requeue"; scontrol requeue "$SLURM_JOB_ID"' USR1

srun --kill-on-bad-exit=1 python train.py "$@" --trainer.num_nodes "$SLURM_NNODES" --trainer.devices 4 &
wait "$!"
