#!/bin/sh
# Oasis-500M at full size with weights drawn at random: a full window of 32 frames, 10 steps, every cache in one run.
# Options are passed on: examples/benchmarks/oasis.sh --dtype bfloat16
exec arvdm bench minecraft --random-weights --cache off --cache exact --cache keep --frames 1 --json "$@"
