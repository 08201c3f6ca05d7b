#!/usr/bin/env bash
# Train under Slurm, one task a GPU.
#   GPUS=16 GPUS_PER_NODE=8 tools/slurm_train.sh PARTITION JOB_NAME CONFIG [options of train.py]
# CPUS_PER_TASK (5) and SRUN_ARGS (further options of srun) are read from the environment.
set -euo pipefail
if [ $# -lt 3 ]; then
    echo "usage: GPUS=8 tools/slurm_train.sh PARTITION JOB_NAME CONFIG [options of train.py]" >&2
    exit 2
fi
gpus=${GPUS:-8}
gpus_per_node=${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}
# shellcheck disable=SC2086  # SRUN_ARGS is a list of words
exec srun --partition="$1" --job-name="$2" --ntasks="$gpus" --ntasks-per-node="$gpus_per_node" \
    --gres="gpu:$gpus_per_node" --cpus-per-task="${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 \
    ${SRUN_ARGS:-} "${PYTHON:-python}" -u "$(dirname "$0")/train.py" "$3" --launcher slurm "${@:4}"
