#!/usr/bin/env bash
# Pretraining under SLURM, over as many jobs as it takes. With --nodes=2 on two nodes:
#   sbatch [--nodes=2] pretrain.sh bat_base RUN RECORDINGS [--key value ...]
#SBATCH --job-name=oscine
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=4    # one process a GPU
#SBATCH --gres=gpu:4
#SBATCH --cpus-per-task=18     # data.workers and two more; 10 do for BAT
#SBATCH --time=24:00:00
#SBATCH --signal=USR1@300      # five minutes before its time is up the run keeps its state and stops
#SBATCH --requeue
#SBATCH --open-mode=append
set -u
config=$1 run=$2 recordings=$3
shift 3

# A job that comes again goes on with its run, whatever it was told to do with an earlier one.
again=()
if [[ ${SLURM_RESTART_COUNT:-0} -gt 0 ]]; then
    for given in "$@"; do
        shift
        if [[ $given != --overwrite ]]; then set -- "$@" "$given"; fi
    done
    again=(--resume)
fi

# srun does not take over sbatch's CPUs. Processes that were told to stop end within seconds of each other, which must not end
# the others; where one has failed, the others would wait for it for long.
srun --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" --kill-on-bad-exit=0 --wait=120 \
    oscine pretrain "$config" --name "$run" --data.recordings "$recordings" --trainer.strategy ddp \
    --trainer.num_nodes "$SLURM_NNODES" --trainer.devices "$SLURM_NTASKS_PER_NODE" "$@" ${again[@]+"${again[@]}"}
code=$?

# 75 is a run that was told to stop. Any other code is its end, or an error that would come again.
if [[ $code -eq 75 ]]; then scontrol requeue "$SLURM_JOB_ID"; fi
exit $code
