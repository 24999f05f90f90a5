#!/usr/bin/env bash
# Frames into another program while they are made: enlarge them there and encode them its way.
#   examples/pipelines/into-ffmpeg.sh examples/maze.mp4 large.mp4 300
set -euo pipefail
prompt=${1:-examples/maze.mp4} output=${2:-large.mp4} length=${3:-120}
arvdm generate --prompt-frames "$prompt" --length "$length" --seed 1 --output - |
    "${FFMPEG:-ffmpeg}" -v error -y -i - -vf scale=512:512:flags=neighbor -pix_fmt yuv420p "$output"
