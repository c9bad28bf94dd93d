#!/usr/bin/env bash
# One store, filled by the tasks of a Slurm array: sbatch slurm.sh VIDEOS STORE [FLAGS OF EXTRACT...]
# To run only some parts again: sbatch --array=3,5 slurm.sh ... (leave PARTS as it was, and the list of videos).
#SBATCH --job-name=clipseq
#SBATCH --array=1-8
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-task=1
#SBATCH --time=12:00:00
#SBATCH --requeue
#SBATCH --signal=B:TERM@60
PARTS=8 # the last number of --array
# exec: the signal that comes a minute before the time is over reaches clipseq, which stores what it has.
exec clipseq extract "$1" --output "$2" --part "$SLURM_ARRAY_TASK_ID/$PARTS" "${@:3}"
