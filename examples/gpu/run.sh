#!/bin/sh
# On a GPU machine without network: examples/gpu/run.sh measure OUT, then examples/gpu/run.sh train OUT; see README.md.
stage="$1" out="$2"
case "$stage" in
measure | render | train) ;;
*)
    echo "run.sh: no stage is called '$stage'; choose measure, render or train." >&2
    exit 2
    ;;
esac
if [ -z "$out" ]; then
    echo "run.sh: say where results go: examples/gpu/run.sh $stage OUT" >&2
    exit 2
fi
mkdir -p "$out" && out=$(cd "$out" && pwd) && cd "$(dirname "$0")/../.." || exit 2
exec "${PYTHON:-python3}" -u examples/gpu/stages.py "$stage" "$out"
