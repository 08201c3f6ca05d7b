#!/usr/bin/env bash
# Train on GPUS processes of this machine: GPUs, or CPU cores where there is none.
#   tools/dist_train.sh configs/scratch/mask_rcnn_r101_gn_6x.py 8 [options of train.py]
# Several machines: the same command on each, with NNODES, NODE_RANK and MASTER_ADDR (and PORT) set.
set -euo pipefail
if [ $# -lt 2 ]; then
    echo "usage: tools/dist_train.sh CONFIG GPUS [options of train.py]" >&2
    exit 2
fi
config=$1
gpus=$2
exec "$(dirname "$0")/launch.sh" "$gpus" "$(dirname "$0")/train.py" "$config" "${@:3}"
