#!/usr/bin/env bash
# Evaluate a checkpoint on GPUS processes of this machine; several machines as in dist_train.sh.
#   tools/dist_test.sh CONFIG CHECKPOINT 8 [options of test.py]
set -euo pipefail
if [ $# -lt 3 ]; then
    echo "usage: tools/dist_test.sh CONFIG CHECKPOINT GPUS [options of test.py]" >&2
    exit 2
fi
exec "$(dirname "$0")/launch.sh" "$3" "$(dirname "$0")/test.py" "$1" "$2" "${@:4}"
