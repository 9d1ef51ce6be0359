#!/usr/bin/env bash
# One run on several nodes with torchrun; start the same line on every node.
#   NODES=2 GPUS=8 HEAD=node1:29500 experiments/launch/torchrun.sh experiments/stage1.yaml size=paper data=DIR out=DIR
# The run's world is what torchrun starts: leave trainer.devices and trainer.num_nodes alone.
set -euo pipefail
exec torchrun --nnodes "${NODES:-1}" --nproc-per-node "${GPUS:-gpu}" --rdzv-backend c10d \
  --rdzv-id "${RUN:-emo}" --rdzv-endpoint "${HEAD:-localhost:29500}" -m emo_lightning.train "$@"
