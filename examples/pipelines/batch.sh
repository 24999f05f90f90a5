#!/usr/bin/env bash
# Many takes of one clip, each with its own seed and actions, and a table of how fast each went.
#   examples/pipelines/batch.sh examples/maze.mp4 takes 120
set -euo pipefail
prompt=${1:-examples/maze.mp4} folder=${2:-takes} length=${3:-60}
mkdir -p "$folder"
for walk in "forward*8 left*8" "right*32" "backward*8 forward*8"; do
    for seed in 1 2; do
        name="$folder/${walk//[* ]/-}-$seed.mp4"
        phrase=$(for _ in $(seq "$length"); do printf '%s ' "$walk"; done)
        arvdm generate -p "$prompt" -n "$length" -a "$phrase" --seed "$seed" -o "$name" -y --json |
            python3 -c 'import json, sys; run = json.load(sys.stdin); print(run["output"], run["frames_per_second"], sep="\t")'
    done
done
