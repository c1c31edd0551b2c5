#!/usr/bin/env bash
# Pretraining on two nodes without SLURM. On each, with its own NODE (0 or 1) and the address of the first:
#   NODE=0 ADDRESS=10.0.0.1 bash torchrun.sh bat_base RUN RECORDINGS [--key value ...]
# Recordings and the folder `runs` are the same on both. A run that was killed goes on with --resume, given to both.
set -eu
config=$1 run=$2 recordings=$3
shift 3
nodes=${NODES:-2} devices=${DEVICES:-4}

torchrun --nnodes "$nodes" --node-rank "$NODE" --nproc-per-node "$devices" \
    --master-addr "$ADDRESS" --master-port "${PORT:-29500}" \
    -m oscine pretrain "$config" --name "$run" --data.recordings "$recordings" --trainer.strategy ddp \
    --trainer.num_nodes "$nodes" --trainer.devices "$devices" "$@"
