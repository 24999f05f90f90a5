#!/usr/bin/env bash
# A prompt from another program: the left half of a clip, its last two seconds, whatever format it has.
#   examples/pipelines/from-ffmpeg.sh any.mkv continued.mp4 300
set -euo pipefail
clip=${1:-examples/maze.mp4} output=${2:-continued.mp4} length=${3:-120}
"${FFMPEG:-ffmpeg}" -v error -sseof -2 -i "$clip" -vf "crop=min(iw\,ih):min(iw\,ih):0:0" -pix_fmt yuv444p \
    -strict -1 -f yuv4mpegpipe - |
    arvdm generate --prompt-frames - --length "$length" --seed 1 --output "$output" -y
